"""From rows of `to_frame` to the rows of charts, which the page makes with the same names; what is unknown is None."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, pairwise
from math import inf, isfinite, isnan, nan
from typing import Any, Literal, TypedDict

from frameworks import FLOOR
from harness.frames import Row, rank_rows, runs_s
from harness.ledger import measured_s
from harness.ledger_tables import mean_parts
from harness.markdown import device_name
from harness.ranking import Comparison, interval
from harness.sensors import TICK_S
from harness.telemetry import TICKS

Curve = Literal["loss", "error_pct"]
Over = Literal["epochs", "seconds"]


class BarRow(TypedDict):
    """Of `bars`, best first: a cell's median with its interval, in the unit that `axis_title` says."""

    tool: str
    place: str
    value: float | None
    low: float | None
    high: float | None
    status: str
    ranked: bool
    rank: str | None
    note: str | None


class CurveRow(TypedDict):
    """Of `curves_epochs` and `curves_seconds`: x is the epoch from 1, or seconds of training at its end."""

    tool: str
    line: str
    x: float
    y: float


class PartRow(TypedDict):
    """Of `ledger`: seconds of one part of a tool's run; `order` is its place in the ledger, from 0."""

    tool: str
    part: str
    order: int
    seconds: float


class SeriesRow(TypedDict):
    """Of `utilisation`: one value of one series of a run, seconds after its launch."""

    tool: str
    line: str
    series: str
    at_s: float
    value: float


class StepRow(TypedDict):
    """Of `steps`: what one step took; the first is 1."""

    tool: str
    step: int
    ms: float
    warmup: bool


def bar_rows(rows: Iterable[Row], factor: float = 1.0) -> list[BarRow]:
    """Return the medians, times `factor`, by which the cells of one place are compared, in the order of its table."""
    ordered = rank_by_median(rows)
    comparison = Comparison({row["tool"]: runs_s(row) for row in ordered if row["ranked"]})
    return [_bar(row, comparison, factor) for row in ordered]


def rank_by_median(rows: Iterable[Row]) -> list[Row]:
    """Return rows in the order of a table with `median_s`, the median by which a cell is compared, or NaN."""
    medians = ({**row, "median_s": statistics.median(runs_s(row) or [nan])} for row in rows)
    return rank_rows(medians, "median_s")


def _bar(row: Row, comparison: Comparison, factor: float) -> BarRow:
    ok = row["status"] == "ok" and not isnan(row["median_s"])
    low, high = interval(runs_s(row)) if ok and row["repeats"] > 1 else (None, None)
    return {
        "tool": row["tool"],
        "place": place_of(row),
        "value": factor * row["median_s"] if ok else None,
        "low": None if low is None else factor * low,
        "high": None if high is None else factor * high,
        "status": row["status"],
        "ranked": row["ranked"],
        "rank": comparison.rank(row["tool"]) if row["ranked"] else None,
        "note": "; ".join(words for words in (str(row["reason"]), *row["disturbances"]) if words) or None,
    }


def place_of(row: Row) -> str:
    """Return where a cell was measured, for people."""
    return device_name(row["device"], row["cores"])


def typical_run(row: Row) -> Mapping[str, Any] | None:
    """Return the run of median time of a cell that came out well, of two in the middle the faster."""
    timed = [(seconds, run) for run in row["runs"] if (seconds := measured_s(run)) is not None]
    ordered = sorted(timed, key=lambda one: one[0])
    return ordered[(len(ordered) - 1) // 2][1] if ordered else None


def _typical_runs(rows: Iterable[Row]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the tools that train and came out well, in the order of a table, each with its typical run."""
    for row in rank_by_median(rows):
        if row["status"] == "ok" and row["tool"] != FLOOR and (run := typical_run(row)) is not None:
            yield row["tool"], run


def curve_rows(rows: Iterable[Row], what: Curve, over: Over) -> list[CurveRow]:
    """Return how the loss or the error rate went down over epochs or seconds, in each tool's run of median time."""
    return [
        CurveRow(tool=tool, line=tool, x=x, y=y)
        for tool, run in _typical_runs(rows)
        for x, y in zip(_ends(run, over), _curve(run, what), strict=True)
        if y is not None and isfinite(y)
    ]


def _ends(run: Mapping[str, Any], over: Over) -> list[float]:
    epochs = run["epochs"]
    return list(accumulate(one["wall_s"] for one in epochs)) if over == "seconds" else [*range(1, len(epochs) + 1)]


def _curve(run: Mapping[str, Any], what: Curve) -> list[float | None]:
    if what == "loss":
        return [one["loss"] for one in run["epochs"]]
    return [None if rate is None else 100 * rate for rate in error_rates(run)]


def error_rates(run: Mapping[str, Any]) -> list[float | None]:
    """Return the error rate after each epoch where it was looked at: of the test set, else of what validates."""
    checked = {check["epoch"]: check["error_rate"] for check in run["checks"]}
    return [
        checked.get(place, (one.get("validation") or {}).get("error_rate")) for place, one in enumerate(run["epochs"])
    ]


def part_rows(rows: Iterable[Row]) -> list[PartRow]:
    """Return where the time of each tool's runs went, means over them, the least in all first and the floor last."""
    kept = [(row["tool"], {name: mean or 0.0 for name, mean in mean_parts(row).items()}) for row in rows]
    kept.sort(key=lambda one: (one[0] == FLOOR, sum(one[1].values())))
    return [
        PartRow(tool=tool, part=part, order=order, seconds=seconds)
        for tool, parts in kept
        for order, (part, seconds) in enumerate(parts.items())
        if seconds > 0
    ]


def series_rows(rows: Iterable[Row], series: str) -> list[SeriesRow]:
    """Return one of SERIES over time, of each tool its typical run; runs hold the part `utilisation` of records."""
    return [
        SeriesRow(tool=tool, line=tool, series=series, at_s=at_s, value=value)
        for tool, run in _typical_runs(rows)
        for at_s, value in SERIES[series](run["utilisation"])
        if value is not None
    ]


def _cpu_pct(seen: Mapping[str, Any]) -> Iterator[tuple[float, float | None]]:
    """Yield the CPU % of the cores given, over windows long enough for the ticks in which it is counted."""
    series = seen.get("series") or {"at_s": [], "cpu_s": []}
    known = [(at_s, used) for at_s, used in zip(series["at_s"], series["cpu_s"], strict=True) if used is not None]
    kept = [known[place] for place in find_apart([at_s for at_s, _ in known])]
    for (start, before), (end, after) in pairwise(kept):
        yield end, 100 * (after - before) / (end - start) / seen["cpus"]


def find_apart(times_s: Iterable[float]) -> list[int]:
    """Return the places of samples so far apart that ticks of CPU time between them say enough."""
    kept, last_s = [], -inf
    for place, at_s in enumerate(times_s):
        if at_s - last_s >= TICKS * TICK_S:
            kept.append(place)
            last_s = at_s
    return kept


def _memory_mib(seen: Mapping[str, Any]) -> Iterator[tuple[float, float | None]]:
    series = seen.get("series") or {"at_s": [], "rss_mib": []}
    yield from zip(series["at_s"], series["rss_mib"], strict=True)


def _gpu_pct(seen: Mapping[str, Any]) -> Iterator[tuple[float, float | None]]:
    """Yield at each time the mean utilisation of the GPUs."""
    series = seen.get("series") or {"at_s": [], "gpus": []}
    for place, at_s in enumerate(series["at_s"]):
        known = [value for gpu in series["gpus"] if (value := gpu["gpu_pct"][place]) is not None]
        yield at_s, statistics.fmean(known) if known else None


SERIES: Mapping[str, Callable[[Mapping[str, Any]], Iterator[tuple[float, float | None]]]] = {
    "CPU %": _cpu_pct,
    "GPU %": _gpu_pct,
    "memory MiB": _memory_mib,
}


def step_rows(rows: Iterable[Row]) -> list[StepRow]:
    """Return what every step took in each tool's run of median time."""
    return [
        StepRow(tool=tool, step=place, ms=1000 * step["wall_s"], warmup=step["warmup"])
        for tool, run in _typical_runs(rows)
        for place, step in enumerate(run["steps"], 1)
    ]
