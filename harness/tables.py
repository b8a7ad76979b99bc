"""From records to Markdown: the same records always give the same text."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from frameworks import FLOOR, TOOLS
from harness.audit import LEVELS, PROVEN, judge_curve, worst_judgement
from harness.frames import (
    Row,
    describe_absence,
    describe_energy,
    describe_repeats,
    describe_unverified,
    group_rows,
    is_ranked,
    loss_curves,
    rank_rows,
    runs_s,
    to_frame,
    typical_curve,
)
from harness.ledger import samples_trained, time_to_target
from harness.ledger_tables import LEDGER_EXPLANATION, render_ledger
from harness.markdown import MISSING, Notes, device_name, escape, number, to_markdown, without_empty
from harness.ranking import RANKED_REPEATS, Comparison, interval_text
from harness.records import OLD_SUITES, Record
from harness.statistics import SIGNIFICANCE
from harness.step_tables import STEP_EXPLANATION, render_steps

BASELINE = "tensorflow"


def render_markdown(records: Iterable[Record]) -> str:
    """Return all tables of a results folder: machine by machine, model by model."""
    rows = to_frame(records).to_dict("records")
    parts = ["# Results", ""]
    if not rows:
        return "\n".join([*parts, "No records yet: `python runner.py` makes them.", ""])
    parts += [
        "Time is training alone, all epochs with the first step and its compilation, as in the published tables; where",
        "a cell was repeated it is the median with its 95 % interval (of fewer than six runs: the least and the most).",
        f"Tools with {RANKED_REPEATS} runs or more are ranked: those that share a letter do not differ significantly",
        f"(Mann and Whitney, {100 * SIGNIFICANCE:.0f} % level), and vs best has its 95 % interval (bootstrap).",
        "CPU % is of the cores given, GPU % of the GPU, while training.",
        "Compare only rows of one table: one machine, one version of the measuring (suite), one net.",
        "Same net says how far a tool is proven to train the spec's net; only S3 and better are ranked:",
        "",
        *(f"- {level}: {meaning}" for level, meaning in LEVELS.items()),
        "",
        *(LEDGER_EXPLANATION if any(row["measure"] == "epochs" for row in rows) else []),
        *(STEP_EXPLANATION if any(row["measure"] != "epochs" for row in rows) else []),
    ]
    for (machine, suite), part in group_rows(rows, ["machine", "suite"]):
        host = part[-1]
        gpus = f", {host['gpu_names']}" if host["gpu_names"] else ", no GPU"
        parts += [
            f"## Machine {machine}: {escape(host['cpu'])}, {host['memory_gib']:g} GiB{escape(gpus)} (suite {suite})",
            "",
            *([OLD_SUITES[suite], ""] if suite in OLD_SUITES else []),
        ]
        workload = ["model", "batch_size", "precision", "epochs", "seed"]
        for values, cells in group_rows((row for row in part if row["measure"] == "epochs"), workload):
            parts += _render_workload(dict(zip(workload, values, strict=True)), cells)
        parts += render_steps([row for row in part if row["measure"] != "epochs"])
    return "\n".join(parts)


def _render_workload(workload: dict[str, Any], cells: Sequence[Row]) -> list[str]:
    batch, epochs, precision = workload["batch_size"], workload["epochs"], workload["precision"]
    parts = [
        f"### {escape(workload['model'])}: batch {batch}, {epochs} epochs, {precision}, seed {workload['seed']}",
        "",
    ]
    shown = []
    for (device, cores), rows in group_rows(cells, ["device", "cores"]):
        if absence := describe_absence(device_name(device, cores), rows):
            parts += absence
            continue
        shown.append((device, cores))
        notes = Notes()
        table = tool_table(rows, notes)
        parts += [f"#### {device_name(device, cores)}", "", *describe_repeats(rows)]
        parts += [to_markdown(table), "", *notes.lines()]
        parts += render_ledger(device_name(device, cores), rows)
    if len(shown) > 1:
        parts += ["#### Tool × device", "", to_markdown(device_table(cells, shown)), ""]
    return [*parts, *describe_unverified(cells)]


OPTIONAL = ("Rank", "To target: all in, steady (s)", "J per epoch", "J per 1,000 samples", "Cost per run")
"""Columns that are left out where they hold nothing."""


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
                "Time (s)": _time(row, notes) if ok else row["status"] + notes.mark(str(row["reason"])),
                "vs best": comparison.versus_best(tool) if ranked else MISSING,
                "vs TensorFlow": number(baseline / row["train_s"], ".2f") if ranked else MISSING,
                "GPU %": number(row["gpu_pct"], ".0f") if ok else MISSING,
                "GPUs": str(row["gpus"]),
                "CPU %": number(row["cpu_pct"], ".0f") if ok else MISSING,
                "CPUs": str(row["cores"]),
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
    marks = "".join(notes.mark(words) for words in row["disturbances"])
    return interval_text(runs_s(row), ".2f") + marks


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
    """Return the level a row reached, S4 where the loss curve of each run is as it should be, and notes where due."""
    level = str(row["level"])
    if level not in PROVEN:
        return (level or "not proven") + notes.mark(row["verdict"])
    natural = notes.mark(row["verdict"]) if row["verdict"] else ""
    others = [curve for tool, curve in curves.items() if tool != row["tool"]]
    reached, why = worst_judgement(
        judge_curve(row["model"], row["batch_size"], losses, others) for losses in loss_curves(row)
    )
    if reached:
        return "S4" + natural
    return level + natural + (notes.mark(why) if reached is False else "")


def device_table(cells: Iterable[Row], devices: Sequence[tuple[str, int]]) -> pd.DataFrame:
    """Return training seconds by tool and device, and how many times faster each device is than the first."""
    table = []
    by_tool = {tool: rows for (tool,), rows in group_rows(cells, ["tool"])}
    for tool in (tool for tool in TOOLS if tool in by_tool):
        rows = {(row["device"], row["cores"]): row for row in by_tool[tool]}
        ranked = {place for place, row in rows.items() if is_ranked(row)}
        times = {place: row["train_s"] for place, row in rows.items() if row["status"] == "ok"}
        line = {"Tool": tool}
        for place in devices:
            absent = rows[place]["status"] if place in rows else MISSING
            line[f"{device_name(*place)} (s)"] = number(times[place], ".2f") if place in times else absent
        for place in devices[1:]:
            both = {devices[0], place} <= ranked
            line[f"Speedup {device_name(*place)}"] = (
                number(times[devices[0]] / times[place], ".2f") if both else MISSING
            )
        table.append(line)
    return pd.DataFrame(table)
