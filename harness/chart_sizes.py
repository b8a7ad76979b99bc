"""Time against the size of the net: rows of the chart `crossover`, and from which size on another line is the least."""

import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from typing import Literal, TypedDict

from harness.chart_rows import place_of
from harness.crossover import crossover
from harness.frames import Row, group_rows, rank_rows, runs_s
from harness.net_size import net_size_of
from harness.ranking import enough_runs, interval
from harness.sizes import Sweep, count_parameters, find_sweeps
from harness.statistics import differ


class SizeRow(TypedDict):
    """Of `crossover`: what one tool takes at one place for one size; `line` is the same for all sizes.

    `runs_s` are the times of its runs, by which `crossings` are judged and of which nothing is drawn.
    """

    line: str
    tool: str
    place: str
    parameters: int
    seconds: float
    low: float | None
    high: float | None
    runs_s: Sequence[float]


class CrossingRow(TypedDict):
    """Of `crossings`, the second data set of `crossover`: where lines cross, and in words whose is less from there."""

    parameters: float
    seconds: float
    label: str


@dataclass(frozen=True, kw_only=True)
class SizePlot:
    """A sweep in which cells of several sizes are compared, with what its plot shows."""

    sweep: Sweep
    rows: Sequence[SizeRow]
    crossings: Sequence[CrossingRow]


def make_plots(rows: Iterable[Row]) -> Iterator[SizePlot]:
    """Yield the plots of all sweeps, machine by machine."""
    for _, here in group_rows(rows, ["machine", "suite"]):
        for sweep in find_sweeps(here, count_parameters(here)):
            sizes = size_rows(row for cells in sweep.cells.values() for row in cells)
            if len({row["parameters"] for row in sizes}) > 1:
                yield SizePlot(sweep=sweep, rows=sizes, crossings=crossings(sizes))


def size_rows(rows: Iterable[Row]) -> list[SizeRow]:
    """Return what ranked cells of several sizes take."""
    found: list[SizeRow] = []
    for row in rank_rows(rows, "train_s"):
        size, times = net_size_of(row), runs_s(row)
        if row["ranked"] and size is not None:
            low, high = interval(times) if len(times) > 1 else (None, None)
            place, seconds = place_of(row), statistics.median(times)
            line = f"{row['tool']} · {place}"
            found.append(
                SizeRow(
                    line=line,
                    tool=row["tool"],
                    place=place,
                    parameters=size.parameters,
                    seconds=seconds,
                    low=low,
                    high=high,
                    runs_s=times,
                )
            )
    return sorted(found, key=lambda one: (one["line"], one["parameters"]))


def crossings(rows: Iterable[SizeRow]) -> list[CrossingRow]:
    """Return from which size on another line is the least: of each tool's places, or of tools where there is one place.

    The size is interpolated between two measured ones, both axes logarithmic. A label says so where the crossing may be
    noise: where the two lines do not differ significantly on both sides, or runs are too few to tell.
    """
    rows = list(rows)
    places = {row["place"] for row in rows}
    found: list[CrossingRow] = []
    for group in _grouped(rows, "tool" if len(places) > 1 else "place"):
        by_size = [{row["line"]: row for row in same} for same in _grouped(group, "parameters")]
        for before, after in pairwise(sorted(by_size, key=_size)):
            first, last = _least(before), _least(after)
            if first != last and last in before and first in after:
                slow, fast = [before[first], after[first]], [before[last], after[last]]
                found += _cross(slow, fast, _name(after[last], places))
    return found


def _name(row: SizeRow, places: Collection[str]) -> str:
    """Return the name of a line in short: its tool, and its device where there are several places."""
    if len(places) == 1:
        return row["tool"]
    devices = {place.split(",")[0] for place in places}
    return f"{row['tool']}: {row['place'].split(',')[0] if len(devices) == len(places) else row['place']}"


def _grouped(rows: Iterable[SizeRow], name: Literal["tool", "place", "parameters"]) -> list[list[SizeRow]]:
    groups: dict[str | int, list[SizeRow]] = {}
    for row in rows:
        groups.setdefault(row[name], []).append(row)
    return list(groups.values())


def _size(lines: Mapping[str, SizeRow]) -> int:
    return next(iter(lines.values()))["parameters"]


def _least(lines: Mapping[str, SizeRow]) -> str:
    return min(lines, key=lambda line: lines[line]["seconds"])


def _cross(slow: Sequence[SizeRow], fast: Sequence[SizeRow], name: str) -> list[CrossingRow]:
    """Return where two lines, given by their ends, cross; nowhere if they begin at one point."""
    sizes, slow_s, fast_s = [row["parameters"] for row in slow], _seconds(slow), _seconds(fast)
    doubt = "" if all(map(_is_certain, slow, fast)) else " (may be noise)"
    found: list[CrossingRow] = []
    for crossing in crossover(sizes, slow_s, fast_s):
        way = log(crossing.size / sizes[0]) / log(sizes[1] / sizes[0])
        found.append(
            CrossingRow(
                parameters=crossing.size,
                seconds=slow_s[0] ** (1 - way) * slow_s[1] ** way,
                label=f"{name} from {_in_short(crossing.size)}{doubt}",
            )
        )
    return found


def _is_certain(one: SizeRow, other: SizeRow) -> bool:
    """Return whether two lines differ at one size, as crossover tables judge it."""
    times = one["runs_s"], other["runs_s"]
    return enough_runs(*times) and differ(*times)


def _seconds(line: Iterable[SizeRow]) -> list[float]:
    return [row["seconds"] for row in line]


def _in_short(count: float) -> str:
    """Return a number with three significant digits, in thousands or millions from there on."""
    unit, name = next(((unit, name) for unit, name in ((1e6, " M"), (1e3, " k")) if count >= unit), (1.0, ""))
    return f"{float(f'{count / unit:.3g}'):g}{name}"
