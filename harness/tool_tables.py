"""The founding table: the tools that trained one model on one device, the fastest first."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from frameworks import FLOOR
from harness.captions import describe_peaks, describe_table
from harness.frames import (
    Row,
    describe_energy,
    describe_outcome,
    describe_ranking,
    mark_disturbances,
    rank_rows,
    runs_s,
    typical_curve,
)
from harness.ledger import samples_trained, time_to_target
from harness.levels import reached_level
from harness.markdown import MISSING, Notes, Section, escape, number, to_markdown, without_empty
from harness.ranking import Comparison, interval_text
from harness.speed import median_peak_pct

BASELINE = "tensorflow"
OPTIONAL = ("Rank", "% of peak", "To target: all in, steady (s)", "J per epoch", "J per 1,000 samples", "Cost per run")
"""Columns that are left out where they hold nothing."""


def render_tools(place: str, rows: Sequence[Row]) -> Section:
    """Return the table of one model on one device."""
    notes = Notes()
    table = to_markdown(tool_table(rows, notes))
    lines = [*describe_ranking(rows), table, "", *notes.lines(), describe_table(rows), "", *describe_peaks(rows)]
    return Section(title=f"Training time by tool: {place}", lines=lines)


def tool_table(rows: Iterable[Row], notes: Notes) -> pd.DataFrame:
    """Return the founding article's columns for one model on one device, fastest first, and more where it is known.

    "vs best" is time over the best time; "vs TensorFlow" is TensorFlow's time over this one's, so more is faster. Only
    tools that are proven to train the spec's net are ranked; the others, and the floor row (`null`), come after them
    and are compared with nothing. "Same net" is the level of the proof.
    """
    order = rank_rows(rows, "train_s")
    compared = {row["tool"]: row for row in order if row["ranked"]}
    baseline = compared[BASELINE]["train_s"] if BASELINE in compared else float("nan")
    comparison = Comparison({tool: runs_s(row) for tool, row in compared.items()})
    curves = {tool: typical_curve(row) for tool, row in compared.items()}
    table = []
    for row in order:
        ok, ranked, tool = row["status"] == "ok", row["ranked"], row["tool"]
        table.append(
            {
                "Tool": escape(tool),
                "Rank": comparison.rank(tool) if ranked else MISSING,
                "Time (s)": _time(row, notes) if ok else describe_outcome(row, notes),
                "vs best": comparison.versus_best(tool) if ranked else MISSING,
                "vs TensorFlow": number(baseline / row["train_s"], ".2f") if ranked else MISSING,
                "GPU %": number(row["gpu_pct"], ".0f") if ok else MISSING,
                "GPUs": str(row["gpus"]),
                "CPU %": number(row["cpu_pct"], ".0f") if ok else MISSING,
                "CPUs": str(row["cores"]),
                "% of peak": number(median_peak_pct(row), ".1f") if ok else MISSING,
                "Error rate": number(100 * row["error_rate"], ".2f", " %") if ok else MISSING,
                "To target: all in, steady (s)": _to_target(row) if ok else MISSING,
                "J per epoch": describe_energy(row, 1 / row["epochs"], ".0f", notes) if ok else MISSING,
                "J per 1,000 samples": describe_energy(row, 1000 / _samples(row), ".1f", notes) if ok else MISSING,
                "Cost per run": number(row["cost"], ".4f") if ok else MISSING,
                "Same net": _sameness(row, curves, notes) if ok and tool != FLOOR else MISSING,
            }
        )
    return without_empty(table, OPTIONAL)


def _time(row: Row, notes: Notes) -> str:
    return interval_text(runs_s(row), ".2f") + mark_disturbances(row, notes)


def _samples(row: Row) -> int:
    return max(samples_trained(run["epochs"]) for run in row["runs"])


def _to_target(row: Row) -> str:
    """Return the median time to the target's error rate over the runs that reached it, all in and in steady epochs."""
    if pd.isna(row["target_error_rate"]):
        return MISSING
    reached = [time_to_target(run, row["target_error_rate"]) for run in row["runs"] if run["status"] == "ok"]
    times = [one for one in reached if one is not None]
    if len(times) < len(reached):
        return f"reached by {len(times)} of {len(reached)}" if times else "not reached"
    steady = [one.steady_s for one in times if one.steady_s is not None]
    shown = number(statistics.median(steady), ".2f") if steady else MISSING
    return f"{statistics.median(one.all_in_s for one in times):.2f}, {shown}"


def _sameness(row: Row, curves: Mapping[str, Sequence[float]], notes: Notes) -> str:
    """Return the level a row reached, with notes where due."""
    level, words = reached_level(row, curves)
    return escape(level) + "".join(notes.mark(one) for one in words)
