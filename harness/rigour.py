"""How many repeats a rigorous measurement takes: until each tool's ratio to the best is known to 2 %, or 15."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from frameworks import FLOOR
from harness.audit import PROVEN
from harness.ledger import measured_s
from harness.plan import Cell
from harness.statistics import ratio_interval

LEAST_REPEATS, MOST_REPEATS = 5, 15
WIDTH = 0.02
"""The width of a 95 % interval of a ratio, as a share of the ratio, that is narrow enough."""


def next_round(measured: Iterable[tuple[Cell, Mapping[str, Any]]]) -> list[Cell]:
    """Return the cells of one more repeat, of cells with their records so far; none where all is known well enough.

    Repeated are the tools whose ratio to the best of their group is not known to WIDTH, and that best one with them.
    """
    groups: dict[Cell, dict[Cell, list[float]]] = {}
    taken: Counter[Cell] = Counter()
    for cell, content in measured:
        first, seconds = replace(cell, repeat=0), measured_s(content)
        taken[first] += 1
        if seconds is not None and cell.tool != FLOOR and content["sameness"]["level"] in PROVEN:
            group = groups.setdefault(replace(first, tool="", environment=""), {})
            group.setdefault(first, []).append(seconds)
    return [
        replace(cell, repeat=taken[cell])
        for group in groups.values()
        for cell in _imprecise(group)
        if taken[cell] < MOST_REPEATS
    ]


def _imprecise(group: Mapping[Cell, list[float]]) -> list[Cell]:
    best = min(group, key=lambda cell: statistics.median(group[cell]))
    wide = [cell for cell in group if cell != best and _is_wide(group[cell], group[best])]
    return [best, *wide] if wide else []


def _is_wide(times: list[float], best: list[float]) -> bool:
    low, high = ratio_interval(times, best)
    return high - low >= WIDTH * statistics.median(times) / statistics.median(best)
