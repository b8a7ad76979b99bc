"""Tables of step measurements: what a step takes, by model, batch size and device."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import pandas as pd

from frameworks import FLOOR, TOOLS
from harness.frames import describe_absence, rank_rows
from harness.markdown import MISSING, Notes, device_name, escape, number, to_markdown
from harness.plan import STEP_KINDS
from harness.records import timed_s
from harness.statistics import StepSummary, summarize_steps

CALLS = 4
"""Up to how many steps, warm-up and all, are shown one by one."""
STEP_EXPLANATION = [
    "Tables by step are about one batch of images that lies on the device, the same at every step; labels of noise are",
    "drawn anew. `forward` is inference with its output copied to the host, `gradients` the loss and every gradient",
    "copied to the host without an update, `train` one update and the loss before it. ms per batch is the mean of the",
    "timed steps ± their population standard deviation; images/s is the batch over that mean ± its uncertainty",
    "(jitter), as tf_cnn_benchmarks defines them. The median stands with its 95 % interval where there are six steps",
    "or more; vs best compares medians. Steps says how many there are, and of how many where time ran out before.",
    "",
]


def render_steps(cells: pd.DataFrame) -> list[str]:
    """Return the tables of all step measurements of one machine."""
    parts = []
    for _, rows in cells.groupby(["model", "batch_size", "precision", "seed"], sort=True):
        first = rows.iloc[0]
        words = f"batch {first['batch_size']}, by step, {first['precision']}, seed {first['seed']}"
        parts += [f"### {escape(first['model'])}: {words}", ""]
        places = rows[["device", "cores"]].drop_duplicates().sort_values(["device", "cores"])
        for device, cores in places.itertuples(index=False):
            here = rows[(rows["device"] == device) & (rows["cores"] == cores)]
            if set(here["status"]) <= {"unavailable", "unsupported"}:
                absent = here.drop_duplicates(["tool", "status", "reason"])
                parts += [f"{device_name(device, cores)}: {describe_absence(absent)}.", ""]
            else:
                parts += _render_place(device_name(device, cores), here)
        unverified = sorted({text for text in rows["unverified"] if text})
        if unverified:
            parts += [f"Not known to be the published bytes: {', '.join(unverified)}.", ""]
    return parts


def _render_place(name: str, cells: pd.DataFrame) -> list[str]:
    """Return the tables of one device: one a kind of step, then all kinds side by side."""
    parts = []
    for (warmup, timed), rows in cells.groupby(["warmup", "timed"], sort=True):
        kinds = [kind for kind in STEP_KINDS if kind in set(rows["measure"])]
        for kind in kinds:
            notes, ranked = Notes(), _rank(rows[rows["measure"] == kind])
            parts += [f"#### {name}: {kind}, {warmup} warm-up and {timed} timed steps", ""]
            if ranked["repeats"].max() > 1:
                parts += [f"All steps of up to {ranked['repeats'].max()} runs.", ""]
            parts += [to_markdown(step_table(ranked, notes)), "", *notes.lines()]
            if rows[["warmup", "timed"]].iloc[0].sum() <= CALLS:
                parts += [f"#### {name}: {kind}, call by call, wall (process) seconds", ""]
                parts += [to_markdown(call_table(ranked)), ""]
        if len(kinds) > 1:
            parts += [f"#### {name}: ms per batch, side by side", "", to_markdown(kind_table(rows, kinds)), ""]
    return parts


def _timed_s(row: Mapping[Hashable, Any]) -> list[float]:
    return [seconds for run in row["runs"] for seconds in timed_s(run)]


def _summary(row: Mapping[Hashable, Any]) -> StepSummary | None:
    """Return the numbers of all timed steps of a cell that came out well, over its repeats."""
    return summarize_steps(_timed_s(row), row["batch_size"]) if row["status"] == "ok" else None


def _rank(rows: pd.DataFrame) -> pd.DataFrame:
    summaries = [_summary(row) for row in rows.to_dict("records")]
    medians = [summary.median_s if summary else float("nan") for summary in summaries]
    return rank_rows(rows.assign(median_s=medians), "median_s")


def step_table(ranked: pd.DataFrame, notes: Notes) -> pd.DataFrame:
    """Return one kind of step of one model on one device, the least median first; only proven tools are compared."""
    best = ranked[ranked["ranked"]]["median_s"].min()
    table = []
    for row in ranked.to_dict("records"):
        summary, held, wanted = _summary(row), len(_timed_s(row)), row["timed"] * row["repeats"]
        table.append(
            {
                "Tool": escape(row["tool"]),
                "ms per batch": _mean_ms(summary) if summary else row["status"] + notes.mark(str(row["reason"])),
                "Median ms (95 %)": _median_ms(summary) if summary else MISSING,
                "Images/s": _images_per_s(summary) if summary else MISSING,
                "vs best": number(row["median_s"] / best, ".2f") if row["ranked"] else MISSING,
                "Steps": str(held) if held == wanted else f"{held} of {wanted}",
                "GPU %": number(row["gpu_pct"], ".0f") if summary else MISSING,
                "CPU %": number(row["cpu_pct"], ".0f") if summary else MISSING,
                "Same net": _level(row, notes) if summary and row["tool"] != FLOOR else MISSING,
            }
        )
    return pd.DataFrame(table)


def _mean_ms(summary: StepSummary) -> str:
    return f"{1000 * summary.mean_s:.2f} ± {1000 * summary.deviation_s:.2f}"


def _median_ms(summary: StepSummary) -> str:
    median = f"{1000 * summary.median_s:.2f}"
    if summary.median_interval_s is None:
        return median
    low, high = summary.median_interval_s
    return f"{median} ({1000 * low:.2f} – {1000 * high:.2f})"


def _images_per_s(summary: StepSummary) -> str:
    return f"{summary.images_per_s:.1f} ± {summary.uncertainty:.1f} ({summary.jitter:.1f})"


def _level(row: Mapping[Hashable, Any], notes: Notes) -> str:
    """Return the level of the proof, with a note where one is due; steps have no loss curve that could reach S4."""
    return (row["level"] or "not proven") + (notes.mark(row["verdict"]) if row["verdict"] else "")


def call_table(ranked: pd.DataFrame) -> pd.DataFrame:
    """Return wall and process seconds of every step from the first on, each run in a row of its own."""
    table = []
    for row in ranked.to_dict("records"):
        for place, run in enumerate(row["runs"]):
            named = escape(row["tool"]) + (f", run {place + 1}" if len(row["runs"]) > 1 else "")
            calls = {f"Call {i}": f"{step['wall_s']:.4f} ({step['process_s']:.4f})" for i, step in enumerate(run, 1)}
            table.append({"Tool": named, **calls})
    return pd.DataFrame(table).fillna(MISSING)


def kind_table(rows: pd.DataFrame, kinds: Iterable[str]) -> pd.DataFrame:
    """Return mean ± deviation of each kind of step, tool by tool; only of those that are proven."""
    ranked, table = _rank(rows), []
    for tool in (tool for tool in TOOLS if tool in set(rows["tool"]) and tool != FLOOR):
        cells = {row["measure"]: row for row in ranked[ranked["tool"] == tool].to_dict("records")}
        table.append({"Tool": tool} | {kind: _in_short(cells.get(kind)) for kind in kinds})
    return pd.DataFrame(table)


def _in_short(row: Mapping[Hashable, Any] | None) -> str:
    if row is None:
        return MISSING
    summary = _summary(row)
    if summary is None:
        return str(row["status"])
    return _mean_ms(summary) if row["ranked"] else "not proven"
