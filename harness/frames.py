"""From records to one row a cell, and what all tables do with rows: group them, rank them, say why there are none."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from math import isnan
from statistics import median
from typing import Any

import pandas as pd

from frameworks import FLOOR, TOOLS
from harness.audit import PROVEN, describe_verdict
from harness.canary import DRIFT, find_drifted
from harness.ledger import energy_sources, measured_s, run_cost, training_energy_j
from harness.markdown import MISSING, Notes, counted, escape, number
from harness.ranking import RANKED_REPEATS
from harness.records import ABSENT, Record
from harness.telemetry import STRANGERS_PCT
from harness.versions import name_versions
from workloads import TARGET

COORDINATES = [
    "machine", "suite", "model", "batch_size", "precision", "measure", "epochs", "warmup", "timed", "seed", "device",
    "cores", "gpus", "tool",
]  # fmt: skip
GROUP = COORDINATES[:-1]
"""What cells agree in that may be compared: all but the tool."""
NO_STEPS = {"warmup": 0, "timed": 0}
"""The steps of a cell that measures epochs."""


MEASURED = [
    "train_s", "gpu_pct", "cpu_pct", "error_rate", "energy_j", "cost", "canary_gflops", "machine_peak_gflops",
]  # fmt: skip
"""Columns that hold medians over repeats."""
PLACE = ["machine", "device", "cores", "gpus", "precision"]
"""What cells agree in that have the same peak."""
VERSIONED = ("spec", "adapter", "environment", "data")
"""The fingerprints of what may change between two runs of a cell."""
DISTURBING = ["drifted", "others_pct", "gpu_strangers", "throttle"]
"""Columns that tell what may have disturbed a run."""

Row = Mapping[Hashable, Any]
"""A cell as a row of `to_frame`."""


def to_frame(records: Iterable[Record], also: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row a cell: of each cell the records of its newest version, numbers as medians over repeats.

    A cell's version is what VERSIONED names. A cell that was run somewhen is shown as that, even if a later matrix
    leaves it out. `runs` holds of each repeat what tables need of its record besides, and the parts `also`. Energy of
    repeats of which not the same could be read has no median.
    """
    rows = [_row(record.content) | {"run": _run(record.content, also)} for record in records]
    frame = pd.DataFrame(rows, columns=list(rows[0]) if rows else COORDINATES)
    if frame.empty:
        return frame
    frame["ran"] = ~frame["status"].isin(ABSENT)
    frame = frame.sort_values(["ran", "finished_at", "key"])
    frame["drifted"] = _drifted(frame)
    frame["machine_peak_gflops"] = machine_peaks(frame)
    frame = frame.drop_duplicates([*COORDINATES, "repeat"], keep="last")
    newest = frame.groupby(COORDINATES)["version"].transform("last")
    frame = frame[frame["version"] == newest].sort_values("repeat", kind="stable")
    frame["disturbing"] = pd.Series(frame[DISTURBING].to_dict("records"), index=frame.index)
    cells = frame.groupby(COORDINATES, sort=False)
    merged = cells.last()
    merged["repeats"] = cells.size()
    merged["runs"] = cells["run"].agg(list)
    merged["status"] = cells["status"].agg(lambda found: next((s for s in found if s != "ok"), "ok"))
    merged["reason"] = cells["reason"].agg(lambda found: next((r for r in found if isinstance(r, str)), ""))
    merged[MEASURED] = cells[MEASURED].median()
    merged.loc[cells["energy_of"].nunique(dropna=False) > 1, "energy_j"] = float("nan")
    merged["disturbances"] = cells["disturbing"].agg(lambda runs: _disturbances(list(runs)))
    weakest = frame.sort_values("level", kind="stable").groupby(COORDINATES, sort=False)[["level", "verdict"]].first()
    merged[["level", "verdict"]] = weakest
    return merged.reset_index()


def machine_peaks(runs: pd.DataFrame) -> pd.Series:
    """Return for each run the GFLOP/s that products of its precision reached beside any run of its session and PLACE.

    A tool whose own products are slow is not measured by these alone.
    """
    return runs.groupby(["session", *PLACE], dropna=False)["peak_gflops"].transform("max")


def _drifted(frame: pd.DataFrame) -> list[bool]:
    """Say of each record whether the machine was off its session's usual speed before it.

    Of a cell that was run once more in its session the last record counts.
    """
    found: dict[Hashable, bool] = {}
    newest = frame[frame["session"].notna()].drop_duplicates([*COORDINATES, "repeat", "session"], keep="last")
    for _, part in newest.groupby(["session", "cores"]):
        speeds = [None if pd.isna(speed) else speed for speed in part["canary_gflops"]]
        found |= zip(part.index, find_drifted(speeds), strict=True)
    return [found.get(place, False) for place in frame.index]


def _disturbances(runs: Sequence[Row]) -> list[str]:
    """Return what may have disturbed the runs of a cell, in words."""
    words = []
    if drifted := sum(run["drifted"] for run in runs):
        before = _of_runs(drifted, len(runs))
        words.append(f"the machine was more than {100 * DRIFT:.0f} % off the session's usual speed before {before}")
    if loaded := [run["others_pct"] for run in runs if run["others_pct"] >= STRANGERS_PCT]:
        words.append(f"others took up to {max(loaded):.0f} % of its cores in {_of_runs(len(loaded), len(runs))}")
    if strange := sum(run["gpu_strangers"] > 0 for run in runs):
        words.append(f"others were on the GPU in {_of_runs(strange, len(runs))}")
    throttled = sorted({reason for run in runs for reason in run["throttle"]})
    if throttled:
        words.append(f"the GPU lowered its clocks ({', '.join(throttled)})")
    return words


def _of_runs(hit: int, runs: int) -> str:
    return "its run" if runs == 1 else f"{hit} of {counted(runs, 'run')}"


def _row(content: dict[str, Any]) -> dict[str, Any]:
    cell, host, seen = content["cell"], content["host"], content["utilisation"]
    prints, canary = content["fingerprints"], content["canary"]
    return {
        "machine": host["machine"],
        "suite": content["suite"],
        **{name: cell[name] for name in ("model", "batch_size", "precision", "measure", "epochs", "seed")},
        **{name: cell.get("steps", NO_STEPS)[name] for name in NO_STEPS},
        **{name: cell[name] for name in ("device", "cores", "gpus", "tool", "repeat")},
        "key": content["key"],
        "version": repr([prints[name] for name in VERSIONED]),
        "spec": prints["spec"],
        "workload": cell["workload"]["name"],
        "parameters": cell["workload"]["parameters"],
        "finished_at": content["finished_at"],
        "session": content["session"],
        "status": content["status"],
        "reason": content["reason"],
        "train_s": _number(content["time"]["train_s"]),
        **{name: _number(seen[name]) for name in ("gpu_pct", "cpu_pct")},
        "error_rate": _number(content["error_rate"]),
        "energy_j": _number(training_energy_j(seen)),
        "energy_of": energy_sources(seen) or None,
        "cost": _cost(content),
        "target_error_rate": _number(cell["workload"]["parameters"].get(TARGET)),
        "canary_gflops": _number(canary["gflops"]),
        "peak_gflops": _largest(*_peaks(content)),
        "others_pct": _largest(canary["others_pct"], seen["before"]["others_pct"], seen["others_pct"]),
        "gpu_strangers": _largest(seen["before"]["gpu_strangers"], seen["gpu_strangers"]),
        "throttle": seen["throttle"] or [],
        "level": content["sameness"]["level"] or "",
        "verdict": describe_verdict(content["sameness"]),
        "cpu": host["cpu"],
        "memory_gib": host["memory_gib"],
        "gpu_names": ", ".join(gpu["name"] for gpu in host["gpus"]),
        "unverified": ", ".join(prints["data_unverified"] or []),
    }


def _run(content: dict[str, Any], also: Sequence[str]) -> dict[str, Any]:
    kept = {name: content[name] for name in ("status", "finished_at", "time", "epochs", "checks", "steps", *also)}
    versions = name_versions(content["cell"]["tool"], content["versions"])
    return kept | {"measured_s": measured_s(content), "named_versions": versions}


def _cost(content: dict[str, Any]) -> float:
    price, total_s = content["cell"]["price_per_hour"], content["time"]["total_s"]
    return float("nan") if price is None or total_s is None else run_cost(total_s, price)


def _peaks(content: dict[str, Any]) -> Iterator[float | None]:
    """Return what matrix products in a cell's precision reached: NumPy's before it, and the tool's own after it."""
    cell = content["cell"]
    if (cell["device"], cell["precision"]) == ("cpu", "float32"):
        yield content["canary"]["gflops"]
    yield content["probe"]["peak_gflops"]


def _largest(*values: float | None) -> float:
    return max((value for value in values if value is not None), default=float("nan"))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def group_rows(rows: Iterable[Row], names: Sequence[str]) -> list[tuple[tuple[Any, ...], list[Row]]]:
    """Return the rows that agree in the named columns together, with these values and in their order."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return sorted(groups.items(), key=lambda group: group[0])


def most_steps(rows: Iterable[Row]) -> list[Row]:
    """Return cells, of those that differ in their numbers of steps alone the one with most."""
    rows = list(rows)
    same = [name for name in COORDINATES if name not in NO_STEPS]
    ordered = sorted(rows, key=lambda row: (row["timed"], row["warmup"]))
    longest = {tuple(row[name] for name in same): id(row) for row in ordered}
    kept = set(longest.values())
    return [row for row in rows if id(row) in kept]


def rank_rows(rows: Iterable[Row], column: str) -> list[Row]:
    """Return rows in the order of a table, `ranked` saying which are compared: the proven ones, the least first.

    After them come those that are not proven, those that failed, and the floor.
    """

    def place(row: Row) -> tuple[Any, ...]:
        floor, missing = row["tool"] == FLOOR, isnan(row[column])
        value = 0.0 if missing else row[column]
        return floor, row["status"] != "ok", not row["ranked"], missing, value, tool_place(row["tool"])

    return sorted(({**row, "ranked": is_ranked(row)} for row in rows), key=place)


def tool_place(tool: str) -> tuple[int, str]:
    """Return where a tool stands among others: known ones in the order of their registry, then the rest by name."""
    known = list(TOOLS)
    return (known.index(tool), "") if tool in known else (len(known), tool)


def runs_s(row: Row) -> list[float]:
    """Return the seconds by which a cell is compared, of each of its runs that came out well."""
    return [run["measured_s"] for run in row["runs"] if run["measured_s"] is not None]


def loss_curves(row: Row) -> list[list[float]]:
    """Return the training losses by epoch of each of a cell's runs that came out well."""
    return [[epoch["loss"] for epoch in run["epochs"]] for run in row["runs"] if run["status"] == "ok"]


def typical_curve(row: Row) -> list[float]:
    """Return the median over a cell's runs of the training loss of each epoch."""
    return [median(losses) for losses in zip(*loss_curves(row), strict=True)]


def name_measure(row: Row) -> str:
    """Name what a cell measures, e.g. `2 epochs` or `train steps`."""
    return counted(row["epochs"], "epoch") if row["measure"] == "epochs" else f"{row['measure']} steps"


def describe_machine(row: Row) -> str:
    """Name what a cell was measured on, e.g. `AMD EPYC, 16 GiB, no GPU`."""
    return f"{row['cpu']}, {row['memory_gib']:g} GiB, {row['gpu_names'] or 'no GPU'}"


def is_ranked(row: Row) -> bool:
    """Whether a cell is compared with others: it is proven to train the spec's net, and went well."""
    return row["level"] in PROVEN and row["tool"] != FLOOR and row["status"] == "ok"


def describe_ranking(rows: Iterable[Row]) -> list[str]:
    """Say which tools of one table had too few runs to be ranked, of those that are compared."""
    compared = [row for row in rows if is_ranked(row)]
    most = max((row["repeats"] for row in compared), default=1)
    tools = {row["tool"] for row in compared}
    few = sorted({row["tool"] for row in compared if row["repeats"] < RANKED_REPEATS})
    if len(tools) < 2 or not few:
        return []
    if len(tools) - len(few) < 2:
        count = "One run" if most == 1 else "So few runs"
        return [f"{count} a tool cannot tell tools apart (that takes {RANKED_REPEATS}): the order is no rank.", ""]
    return [f"Too few runs to be ranked (that takes {RANKED_REPEATS}): {escape(', '.join(few))}.", ""]


def describe_outcome(row: Row, notes: Notes) -> str:
    """Return the status of a cell that is not ok, with its reason as a note."""
    return escape(row["status"]) + notes.mark(str(row["reason"]))


def mark_disturbances(row: Row, notes: Notes) -> str:
    """Return the marks of what may have disturbed the runs of a cell."""
    return "".join(notes.mark(words) for words in row["disturbances"])


def mark_unproven(row: Row, notes: Notes) -> str:
    """Return the mark of a cell that is compared with none, for it is not proven to train the spec's net."""
    if row["level"] in PROVEN or row["tool"] == FLOOR:
        return ""
    return notes.mark(f"not compared, for it is proven to {row['level'] or 'no level'} only: {row['verdict']}")


def describe_energy(row: Row, factor: float, spec: str, notes: Notes) -> str:
    """Return a cell's joules times a factor, with a note that says whose energy it is."""
    shown = number(factor * row["energy_j"], spec)
    return shown if shown == MISSING else shown + notes.mark(f"of {row['energy_of']}")


def describe_unverified(rows: Iterable[Row]) -> list[str]:
    """Say which data files of these cells are not known to be the published ones."""
    unverified = sorted({row["unverified"] for row in rows if row["unverified"]})
    return [f"Not known to be the published bytes: {escape(', '.join(unverified))}.", ""] if unverified else []


def was_run(rows: Iterable[Row]) -> bool:
    """Whether a place had what it takes to run any of these cells."""
    return not {row["status"] for row in rows} <= {"unavailable", "unsupported"}


def describe_absence(place: str, rows: Sequence[Row]) -> list[str]:
    """Say why no cell of a place could be run, the commonest reason first, which stands for all tools not named.

    Nothing is said of a place where one could.
    """
    if was_run(rows):
        return []
    tools: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        tools.setdefault((row["status"], row["reason"]), {})[row["tool"]] = None
    most = max(len(named) for named in tools.values())
    shared = sum(len(named) == most for named in tools.values()) > 1
    parts = []
    for (status, reason), named in sorted(tools.items(), key=lambda item: -len(item[1])):
        whom = "" if len(named) == most and not shared else f" ({escape(', '.join(sorted(named)))})"
        parts.append(f"{status}{whom}, {escape(reason)}")
    return [f"{place}: {'; '.join(parts)}.", ""]
