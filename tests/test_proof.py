"""How a proof goes about a big net; what it compares is tested by mutants and random nets."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from frameworks import proof
from frameworks.base import Precision
from frameworks.proof import ATTEMPTS_OF_BIG, Finding, Probe, away_from_kinks, probe_weights, prove
from frameworks.reference import run
from workloads import make_workload
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
    Workload,
)


class Adapter:
    """All that a proof asks of an adapter besides what `_Comparison` does with it."""

    def __init__(self, *precisions: Precision) -> None:
        self.precisions = precisions

    def supports(self, workload: Workload, precision: Precision) -> None:
        """Support everything."""


Outcome = tuple[str, float, str | None, bool]
"""What was compared, how far it was off, its note, and whether it is a fault."""


def compare_with(outcomes: list[list[Outcome]], monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Let the comparisons of a proof find `outcomes`, one after another; return the images they saw."""
    left, seen = list(outcomes), []

    class Comparison:
        def __init__(
            self, adapter: Any, workload: Workload, precision: Precision, probe: Probe, *, locates: bool
        ) -> None:
            self._precision = precision
            seen.append(probe.images)

        def findings(self) -> Iterator[Finding]:
            for what, worst, note, fault in left.pop(0):
                yield Finding(
                    level="S3",
                    what=what,
                    worst=worst,
                    where="",
                    tolerance=1e-4,
                    precision=self._precision,
                    note=note,
                    fault=fault,
                )

    monkeypatch.setattr(proof, "_Comparison", Comparison)
    return seen


BIG, SMALL = make_workload("alexnet-owt", {}), make_workload("digits-mlp", {"data": "synthetic"})
OFF, HOLDS = ("gradients", 3e-4, None, False), ("gradients", 1e-6, None, False)


def test_a_big_net_that_is_off_by_a_kink_is_compared_on_another_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = compare_with([[OFF], [("gradients", 1e-6, "natural", False)]], monkeypatch)
    (finding,) = prove(Adapter("float32"), BIG)
    assert finding.holds
    assert finding.note is not None
    assert finding.note.startswith("natural; float32 gradients: off by 3.0e-04 on the draws before")
    assert len(seen) == 2
    assert not np.array_equal(*seen)


def test_a_big_net_that_is_off_on_every_draw_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = compare_with([[OFF]] * ATTEMPTS_OF_BIG, monkeypatch)
    (finding,) = prove(Adapter("float32"), BIG)
    assert len(seen) == ATTEMPTS_OF_BIG
    assert not finding.holds
    assert finding.note is None


@pytest.mark.parametrize(
    "first",
    [
        [("outputs", math.inf, None, True), OFF],
        [("logits", 3e-4, None, False), OFF],
        [("gradients", 0.3, None, False)],
        [("loss", 3e-4, None, False)],
    ],
)
def test_what_no_kink_explains_has_no_second_attempt(first: list[Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = compare_with([first, [HOLDS]], monkeypatch)
    findings = prove(Adapter("float32"), BIG)
    assert len(seen) == 1
    assert not all(finding.holds for finding in findings)


@pytest.mark.parametrize(("workload", "precision"), [(SMALL, "float32"), (BIG, "float64")])
def test_there_is_no_second_attempt_elsewhere(
    workload: Workload, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = compare_with([[OFF], [HOLDS]], monkeypatch)
    finding, *_ = prove(Adapter(precision), workload)
    assert len(seen) == 1
    assert not finding.holds


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
