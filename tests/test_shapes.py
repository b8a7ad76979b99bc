"""Counts, shapes and FLOPs of the workloads, to the digit as they were published or computed by hand."""

import pytest

from workloads import make_workload
from workloads.keras_form import conv
from workloads.shapes import (
    forward_flops,
    moving_count,
    moving_shapes,
    output_shape,
    output_shapes,
    padding_amounts,
    parameter_count,
    train_flops,
    weight_shapes,
    window_counts,
)
from workloads.spec import (
    INPUT,
    Add,
    AveragePool2D,
    BatchNorm,
    Concatenate,
    Dense,
    Flatten,
    GlobalAveragePool2D,
    GlorotUniform,
    Graph,
    MaxPool2D,
    ReLU,
)

COUNTS = [
    ("mnist-cnn", {}, 65_402, 1_681_664, 4_404_992),
    ("cifar10-cnn", {}, 1_667_594, 28_878_848, 84_867_072),
    ("mnist-mlp", {"units": 4}, 3_230, 6_416, 12_976),
    ("mnist-mlp", {"units": 8}, 6_514, 12_960, 26_336),
    ("mnist-mlp", {"units": 16}, 13_274, 26_432, 54_208),
    ("mnist-mlp", {"units": 32}, 27_562, 54_912, 114_560),
    ("mnist-mlp", {"units": 64}, 59_210, 118_016, 253_696),
    ("mnist-mlp", {"units": 128}, 134_794, 268_800, 605_696),
    ("mnist-mlp", {"units": 256}, 335_114, 668_672, 1_604_608),
    ("mnist-mlp", {"units": 512}, 932_362, 1_861_632, 4_782_080),
    ("mnist-mlp", {"units": 1024}, 2_913_290, 5_820_416, 15_855_616),
    ("digits-cnn", {}, 41_294, 307_536, 904_176),
    ("digits-mlp", {}, 26_122, 51_712, 138_752),
]


@pytest.mark.parametrize(("name", "parameters", "count", "forward", "train"), COUNTS)
def test_counts_and_flops(name: str, parameters: dict, count: int, forward: int, train: int) -> None:
    network = make_workload(name, parameters).network
    assert (parameter_count(network), forward_flops(network), train_flops(network)) == (count, forward, train)


def test_the_layers_of_mnist_cnn() -> None:
    network = make_workload("mnist-cnn", {}).network
    outputs = output_shapes(network)
    assert outputs["conv2d_1"] == (25, 25, 32)
    assert outputs["maxpool2d_1"] == (12, 12, 32)
    assert outputs["conv2d_2"] == (10, 10, 16)
    assert outputs["maxpool2d_2"] == (5, 5, 16)
    assert outputs["flatten_1"] == (400,)
    assert weight_shapes(network) == {
        "conv2d_1/kernel": (4, 4, 1, 32),
        "conv2d_1/bias": (32,),
        "conv2d_2/kernel": (3, 3, 32, 16),
        "conv2d_2/bias": (16,),
        "dense_1/kernel": (400, 128),
        "dense_1/bias": (128,),
        "dense_2/kernel": (128, 64),
        "dense_2/bias": (64,),
        "dense_3/kernel": (64, 10),
        "dense_3/bias": (10,),
    }


def test_the_layers_of_cifar10_cnn() -> None:
    shapes = output_shapes(make_workload("cifar10-cnn", {}).network)
    assert [shapes[name] for name in ("conv2d_1", "conv2d_2", "conv2d_3", "maxpool2d_2", "flatten_1")] == [
        (32, 32, 32),
        (16, 16, 64),
        (14, 14, 64),
        (7, 7, 64),
        (3136,),
    ]


@pytest.mark.parametrize(
    ("size", "window", "strides", "padding", "amounts"),
    [
        ((224, 224), (11, 11), (4, 4), "same", ((3, 4), (3, 4))),
        ((112, 112), (3, 3), (2, 2), "same", ((0, 1), (0, 1))),
        ((56, 28), (5, 7), (2, 2), "same", ((1, 2), (2, 3))),
        ((111, 111), (5, 5), (2, 2), "same", ((2, 2), (2, 2))),
        ((5, 5), (1, 1), (3, 3), "same", ((0, 0), (0, 0))),
        ((9, 9), (3, 3), (1, 1), "valid", ((0, 0), (0, 0))),
        ((9, 9), (3, 3), (1, 1), ((1, 2), (3, 0)), ((1, 2), (3, 0))),
    ],
)
def test_padding_amounts_follow_tensorflow(size, window, strides, padding, amounts) -> None:
    assert padding_amounts(size, window, strides, padding) == amounts


def test_a_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        output_shape(conv(filters=1, kernel_size=(5, 5), padding="valid"), (4, 4, 1))
    with pytest.raises(ValueError, match="needs a flat input"):
        output_shape(Dense(units=1, use_bias=True, kernel_initializer=GlorotUniform()), (4, 4, 1))


def test_a_pool_keeps_the_channels() -> None:
    assert output_shape(MaxPool2D(pool_size=(3, 3), strides=(2, 2), padding="same"), (112, 112, 64)) == (56, 56, 64)


def test_a_graph_has_the_shapes_of_its_ways() -> None:
    norm = BatchNorm(momentum=0.9, epsilon=1e-3, scale=False, center=True)
    graph = Graph()
    wide = graph.chain(INPUT, conv(filters=4, kernel_size=(3, 3), padding="same"), norm)
    both = graph.add(Concatenate(), graph.add(Add(), wide, wide), INPUT)
    graph.chain(both, GlobalAveragePool2D(), Dense(units=2, use_bias=False, kernel_initializer=GlorotUniform()))
    network = graph.network((5, 6, 3))
    shapes = output_shapes(network)
    assert (shapes["concatenate_1"], shapes["globalaveragepool2d_1"]) == ((5, 6, 7), (7,))
    assert weight_shapes(network) == {
        "conv2d_1/kernel": (3, 3, 3, 4),
        "conv2d_1/bias": (4,),
        "batchnorm_1/beta": (4,),
        "dense_1/kernel": (7, 2),
    }
    assert moving_shapes(network) == {"batchnorm_1/moving_mean": (4,), "batchnorm_1/moving_variance": (4,)}
    assert (parameter_count(network), moving_count(network)) == (108 + 4 + 4 + 14, 8)
    multiply_adds = 5 * 6 * 4 * 27 + 14
    assert forward_flops(network) == 2 * multiply_adds
    assert train_flops(network) == 6 * multiply_adds - 2 * 5 * 6 * 4 * 27


def test_inputs_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be added"):
        output_shape(Add(), (2, 2, 1), (2, 2, 2))
    with pytest.raises(ValueError, match="cannot be concatenated"):
        output_shape(Concatenate(), (2, 2, 1), (2, 1, 1))
    with pytest.raises(ValueError, match="height, width and channels"):
        output_shape(Flatten(), (4,))
    with pytest.raises(ValueError, match="nothing but padding"):
        output_shape(AveragePool2D(pool_size=(2, 2), strides=(1, 1), padding=((2, 0), (0, 0))), (4, 4, 1))
    assert output_shape(ReLU(), (4, 4, 1)) == (4, 4, 1)


def test_windows_at_an_edge_hold_less() -> None:
    pool = AveragePool2D(pool_size=(2, 2), strides=(2, 2), padding="same")
    assert window_counts((3, 3), pool).tolist() == [[4, 2], [2, 1]]
