"""Which of a table's tools differ, by the seconds of their repeats: ranks, ratios and intervals in words."""

import statistics
from collections.abc import Mapping, Sequence
from functools import cache

from harness.markdown import MISSING
from harness.statistics import can_differ, differ, median_interval, ratio_interval, shared_ranks

RANKED_REPEATS = next(count for count in range(1, 100) if can_differ(count, count))
"""How many runs each tool must have to be ranked."""


def enough_runs(*times: Sequence[float]) -> bool:
    """Whether each of these tools, given by the seconds of its runs, has enough of them to be told from another."""
    return min(map(len, times)) >= RANKED_REPEATS


class Comparison:
    """The tools of one table that are compared, each with the seconds of its runs."""

    def __init__(self, times: Mapping[str, Sequence[float]]) -> None:
        self._times = times
        self._best = min(times, key=lambda tool: statistics.median(times[tool]), default=None)
        known = {tool: tuple(runs) for tool, runs in times.items() if enough_runs(runs)}
        self._letters = _rank(tuple(known.items()))

    def rank(self, tool: str) -> str:
        """Return a tool's letters; none if it has too few runs to tell, or nothing to be told from."""
        return self._letters.get(tool, MISSING) if len(self._letters) > 1 else MISSING

    def versus_best(self, tool: str) -> str:
        """Return the ratio of medians to the best tool, with its interval where both have runs enough."""
        assert self._best is not None
        mine, best = self._times[tool], self._times[self._best]
        known = tool != self._best and enough_runs(mine, best)
        return ratio_text(
            statistics.median(mine) / statistics.median(best), ratio_interval(mine, best) if known else None
        )


@cache
def _rank(times: tuple[tuple[str, tuple[float, ...]], ...]) -> Mapping[str, str]:
    """Return the letters of tools, of which more than one table asks."""
    runs = dict(times)
    ordered = sorted(runs, key=lambda tool: statistics.median(runs[tool]))
    return shared_ranks(ordered, lambda one, other: differ(runs[one], runs[other]))


def ratio_text(ratio: float, interval: tuple[float, float] | None) -> str:
    """Return a ratio, and its interval where there is one."""
    return f"{ratio:.2f}" + (f" ({interval[0]:.2f} – {interval[1]:.2f})" if interval else "")


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of a median, or the least and the most of fewer than six values."""
    return median_interval(values) or (min(values), max(values))


def interval_text(values: Sequence[float], spec: str, factor: float = 1.0) -> str:
    """Return a median, and its 95 % interval, or the least and the most of fewer than six values."""
    median = f"{factor * statistics.median(values):{spec}}"
    if len(values) == 1:
        return median
    low, high = interval(values)
    return f"{median} ({factor * low:{spec}} – {factor * high:{spec}})"
