"""The oracle against arithmetic done by hand, in loops, or by its definition."""

from dataclasses import replace

import numpy as np
import pytest

from frameworks.reference import Optimizer, forward, softmax_cross_entropy
from frameworks.worker import describe_failure, judge
from workloads import make_workload
from workloads.keras_form import conv, dense
from workloads.spec import SGD, Adam, Dropout, Flatten, MaxPool2D, Network, ReLU


def run_layers(images: np.ndarray, *layers, **weights: np.ndarray) -> np.ndarray:
    network = Network(input_shape=images.shape[1:], layers=layers)
    return forward(network, {name.replace("__", "/"): value for name, value in weights.items()}, images)


def test_convolution_is_the_sum_over_its_window() -> None:
    stream = np.random.RandomState(0)
    images, kernel, bias = stream.rand(2, 6, 5, 3), stream.rand(3, 2, 3, 4), stream.rand(4)
    layer = replace(conv(filters=4, kernel_size=(3, 2), padding=((1, 0), (0, 1))), strides=(2, 1))
    got = run_layers(images, layer, conv2d_1__kernel=kernel, conv2d_1__bias=bias)
    padded = np.zeros((2, 7, 6, 3))
    padded[:, 1:, :5] = images
    assert got.shape == (2, 3, 5, 4)
    for n, h, w, f in np.ndindex(got.shape):
        window = padded[n, 2 * h : 2 * h + 3, w : w + 2]
        assert got[n, h, w, f] == pytest.approx((window * kernel[..., f]).sum() + bias[f])


def test_same_padding_is_at_the_bottom_and_right_and_never_wins_a_pool() -> None:
    images = -np.arange(1.0, 17).reshape(1, 4, 4, 1)
    pooled = run_layers(images, MaxPool2D(pool_size=(3, 3), strides=(2, 2), padding="same"))
    assert pooled[0, :, :, 0].tolist() == [[-1, -3], [-9, -11]]


def test_flatten_runs_through_channels_first_and_dense_is_a_product() -> None:
    images = np.arange(8.0).reshape(1, 2, 2, 2)
    assert run_layers(images, Flatten()).tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]
    kernel, bias = np.eye(8)[:, ::-1], np.ones(8)
    flat = run_layers(images, Flatten(), dense(units=8), dense_1__kernel=kernel, dense_1__bias=bias)
    assert flat.tolist() == [[8, 7, 6, 5, 4, 3, 2, 1]]


def test_relu_and_dropout_at_inference() -> None:
    images = np.array([-1.0, 2.0]).reshape(1, 1, 2, 1)
    assert run_layers(images, ReLU(), Dropout(rate=0.9)).ravel().tolist() == [0, 2]


def test_cross_entropy_by_its_definition_and_without_overflow() -> None:
    logits, labels = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), np.array([2, 1])
    expected = -np.log([np.exp(3) / np.exp([1, 2, 3]).sum(), 1 / 3]).mean()
    assert softmax_cross_entropy(logits, labels) == pytest.approx(expected)
    assert softmax_cross_entropy(np.array([[1e4, 0.0]]), np.array([1])) == pytest.approx(1e4)


def test_predictions_are_judged_on_all_samples() -> None:
    logits = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], np.float32)
    assert judge(logits, np.array([0, 1, 1, 1]))["error_rate"] == 0.25


def steps(optimizer, gradients: list[float]) -> list[float]:
    workload = replace(make_workload("digits-cnn", {}), optimizer=optimizer)
    oracle = Optimizer(workload, {"w": np.zeros(1)})
    path = []
    for gradient in gradients:
        oracle.update({"w": np.array([gradient])})
        path.append(float(oracle.weights["w"][0]))
    return path


def test_momentum_keeps_the_rate_of_each_step_in_the_velocity() -> None:
    path = steps(SGD(learning_rate=1.0, momentum=0.5, decay=1.0), [1.0, 1.0, 0.0])
    assert path == pytest.approx([-1.0, -1.0 - (0.5 + 0.5), -2.0 - 0.5])


def test_adams_epsilon_is_outside_the_bias_correction() -> None:
    adam = Adam(learning_rate=0.1, beta_1=0.9, beta_2=0.99, epsilon=1.0)
    m, v = 0.1 * 2, 0.01 * 4
    first = -0.1 * np.sqrt(1 - 0.99) / (1 - 0.9) * m / (np.sqrt(v) + 1.0)
    m, v = 0.9 * m + 0.1 * -1, 0.99 * v + 0.01 * 1
    second = first - 0.1 * np.sqrt(1 - 0.99**2) / (1 - 0.9**2) * m / (np.sqrt(v) + 1.0)
    assert steps(adam, [2.0, -1.0]) == pytest.approx([first, second])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), "out-of-memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: failed to allocate"), "out-of-memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out-of-memory"),
        (ImportError("libcudnn.so"), "failed"),
    ],
)
def test_out_of_memory_is_told_from_other_faults(error: Exception, status: str) -> None:
    assert describe_failure(error)[0] == status
