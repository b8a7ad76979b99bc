"""How a proof goes about a big net that is off in float32; what it compares is tested by mutants and random nets."""

from collections.abc import Iterator
from typing import Any

import pytest

from frameworks import proof
from frameworks.base import Precision
from frameworks.proof import ATTEMPTS_OF_BIG, Finding, prove
from workloads import make_workload
from workloads.spec import Workload


class Adapter:
    """All that a proof asks of an adapter besides what `_Comparison` does with it."""

    def __init__(self, *precisions: Precision) -> None:
        self.precisions = precisions

    def supports(self, workload: Workload, precision: Precision) -> None:
        """Support everything."""


def compare_with(errors: list[float], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the comparisons of a proof be off by `errors`, one after another, and return those that are left."""
    left = list(errors)

    class Comparison:
        def __init__(self, adapter: Any, workload: Workload, precision: Precision, probe: Any) -> None:
            self._precision = precision

        def findings(self) -> Iterator[Finding]:
            yield Finding(
                level="S3",
                what="gradients",
                worst=left.pop(0),
                where="",
                tolerance=1e-4,
                precision=self._precision,
            )

    monkeypatch.setattr(proof, "_Comparison", Comparison)
    return left


BIG, SMALL = make_workload("alexnet-owt", {}), make_workload("digits-mlp", {"data": "synthetic"})


def test_a_big_net_that_is_off_by_a_kink_is_compared_on_another_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    left = compare_with([3e-4, 1e-6], monkeypatch)
    (finding,) = prove(Adapter("float32"), BIG)
    assert not left
    assert finding.holds
    assert finding.note == "off by 3.0e-04 on batch 1, which has a value at a kink"


def test_a_big_net_that_is_off_on_every_batch_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    left = compare_with([3e-4] * ATTEMPTS_OF_BIG, monkeypatch)
    (finding,) = prove(Adapter("float32"), BIG)
    assert not left
    assert not finding.holds


@pytest.mark.parametrize(("workload", "precision"), [(SMALL, "float32"), (BIG, "float64")])
def test_there_is_no_second_attempt_elsewhere(
    workload: Workload, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = compare_with([3e-4, 1e-6], monkeypatch)
    finding, *_ = prove(Adapter(precision), workload)
    assert left
    assert not finding.holds
