"""What adapters share: which padding goes by a name, and which convolutions are refused."""

import pytest

from frameworks.base import misread_convolution, named_padding
from workloads.shapes import padding_amounts
from workloads.spec import Conv2D, GlorotUniform, MaxPool2D, Padding, sequential


def conv(kernel_size: tuple[int, int], strides: tuple[int, int], padding: Padding) -> Conv2D:
    return Conv2D(
        filters=2,
        kernel_size=kernel_size,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer=GlorotUniform(),
    )


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 2)])
@pytest.mark.parametrize("size", [(7, 8), (8, 9)])
@pytest.mark.parametrize("name", ["same", "valid"])
def test_amounts_that_have_a_name_go_by_it(size: tuple[int, int], strides: tuple[int, int], name: Padding) -> None:
    amounts = padding_amounts(size, (3, 2), strides, name)
    assert named_padding(conv((3, 2), strides, amounts), (*size, 3)) == name


def test_a_padding_of_nothing_is_valid_by_either_name() -> None:
    assert named_padding(conv((1, 1), (2, 2), "same"), (8, 8, 3)) == "valid"


def test_other_amounts_stay_amounts() -> None:
    amounts = ((3, 3), (3, 3))
    assert named_padding(MaxPool2D(pool_size=(7, 7), strides=(2, 2), padding=amounts), (224, 224, 3)) == amounts


@pytest.mark.parametrize(
    ("channels", "strides", "misread"),
    [(1, (1, 3), "conv2d_1"), (1, (3, 1), None), (1, (1, 2), None), (2, (1, 3), None)],
)
def test_a_convolution_of_one_channel_that_strides_to_a_width_of_one_is_misread(
    channels: int, strides: tuple[int, int], misread: str | None
) -> None:
    """Padded to the same, three columns give one output by a stride of 3, two by 2 and three by 1."""
    network = sequential((4, 3, channels), (conv((1, 2), strides, "same"),))
    assert misread_convolution(network) == misread
