"""The oracle against arithmetic done by hand, in loops, or by its definition."""

from dataclasses import replace

import numpy as np
import pytest

from frameworks.reference import (
    Optimizer,
    forward,
    moved_statistics,
    objective,
    run,
    slope,
    softmax_cross_entropy,
)
from frameworks.worker import describe_failure, judge
from workloads import make_workload
from workloads.initial import initial_weights
from workloads.keras_form import conv, dense
from workloads.shapes import weight_shapes
from workloads.spec import (
    INPUT,
    L2,
    SGD,
    Adam,
    Add,
    AveragePool2D,
    BatchNorm,
    Concatenate,
    Crop2D,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    GlorotUniform,
    Graph,
    LocalResponseNorm,
    MaxPool2D,
    ReLU,
    sequential,
)

NORM = BatchNorm(momentum=0.9, epsilon=0.5, scale=True, center=True)
DEPTHWISE = DepthwiseConv2D(
    kernel_size=(3, 2), strides=(2, 1), padding=((1, 0), (0, 0)), use_bias=True, kernel_initializer=GlorotUniform()
)


def run_layers(images: np.ndarray, *layers, **weights: np.ndarray) -> np.ndarray:
    network = sequential(images.shape[1:], layers)
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


def test_a_depthwise_convolution_keeps_channels_apart() -> None:
    stream = np.random.RandomState(0)
    images, kernel, bias = stream.rand(2, 5, 6, 3), stream.rand(3, 2, 3, 1), stream.rand(3)
    got = run_layers(images, DEPTHWISE, depthwiseconv2d_1__kernel=kernel, depthwiseconv2d_1__bias=bias)
    padded = np.zeros((2, 6, 6, 3))
    padded[:, 1:] = images
    assert got.shape == (2, 2, 5, 3)
    for n, h, w, c in np.ndindex(got.shape):
        window = padded[n, 2 * h : 2 * h + 3, w : w + 2, c]
        assert got[n, h, w, c] == pytest.approx((window * kernel[..., c, 0]).sum() + bias[c])


def test_a_crop_takes_rows_and_columns_off() -> None:
    images = np.arange(24.0).reshape(1, 4, 6, 1)
    got = run_layers(images, Crop2D(cropping=((1, 2), (0, 4))))
    assert got[0, :, :, 0].tolist() == [[6, 7]]


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


def test_average_pools_leave_padding_out_of_sum_and_number() -> None:
    images = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    same = run_layers(images, AveragePool2D(pool_size=(2, 2), strides=(2, 2), padding="same"))
    assert same[0, :, :, 0].tolist() == [[3.0, 4.5], [7.5, 9.0]]
    top = run_layers(images, AveragePool2D(pool_size=(2, 3), strides=(2, 1), padding=((1, 0), (0, 0))))
    assert top[0, :, :, 0].tolist() == [[2.0], [6.5]]
    assert run_layers(images, GlobalAveragePool2D()).tolist() == [[5.0]]


def test_response_normalisation_by_its_definition() -> None:
    images = np.random.RandomState(0).rand(2, 2, 3, 6)
    layer = LocalResponseNorm(radius=2, bias=1.5, alpha=0.3, beta=0.75)
    got = run_layers(images, layer)
    for n, h, w, c in np.ndindex(got.shape):
        squares = sum(images[n, h, w, k] ** 2 for k in range(max(c - 2, 0), min(c + 3, 6)))
        assert got[n, h, w, c] == pytest.approx(images[n, h, w, c] / (1.5 + 0.3 * squares) ** 0.75)


def norm_weights(channels: int) -> dict[str, np.ndarray]:
    kinds = ("gamma", "beta", "moving_mean", "moving_variance")
    drawn = np.random.RandomState(1).uniform(0.5, 1.5, (len(kinds), channels))
    return {f"batchnorm_1/{kind}": values for kind, values in zip(kinds, drawn, strict=True)}


def test_batch_normalisation_by_its_definition() -> None:
    images, weights = np.random.RandomState(0).rand(4, 3, 2, 2), norm_weights(2)
    network = sequential((3, 2, 2), (NORM,))
    gamma, beta, mean, variance = weights.values()
    expected = gamma * (images - mean) / np.sqrt(variance + 0.5) + beta
    assert run(network, weights, images, training=False).logits == pytest.approx(expected)
    trained = run(network, weights, images, training=True)
    values = images.reshape(-1, 2)
    expected = gamma * (images - values.mean(0)) / np.sqrt(values.var(0) + 0.5) + beta
    assert trained.logits == pytest.approx(expected)
    for bessel in (True, False):
        moved = moved_statistics(network, weights, trained, bessel=bessel)
        assert moved["batchnorm_1/moving_mean"] == pytest.approx(0.9 * mean + 0.1 * values.mean(0))
        assert moved["batchnorm_1/moving_variance"] == pytest.approx(0.9 * variance + 0.1 * values.var(0, ddof=bessel))


def test_branches_are_added_and_put_side_by_side() -> None:
    graph = Graph()
    total = graph.add(Add(), INPUT, graph.add(ReLU(), INPUT))
    graph.add(Concatenate(), total, INPUT)
    images = np.array([-1.0, 2.0]).reshape(1, 1, 1, 2)
    assert forward(graph.network((1, 1, 2)), {}, images).ravel().tolist() == [-1, 4, -1, 2]


def test_dropout_has_no_answer_in_training() -> None:
    network = sequential((1, 1, 1), (Dropout(rate=0.5),))
    with pytest.raises(ValueError, match="drops at random"):
        run(network, {}, np.ones((1, 1, 1, 1)), training=True)


def test_the_l2_term_is_half_the_sum_of_squares_of_what_it_covers() -> None:
    workload = replace(make_workload("digits-mlp", {"dropout": 0.0}), l2=L2(rate=0.1, kinds=("kernel",)))
    weights = initial_weights(workload.network, 0) | {"dense_1/bias": np.full(128, 3.0)}
    images, labels = np.random.RandomState(0).rand(4, 8, 8, 1), np.arange(4)
    kernels = sum((weight.astype(float) ** 2).sum() for name, weight in weights.items() if name.endswith("kernel"))
    plain = softmax_cross_entropy(forward(workload.network, weights, images), labels)
    assert objective(workload, weights, images, labels) == pytest.approx(plain + 0.05 * kernels)


def test_the_half_squared_sum_is_over_everything_and_sees_no_labels() -> None:
    layers = (Crop2D(cropping=((0, 0), (1, 0))),)
    workload = replace(
        make_workload("digits-cnn", {}), network=sequential((8, 8, 1), layers), optimizer=None, loss="half-squared-sum"
    )
    images = np.random.RandomState(0).rand(4, 8, 8, 1)
    expected = 0.5 * (images[:, :, 1:] ** 2).sum()
    assert objective(workload, {}, images, np.arange(4)) == pytest.approx(expected)


def test_central_differences_of_shrinking_steps_tend_to_the_complex_steps_slope() -> None:
    layers = (
        conv(filters=3, kernel_size=(3, 3), padding="same"),
        NORM,
        ReLU(),
        replace(DEPTHWISE, strides=(1, 1), padding="same"),
        MaxPool2D(pool_size=(2, 2), strides=(2, 2), padding="valid"),
        LocalResponseNorm(radius=1, bias=1.0, alpha=0.5, beta=0.75),
        AveragePool2D(pool_size=(3, 3), strides=(1, 1), padding="same"),
        Flatten(),
        dense(units=10),
    )
    base = make_workload("digits-cnn", {})
    workload = replace(base, network=sequential((8, 8, 1), layers), l2=L2(rate=0.1, kinds=("kernel", "gamma")))
    weights = initial_weights(workload.network, 0)
    stream = np.random.RandomState(0)
    images, labels = stream.rand(4, 8, 8, 1), stream.randint(10, size=4)
    for name, shape in weight_shapes(workload.network).items():
        direction = stream.standard_normal(shape)
        exact = slope(workload, weights, images, labels, {name: direction})
        errors = []
        for step in (1e-4, 1e-5, 1e-6):
            ahead, behind = (
                objective(workload, {**weights, name: weights[name] + sign * step * direction}, images, labels)
                for sign in (1, -1)
            )
            errors.append(abs((ahead - behind) / (2 * step) - exact) / (abs(exact) + 1e-3))
        assert min(errors) < 1e-7, (name, exact, errors)


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
    path = steps(SGD(learning_rate=1.0, momentum=0.5, decay=1.0, nesterov=False), [1.0, 1.0, 0.0])
    assert path == pytest.approx([-1.0, -1.0 - (0.5 + 0.5), -2.0 - 0.5])


def test_nesterov_looks_ahead_by_the_momentum() -> None:
    path = steps(SGD(learning_rate=1.0, momentum=0.5, decay=1.0, nesterov=True), [1.0, 1.0])
    assert path == pytest.approx([-0.5 - 1.0, -1.5 + 0.5 * (-0.5 - 0.5) - 0.5])


def test_adams_epsilon_is_inside_the_bias_correction_in_algorithm_1() -> None:
    adam = Adam(learning_rate=0.1, beta_1=0.9, beta_2=0.99, epsilon=1.0, epsilon_form="algorithm-1")
    assert steps(adam, [2.0]) == pytest.approx([-0.1 * 2.0 / (2.0 + 1.0)])


def test_adams_epsilon_is_outside_the_bias_correction() -> None:
    adam = Adam(learning_rate=0.1, beta_1=0.9, beta_2=0.99, epsilon=1.0, epsilon_form="epsilon-hat")
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
