"""The probe tells precisions apart by their products alone, and times products without what comes with them."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from frameworks.probe import SIDES, Multiply, find_precision, measure_peak
from frameworks.worker import StoppedError, probe_model

Array = NDArray[np.float32]


def to_bits(x: Array, fraction: int) -> Array:
    """Round to so many bits of fraction."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(np.ldexp(mantissa, fraction + 1)), exponent - fraction - 1).astype(np.float32)


def to_half(x: Array) -> Array:
    """Round to float16, beyond which there is infinity."""
    with np.errstate(over="ignore"):
        return x.astype(np.float16).astype(np.float32)


ROUND = {
    "float32": lambda x: x,
    "tf32": lambda x: to_bits(x, 10),
    "bfloat16": lambda x: to_bits(x, 7),
    "float16": to_half,
}


def rounded(precision: str) -> Multiply:
    """Return a product of operands that are rounded to a precision."""

    def multiply(a: Array, b: Array, times: int) -> Array:
        with np.errstate(invalid="ignore"):
            for _ in range(times):
                a = ROUND[precision](a) @ ROUND[precision](b)
        return a

    return multiply


@pytest.mark.parametrize("precision", ROUND)
def test_a_precision_is_known_by_what_it_rounds(precision: str) -> None:
    assert find_precision(rounded(precision)) == precision


@pytest.mark.parametrize("label", ROUND)
@pytest.mark.parametrize("precision", ROUND)
def test_a_cell_whose_label_is_not_what_was_found_is_stopped(
    label: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frameworks.worker.measure_peak", lambda multiply: 50.0)
    model = SimpleNamespace(matmul=rounded(precision))
    if label == precision:
        assert probe_model(model, label) == {"precision": label, "peak_gflops": 50.0}
        return
    with pytest.raises(StoppedError, match=f"labelled {label}, and its matrix products were {precision}") as stopped:
        probe_model(model, label)
    assert stopped.value.status == "failed"


class Clock:
    """Stands still but for what is made to take time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("frameworks.probe.perf_counter", lambda: self.now)


@pytest.mark.parametrize(("gflops", "call_s"), [(100.0, 0.01), (700_000.0, 0.15)])
def test_the_peak_is_of_the_products_alone(gflops: float, call_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up device's own peak, whatever a call takes besides, more for two of three calls."""
    clock, calls = Clock(monkeypatch), itertools.count()

    def multiply(a: Array, b: Array, times: int) -> Array:
        clock.now += call_s * (1 + 5 * (next(calls) % 3 > 0)) + times * 2e-9 * len(a) ** 3 / gflops
        return a

    assert measure_peak(multiply) == pytest.approx(gflops)


def test_no_larger_matrix_is_tried_once_a_product_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sides = Clock(monkeypatch), set()

    def multiply(a: Array, b: Array, times: int) -> Array:
        sides.add(len(a))
        clock.now += 0.06 * times
        return a

    measure_peak(multiply)
    assert sides == {SIDES[0]}
