"""Tables of step measurements: what a step takes, by model, batch size and device."""

import math
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
    group_rows,
    mark_disturbances,
    mark_unproven,
    rank_rows,
    runs_s,
    tool_place,
)
from harness.markdown import MISSING, Notes, Section, as_table, escape, number, to_markdown, without_empty
from harness.plan import STEP_KINDS
from harness.ranking import Comparison, interval_text
from harness.records import timed_s
from harness.speed import median_peak_pct
from harness.statistics import StepSummary, summarize_steps

CALLS = 4
"""Up to how many steps, warm-up and all, are shown one by one."""
STEP_EXPLANATION = [
    "Tables by step are about one batch that lies on the device, the same at every step; labels of noise are",
    "drawn anew. `forward` is inference with its output copied to the host, `gradients` the loss and every gradient",
    "copied to the host without an update, `train` one update and the loss before it. ms per batch is the mean of the",
    "timed steps ± their population standard deviation; samples/s is the batch over that mean ± its uncertainty",
    "(jitter), as tf_cnn_benchmarks defines them, over the steps of all runs. The median of one run's steps stands",
    "with its 95 % interval (six steps or more), which says nothing of other runs; of several runs it is the median of",
    "their medians with its interval (of fewer than six runs: the least and the most), and that is what ranks and vs",
    "best compare. Steps says how many there are, and of how many where time ran out before. Energy is that of the",
    "timed steps.",
    "",
]


def render_steps(place: str, cells: Iterable[Row]) -> list[Section]:
    """Return the tables of one model on one device: one a kind of step, then all kinds side by side."""
    sections = []
    for (warmup, timed), rows in group_rows(cells, ["warmup", "timed"]):
        by_kind = {kind: _rank(measured) for (kind,), measured in group_rows(rows, ["measure"])}
        kinds: dict[str, list[Row]] = {kind: by_kind[kind] for kind in STEP_KINDS if kind in by_kind}
        for kind, ranked in kinds.items():
            sections.append(_render_kind(f"{kind} steps: {place}, {warmup} warm-up and {timed} timed", ranked))
            if warmup + timed <= CALLS:
                sections.append(_render_calls(f"First call and later calls of {kind}: {place}", ranked))
        if len(kinds) > 1:
            sections.append(_render_kinds(f"ms per batch, side by side: {place}", kinds))
    return sections


def _render_kind(title: str, ranked: Sequence[Row]) -> Section:
    notes = Notes()
    table = to_markdown(step_table(ranked, notes))
    lines = [*describe_ranking(ranked), table, "", *notes.lines(), describe_table(ranked), "", *describe_peaks(ranked)]
    return Section(title=title, lines=lines)


def _render_calls(title: str, ranked: Sequence[Row]) -> Section:
    notes = Notes()
    table = to_markdown(call_table(ranked, notes))
    caption = "Wall seconds, and in brackets process seconds, of all threads, of every step of the runs above."
    return Section(title=title, lines=[table, "", *notes.lines(), caption, ""])


def _render_kinds(title: str, kinds: Mapping[str, Sequence[Row]]) -> Section:
    notes = Notes()
    table = to_markdown(kind_table(kinds, notes))
    caption = "Means of the timed steps ± their standard deviation, from the tables above, which say what a step is."
    return Section(title=title, lines=[table, "", *notes.lines(), caption, ""])


def timed_steps_s(row: Row) -> list[float]:
    """Return the seconds of all timed steps of a cell, over its repeats."""
    return [seconds for run in row["runs"] for seconds in timed_s(run["steps"])]


def _summary(row: Row) -> StepSummary | None:
    """Return the numbers of all timed steps of a cell that came out well, over its repeats."""
    return summarize_steps(timed_steps_s(row), row["batch_size"]) if row["status"] == "ok" else None


def _rank(rows: Iterable[Row]) -> list[Row]:
    """Return rows in the order of a table, each with its `summary` and the median of its runs' medians, `median_s`."""
    return rank_rows(
        (
            {
                **row,
                "summary": _summary(row),
                "median_s": statistics.median(runs_s(row)) if row["status"] == "ok" else math.nan,
            }
            for row in rows
        ),
        "median_s",
    )


def step_table(ranked: Sequence[Row], notes: Notes) -> pd.DataFrame:
    """Return one kind of step of one model on one device, the least median first; only proven tools are compared."""
    comparison = Comparison({row["tool"]: runs_s(row) for row in ranked if row["ranked"]})
    table = []
    for row in ranked:
        summary, held, wanted = row["summary"], len(timed_steps_s(row)), row["timed"] * row["repeats"]
        table.append(
            {
                "Tool": escape(row["tool"]),
                "Rank": comparison.rank(row["tool"]) if row["ranked"] else MISSING,
                "ms per batch": _marked_ms(row, summary, notes),
                "Median ms": _median_ms(row, summary) if summary else MISSING,
                "Samples/s": _samples_per_s(summary) if summary else MISSING,
                "vs best": comparison.versus_best(row["tool"]) if row["ranked"] else MISSING,
                "Steps": str(held) if held == wanted else f"{held} of {wanted}",
                "GPU %": number(row["gpu_pct"], ".0f") if summary else MISSING,
                "CPU %": number(row["cpu_pct"], ".0f") if summary else MISSING,
                "% of peak": number(median_peak_pct(row), ".1f") if summary else MISSING,
                "J per 1,000 samples": _energy(row, notes) if summary else MISSING,
                "Cost per run": number(row["cost"], ".4f") if summary else MISSING,
                "Same net": _level(row, notes) if summary and row["tool"] != FLOOR else MISSING,
            }
        )
    return without_empty(table, ["Rank", "% of peak", "J per 1,000 samples", "Cost per run"])


def _marked_ms(row: Row, summary: StepSummary | None, notes: Notes) -> str:
    if summary is None:
        return describe_outcome(row, notes)
    return _mean_ms(summary) + mark_disturbances(row, notes)


def _energy(row: Row, notes: Notes) -> str:
    samples = statistics.median(len(timed_s(run["steps"])) for run in row["runs"]) * row["batch_size"]
    return describe_energy(row, 1000 / samples, ".1f", notes)


def _mean_ms(summary: StepSummary) -> str:
    return f"{1000 * summary.mean_s:.2f} ± {1000 * summary.deviation_s:.2f}"


def _median_ms(row: Row, summary: StepSummary) -> str:
    if row["repeats"] > 1:
        return interval_text(runs_s(row), ".2f", 1000)
    median = f"{1000 * summary.median_s:.2f}"
    if summary.median_interval_s is None:
        return median
    low, high = summary.median_interval_s
    return f"{median} ({1000 * low:.2f} – {1000 * high:.2f})"


def _samples_per_s(summary: StepSummary) -> str:
    return f"{summary.samples_per_s:.1f} ± {summary.uncertainty:.1f} ({summary.jitter:.1f})"


def _level(row: Row, notes: Notes) -> str:
    """Return the level of the proof, with a note where one is due; steps have no loss curve that could reach S4."""
    return escape(row["level"] or "not proven") + (notes.mark(row["verdict"]) if row["verdict"] else "")


def call_table(ranked: Iterable[Row], notes: Notes) -> pd.DataFrame:
    """Return wall and process seconds of every step from the first on, each run in a row of its own."""
    table = []
    for row in ranked:
        outcome = "" if row["status"] == "ok" else f": {describe_outcome(row, notes)}"
        for place, run in enumerate(row["runs"]):
            named = escape(row["tool"]) + (f", run {place + 1}" if len(row["runs"]) > 1 else "") + outcome
            calls = {
                f"Call {i}": f"{step['wall_s']:.4f} ({step['process_s']:.4f})" for i, step in enumerate(run["steps"], 1)
            }
            table.append({"Tool": named, **calls})
    return as_table(table).fillna(MISSING)


def kind_table(kinds: Mapping[str, Iterable[Row]], notes: Notes) -> pd.DataFrame:
    """Return mean ± deviation of each kind of step, tool by tool."""
    cells = {(row["tool"], kind): row for kind, ranked in kinds.items() for row in ranked}
    tools = sorted({tool for tool, _ in cells} - {FLOOR}, key=tool_place)
    return as_table(
        {"Tool": escape(tool)} | {kind: _in_short(cells.get((tool, kind)), notes) for kind in kinds} for tool in tools
    )


def _in_short(row: Row | None, notes: Notes) -> str:
    if row is None:
        return MISSING
    if row["summary"] is None:
        return describe_outcome(row, notes)
    return _mean_ms(row["summary"]) + mark_unproven(row, notes)
