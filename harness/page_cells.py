"""From rows of `to_frame` to the cells of the page: medians with intervals, ranks, levels, commands."""

import re
import shlex
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan
from typing import Any

from frameworks import FLOOR
from harness.chart_rows import rank_by_median
from harness.frames import COORDINATES, GROUP, Row, group_rows, is_ranked, runs_s, typical_curve
from harness.ledger_tables import mean_parts
from harness.levels import reached_level
from harness.markdown import device_name
from harness.page_runs import rounded
from harness.ranking import Comparison, interval
from harness.speed import peak_pct, samples_of, speed_of
from workloads.spec import fingerprint

Cell = dict[str, Any]


def make_groups(rows: Iterable[Row]) -> Iterator[tuple[dict[str, Any], list[Cell]]]:
    """Yield each group of cells that may be compared, and its cells in the order of a table."""
    found = group_rows(rows, GROUP)
    found.sort(key=lambda group: [natural_order(value) for value in group[0]])
    for values, members in found:
        group = dict(zip(GROUP, values, strict=True))
        group["id"] = _id(*values)
        group["place"] = device_name(group["device"], group["cores"])
        group["unverified"] = next((row["unverified"] for row in members if row["unverified"]), "")
        yield group, _cells(members)


def natural_order(value: Any) -> list[tuple[bool, int, str]]:
    """Return what sorts texts as people do: `units=64` comes before `units=1024`."""
    parts = re.findall(r"\d+|\D+", str(value))
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def cell_id(row: Row) -> str:
    """Return the id of a cell in links and data of the page."""
    return _id(*(row[name] for name in COORDINATES))


def _id(*values: Any) -> str:
    return fingerprint([str(value) for value in values])[:10]


def _cells(members: Iterable[Row]) -> list[Cell]:
    ranked = rank_by_median(members)
    compared = {row["tool"]: row for row in ranked if row["ranked"]}
    comparison = Comparison({tool: runs_s(row) for tool, row in compared.items()})
    curves = {tool: typical_curve(row) for tool, row in compared.items()}
    return [_cell(row, comparison, curves) for row in ranked]


def _cell(row: Row, comparison: Comparison, curves: Mapping[str, Sequence[float]]) -> Cell:
    ok, tool = row["status"] == "ok", row["tool"]
    level, words = reached_level(row, curves) if ok and tool != FLOOR else ("", [])
    return {
        "id": cell_id(row),
        "tool": tool,
        "status": row["status"],
        "reason": row["reason"],
        "ranked": is_ranked(row),
        "floor": tool == FLOOR,
        "rank": comparison.rank(tool) if row["ranked"] else None,
        "versus_best": comparison.versus_best(tool) if row["ranked"] else None,
        "level": level or None,
        "level_notes": words,
        "notes": row["disturbances"],
        "energy_of": row["energy_of"] if isinstance(row["energy_of"], str) else None,
        "repeats": row["repeats"],
        "command": _command(row),
        "parts": [rounded(seconds) for seconds in mean_parts(row).values()] or None,
        "runs": [run["page"] for run in row["runs"]],
        **(_metrics(row) if ok else dict.fromkeys(METRICS)),
    }


METRICS = ("time", "steady", "speed", "peak_pct", "cpu_pct", "gpu_pct", "energy", "error_pct")


def _metrics(row: Row) -> dict[str, Any]:
    """Return [median, low, high] of what has a value for each run, and [median] of the rest; None where unknown.

    `time` and `steady` are seconds, `speed` samples a second over training or over the timed steps, `energy` joules
    per 1,000 samples, `peak_pct` as in `harness.speed`.
    """
    return {
        "time": _spread(runs_s(row)),
        "steady": _spread([run["time"]["steady_epoch_s"] for run in row["runs"]]),
        "speed": _spread([speed_of(run, row) for run in row["runs"]]),
        "peak_pct": _spread([peak_pct(run, row) for run in row["runs"]]),
        "cpu_pct": _spread([row["cpu_pct"]]),
        "gpu_pct": _spread([row["gpu_pct"]]),
        "energy": _spread([1000 * row["energy_j"] / statistics.median(samples_of(run, row) for run in row["runs"])]),
        "error_pct": _spread([run["page"]["error_pct"] for run in row["runs"]]),
    }


def _spread(values: Sequence[float | None]) -> list[float | None] | None:
    """Return the median, and its interval where there is more than one value."""
    known = [value for value in values if value is not None and not isnan(value)]
    if not known:
        return None
    ends = interval(known) if len(known) > 1 else ()
    return [rounded(value, 6) for value in (statistics.median(known), *ends)]


def _command(row: Row) -> str:
    """Return the command that runs a cell again: a replay of its newest record that is ok, or its part of a matrix."""
    replayable = [run for run in row["runs"] if run["page"]["record"]]
    if replayable:
        newest = max(replayable, key=lambda run: run["finished_at"])
        return f"python runner.py replay {newest['page']['record']}"
    model, *parameters = str(row["model"]).split()
    axes = {name: str(row[name]) for name in ("tool", "device", "batch_size", "precision", "measure")}
    rules = [f"{name}={value}" for name, value in (axes | {"model": model}).items()] + parameters
    return "python runner.py --matrix MATRIX.yaml --fresh " + " ".join(shlex.quote(f"--only={rule}") for rule in rules)
