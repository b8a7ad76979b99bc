"""What a proof of a big net is made with; what a proof compares is tested by mutants and random nets."""

import numpy as np

from frameworks.proof import (
    MARGIN,
    POOL_GAP,
    _before_max_pools,
    _drawn_apart,
    _pools_behind,
    away_from_kinks,
    probe_weights,
)
from frameworks.reference import run
from workloads.initial import Weights
from workloads.keras_form import conv
from workloads.spec import (
    INPUT,
    Add,
    AveragePool2D,
    BatchNorm,
    Concatenate,
    Dense,
    Flatten,
    GlorotUniform,
    Graph,
    MaxPool2D,
    Network,
    ReLU,
)


def _graph() -> Network:
    """A net in which every ReLU but the last two has a bias that can move its input.

    The first has a convolution's behind a pool, the second a norm's before a sum, the third both parts of a
    concatenation. The fourth takes what another node takes before it, the fifth the sum of what those two make of it.
    The sixth takes a sum of two that come from the same node, the seventh has no bias.
    """
    graph = Graph()
    initializer = GlorotUniform()
    convolution = conv(filters=6, kernel_size=(3, 3), padding="same")
    norm = BatchNorm(momentum=0.9, epsilon=1e-3, scale=True, center=True)
    trunk = graph.chain(INPUT, convolution, MaxPool2D(pool_size=(2, 2), strides=(2, 2), padding="valid"), ReLU())
    joined = graph.chain(graph.add(Add(), graph.chain(trunk, convolution, norm), trunk), ReLU())
    average = AveragePool2D(pool_size=(3, 3), strides=(1, 1), padding="same")
    parts = graph.chain(joined, convolution), graph.chain(joined, convolution, average)
    wide = graph.chain(graph.add(Concatenate(), *parts), ReLU())
    taken = graph.chain(wide, convolution)
    pooled = graph.chain(taken, average)
    ways = [graph.chain(taken, ReLU()), graph.chain(graph.add(Add(), pooled, taken), ReLU())]
    other = graph.chain(wide, convolution)
    ways.append(graph.chain(graph.add(Add(), graph.chain(other, average), other), ReLU()))
    both = graph.add(Concatenate(), *ways)
    dense = Dense(units=20, use_bias=False, kernel_initializer=initializer)
    graph.chain(both, Flatten(), dense, ReLU())
    return graph.network((8, 8, 3))


def _distances(network: Network, weights: Weights, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return how far each channel of a ReLU's input is from zero, relative to its range; below 0 if on both sides."""
    outputs = run(network, weights, images, training=True).outputs
    distances = {}
    for node in network.nodes:
        if isinstance(node.layer, ReLU):
            x = outputs[node.inputs[0]].reshape(-1, outputs[node.inputs[0]].shape[-1])
            low, high = x.min(axis=0), x.max(axis=0)
            distances[node.name] = np.maximum(low, -high) / (high - low)
    return distances


def test_a_big_nets_channels_are_kept_on_one_side_of_their_kinks() -> None:
    network = _graph()
    weights, images = probe_weights(network), np.random.RandomState(0).uniform(size=(3, 8, 8, 3)).astype(np.float32)
    before = _distances(network, weights, images)
    moved = away_from_kinks(network, weights, images)
    after = _distances(network, moved, images)
    assert all(distances.min() < 0 for distances in before.values())
    for name in ("relu_1", "relu_2", "relu_3", "relu_4"):
        assert after[name].min() >= 0.999 * MARGIN
    assert after["relu_5"].min() > 0
    for name in ("relu_6", "relu_7"):
        assert after[name].min() < 0
    assert [name for name in weights if not np.array_equal(weights[name], moved[name])] == [
        "conv2d_1/bias",
        "batchnorm_1/beta",
        "conv2d_3/bias",
        "conv2d_4/bias",
        "conv2d_5/bias",
    ]


def test_a_filter_that_ties_a_pools_window_is_drawn_anew() -> None:
    pixels = np.array([[[[1, 0], [0, 1]], [[-1, -1], [-1, -1]]]], np.float64)
    kernel = np.array([[1, 1], [1 + 1e-6, 0.3]], np.float32)[None, None]
    convolution = conv(filters=2, kernel_size=(1, 1), padding="valid")
    pool = MaxPool2D(pool_size=(2, 2), strides=(2, 2), padding="valid")
    drawn = _drawn_apart(convolution, kernel, [pool], pixels, POOL_GAP)
    second, first = np.sort((pixels @ drawn[0, 0]).reshape(4, 2), axis=0)[-2:]
    assert (first - second).min() > POOL_GAP
    assert np.array_equal(drawn[..., 1], kernel[..., 1])
    assert not np.array_equal(drawn[..., 0], kernel[..., 0])


def test_the_pools_behind_a_convolution_take_its_channels_one_by_one() -> None:
    network = _graph()
    assert len(_pools_behind(network, "conv2d_1")) == 1
    assert not [name for name in ("conv2d_2", "conv2d_3", "conv2d_5") if _pools_behind(network, name)]


def test_what_a_max_pool_depends_on_is_before_it() -> None:
    assert _before_max_pools(_graph()) == {INPUT, "conv2d_1"}
