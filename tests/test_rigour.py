"""How long a rigorous measurement goes on."""

from typing import Any

import pytest

from harness.plan import Cell
from harness.rigour import LEAST_REPEATS, MOST_REPEATS, next_round
from tests.helpers import make_cell, make_content

UNPROVEN = {"level": "S2", "reason": None, "supported": True, "findings": []}


def runs(tool: str, times: list[float], **changes: Any) -> list[tuple[Cell, dict[str, Any]]]:
    """A tool's runs, each of one epoch that takes so long."""
    cells = [make_cell(tool, repeat=repeat) for repeat in range(len(times))]
    return [(cell, make_content(cell, [s], **changes)) for cell, s in zip(cells, times, strict=True)]


STEADY, WIDE = [1.0, 1.001, 0.999, 1.0, 1.0], [2.0, 2.4, 1.6, 2.2, 1.8]


def test_what_is_known_well_enough_is_not_repeated() -> None:
    assert next_round(runs("torch", STEADY) + runs("jax", [2.0, 2.002, 1.998, 2.0, 2.0])) == []


def test_what_is_not_is_repeated_with_the_best() -> None:
    measured = runs("torch", STEADY) + runs("jax", WIDE) + runs("mxnet", [3.0] * 5)
    assert next_round(measured) == [make_cell(tool, repeat=5) for tool in ("torch", "jax")]


def test_fifteen_repeats_are_the_most() -> None:
    assert (LEAST_REPEATS, MOST_REPEATS) == (5, 15)
    assert next_round(runs("torch", STEADY * 3) + runs("jax", WIDE * 3)) == []
    assert next_round(runs("torch", STEADY) + runs("jax", WIDE * 3)) == [make_cell("torch", repeat=5)]


def test_a_repeat_that_fails_counts_as_one() -> None:
    failed = make_cell("jax", repeat=5)
    measured = runs("torch", STEADY) + runs("jax", WIDE)
    measured.append((failed, make_content(failed, [1.0], status="crashed", reason="ended by SIGSEGV")))
    assert make_cell("jax", repeat=6) in next_round(measured)


@pytest.mark.parametrize("others", [runs("null", WIDE), runs("jax", WIDE, verdict=UNPROVEN), []])
def test_only_tools_that_are_compared_are_repeated(others: list[tuple[Cell, dict[str, Any]]]) -> None:
    assert next_round(runs("torch", STEADY) + others) == []
