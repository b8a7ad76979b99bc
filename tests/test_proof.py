"""What a proof of a big net is made with; what it compares is tested by mutants and random nets."""

import numpy as np

from frameworks.proof import away_from_kinks, probe_weights
from frameworks.reference import run
from workloads.initial import Weights
from workloads.spec import (
    INPUT,
    Add,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlorotUniform,
    Graph,
    MaxPool2D,
    Network,
    ReLU,
)


def _graph() -> Network:
    """A residual block whose last ReLU can be moved by the sum's first input alone, and a ReLU without a bias."""
    graph = Graph()
    initializer = GlorotUniform()
    conv = Conv2D(
        filters=6,
        kernel_size=(3, 3),
        strides=(1, 1),
        padding="same",
        use_bias=False,
        kernel_initializer=initializer,
    )
    norm = BatchNorm(momentum=0.9, epsilon=1e-3, scale=True, center=True)
    trunk = graph.chain(INPUT, conv, norm, MaxPool2D(pool_size=(2, 2), strides=(2, 2), padding="valid"), ReLU())
    block = graph.chain(trunk, conv, norm)
    joined = graph.chain(graph.add(Add(), block, trunk), ReLU(), Flatten())
    dense = Dense(units=20, use_bias=False, kernel_initializer=initializer)
    graph.chain(joined, dense, ReLU())
    return graph.network((8, 8, 3))


def _sides(network: Network, weights: Weights, images: np.ndarray) -> dict[str, list[str]]:
    """Return on which side of its kink each channel of a ReLU's input is: above, below, or both."""
    outputs = run(network, weights, images, training=True).outputs
    sides = {}
    for node in network.nodes:
        if isinstance(node.layer, ReLU):
            x = outputs[node.inputs[0]].reshape(-1, outputs[node.inputs[0]].shape[-1])
            sides[node.name] = ["above" if c.min() > 0 else "below" if c.max() < 0 else "both" for c in x.T]
    return sides


def test_a_big_nets_channels_are_kept_on_one_side_of_their_kinks() -> None:
    network = _graph()
    weights, images = probe_weights(network), np.random.RandomState(0).uniform(size=(3, 8, 8, 3)).astype(np.float32)
    before = _sides(network, weights, images)
    moved = away_from_kinks(network, weights, images)
    after = _sides(network, moved, images)
    assert all("both" in sides for sides in before.values())
    for name in ("relu_1", "relu_2"):
        assert "both" not in after[name]
    assert {*after["relu_1"], *after["relu_2"]} == {"above", "below"}
    assert "both" in after["relu_3"]
    assert [name for name in weights if not np.array_equal(weights[name], moved[name])] == [
        "batchnorm_1/beta",
        "batchnorm_2/beta",
    ]
