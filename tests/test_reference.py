"""The oracle against arithmetic done by hand, in loops, or by its definition."""

import math
from dataclasses import replace
from statistics import NormalDist

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
from workloads.initial import Weights, initial_weights
from workloads.keras_form import conv, dense
from workloads.shapes import weight_shapes
from workloads.spec import (
    GELU,
    INPUT,
    L2,
    LSTM,
    SGD,
    Adam,
    Add,
    AveragePool2D,
    BatchNorm,
    Concatenate,
    Crop2D,
    DepthwiseConv2D,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool2D,
    GlorotUniform,
    Graph,
    LayerNorm,
    LocalResponseNorm,
    MaxPool2D,
    MultiHeadAttention,
    PositionEmbedding,
    ReLU,
    Workload,
    sequential,
)

NORM = BatchNorm(momentum=0.9, epsilon=0.5, scale=True, center=True)
DEPTHWISE = DepthwiseConv2D(
    kernel_size=(3, 2), strides=(2, 1), padding=((1, 0), (0, 0)), use_bias=True, kernel_initializer=GlorotUniform()
)
TABLE = Embedding(input_dim=7, output_dim=4, embeddings_initializer=GlorotUniform())
POSITIONS = PositionEmbedding(embeddings_initializer=GlorotUniform())
LSTM_LAYER = LSTM(
    units=3,
    return_sequences=True,
    kernel_initializer=GlorotUniform(),
    recurrent_initializer=GlorotUniform(),
    forget_bias=1.0,
)
ATTENTION = MultiHeadAttention(heads=2, causal=True, use_bias=True, kernel_initializer=GlorotUniform())


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


def test_embeddings_are_rows_and_positions_are_added() -> None:
    table, places = np.arange(12.0).reshape(4, 3), np.array([[100.0] * 3, [200.0] * 3])
    network = sequential((2,), (TABLE, POSITIONS))
    weights = {"embedding_1/embeddings": table, "positionembedding_1/embeddings": places}
    got = forward(network, weights, np.array([[3, 0], [1, 1]]))
    assert got.tolist() == [[[109, 110, 111], [200, 201, 202]], [[103, 104, 105], [203, 204, 205]]]


def run_on_sequences(layer) -> tuple[Weights, np.ndarray, np.ndarray]:
    """Draw a layer's weights, by kind, and sequences (3, 5, 4), which rows of a table are; the third is the output."""
    network = sequential((5,), (TABLE, layer))
    stream = np.random.RandomState(0)
    weights = {name: stream.standard_normal(shape) for name, shape in weight_shapes(network).items()}
    tokens = stream.randint(7, size=(3, 5))
    own = {name.rsplit("/", 1)[1]: weight for name, weight in weights.items() if not name.startswith("embedding_1")}
    return own, weights["embedding_1/embeddings"][tokens], forward(network, weights, tokens)


@pytest.mark.parametrize("return_sequences", [True, False])
def test_an_lstm_number_by_number(return_sequences: bool) -> None:
    layer = replace(LSTM_LAYER, return_sequences=return_sequences)
    weights, x, got = run_on_sequences(layer)
    units, states = layer.units, np.zeros((3, 5, layer.units))

    def gate(number: int, unit: int, seen: np.ndarray, state: list[float]) -> float:
        column = number * units + unit
        inputs = sum(seen[d] * weights["kernel"][d, column] for d in range(len(seen)))
        return (
            inputs
            + sum(state[u] * weights["recurrent_kernel"][u, column] for u in range(units))
            + (weights["bias"][column])
        )

    for n in range(3):
        h, c = [0.0] * units, [0.0] * units
        for t in range(5):
            i, f, g, o = ([gate(number, unit, x[n, t], h) for unit in range(units)] for number in range(4))
            i, f, o = ([1 / (1 + math.exp(-value)) for value in values] for values in (i, f, o))
            c = [f[u] * c[u] + i[u] * math.tanh(g[u]) for u in range(units)]
            h = [o[u] * math.tanh(c[u]) for u in range(units)]
            states[n, t] = h
    assert got == pytest.approx(states if return_sequences else states[:, -1])


def test_an_lstm_does_not_overflow() -> None:
    network = sequential((1,), (TABLE, LSTM_LAYER))
    weights = initial_weights(network, 0) | {"lstm_1/bias": np.repeat([-1e4, 1e4, 1e4, 1e4], LSTM_LAYER.units)}
    with np.errstate(all="raise", under="ignore"):
        assert forward(network, weights, np.zeros((1, 1), int)).ravel() == pytest.approx(0.0)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("heads", [1, 2])
def test_attention_head_by_head_and_place_by_place(causal: bool, use_bias: bool, heads: int) -> None:
    layer = replace(ATTENTION, causal=causal, use_bias=use_bias, heads=heads)
    weights, x, got = run_on_sequences(layer)
    columns = x.shape[-1]
    k = columns // heads

    def biased(part: str, values: np.ndarray) -> np.ndarray:
        return values @ weights[f"{part}_kernel"] + (weights[f"{part}_bias"] if use_bias else 0.0)

    for n in range(3):
        query, key, value = (biased(part, x[n]) for part in ("query", "key", "value"))
        for t in range(5):
            mixed = []
            for head in range(heads):
                own = slice(head * k, (head + 1) * k)
                seen = range(t + 1 if causal else 5)
                shares = [math.exp(query[t, own] @ key[s, own] / math.sqrt(k)) for s in seen]
                mixed.append(sum(share * value[s, own] for share, s in zip(shares, seen, strict=True)) / sum(shares))
            assert got[n, t] == pytest.approx(biased("output", np.concatenate(mixed)))


def test_a_masked_place_sees_nothing_of_what_comes_after_it() -> None:
    network = sequential((5,), (TABLE, ATTENTION))
    weights = initial_weights(network, 0)
    tokens = np.array([[1, 2, 3, 4, 5], [1, 2, 3, 0, 0]])
    got = forward(network, weights, tokens)
    assert np.array_equal(got[0, :3], got[1, :3])
    assert np.abs(got[0, 3:] - got[1, 3:]).min() > 1e-6


def test_layer_normalisation_by_its_definition() -> None:
    weights, x, got = run_on_sequences(LayerNorm(epsilon=0.5))
    for n, t in np.ndindex(3, 5):
        mean = sum(x[n, t]) / 4
        variance = sum((value - mean) ** 2 for value in x[n, t]) / 4
        for c in range(4):
            normal = (x[n, t, c] - mean) / math.sqrt(variance + 0.5)
            assert got[n, t, c] == pytest.approx(weights["gamma"][c] * normal + weights["beta"][c])


def test_gelu_is_x_times_the_normal_distribution_and_its_approximation() -> None:
    images = np.linspace(-6, 6, 25)
    exact = run_layers(images.reshape(1, 5, 5, 1), GELU(form="erf")).ravel()
    expected = [x * NormalDist().cdf(x) for x in images]
    assert exact == pytest.approx(expected, rel=1e-12, abs=1e-12)
    by_tanh = run_layers(images.reshape(1, 5, 5, 1), GELU(form="tanh")).ravel()
    assert 1e-4 < np.abs(by_tanh - exact).max() < 5e-4
    x = 1.5
    assert by_tanh[images.tolist().index(x)] == pytest.approx(
        0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    )


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


def image_layers() -> Workload:
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
    return replace(base, network=sequential((8, 8, 1), layers), l2=L2(rate=0.1, kinds=("kernel", "gamma")))


def sequence_layers() -> Workload:
    layers = (
        TABLE,
        POSITIONS,
        ATTENTION,
        GELU(form="erf"),
        LayerNorm(epsilon=0.5),
        LSTM_LAYER,
        replace(ATTENTION, causal=False, use_bias=False, heads=1),
        GELU(form="tanh"),
        dense(units=10),
    )
    base = make_workload("gpt-nano", {})
    return replace(base, data=replace(base.data, image_shape=(6,)), network=sequential((6,), layers))


@pytest.mark.parametrize("make", [image_layers, sequence_layers])
def test_central_differences_of_shrinking_steps_tend_to_the_complex_steps_slope(make) -> None:
    workload = make()
    weights = initial_weights(workload.network, 0)
    stream = np.random.RandomState(0)
    shape = workload.network.input_shape
    if len(shape) == 1:
        images, labels = stream.randint(7, size=(4, *shape)), stream.randint(10, size=(4, *shape))
    else:
        images, labels = stream.rand(4, *shape), stream.randint(10, size=4)
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


def test_cross_entropy_of_sequences_is_the_mean_over_samples_and_places() -> None:
    stream = np.random.RandomState(0)
    logits, labels = stream.rand(2, 3, 5), stream.randint(5, size=(2, 3))
    losses = [
        math.log(sum(math.exp(x) for x in logits[n, t])) - logits[n, t, labels[n, t]] for n, t in np.ndindex(2, 3)
    ]
    assert softmax_cross_entropy(logits, labels) == pytest.approx(sum(losses) / 6)


def test_predictions_of_sequences_are_judged_on_all_places() -> None:
    logits = np.zeros((2, 2, 3), np.float32)
    logits[..., 1] = 1.0
    assert judge(logits, np.array([[1, 1], [0, 1]]))["error_rate"] == 0.25


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
