"""From records to Markdown: the same records always give the same text."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import pandas as pd

from frameworks import FLOOR, TOOLS
from harness.audit import LEVELS, PROVEN, judge_curve
from harness.frames import describe_absence, rank_rows, to_frame
from harness.markdown import MISSING, Notes, device_name, escape, number, to_markdown
from harness.records import Record
from harness.step_tables import STEP_EXPLANATION, render_steps

BASELINE = "tensorflow"


def render_markdown(records: Iterable[Record]) -> str:
    """Return all tables of a results folder: machine by machine, model by model."""
    frame = to_frame(records)
    parts = ["# Results", ""]
    if frame.empty:
        return "\n".join([*parts, "No records yet: `python runner.py` makes them.", ""])
    parts += [
        "Time is training alone, all epochs with the first step and its compilation, as in the published tables;",
        "it is the median where a cell was repeated. CPU % is of the cores given, GPU % of the GPU, while training.",
        "Compare only rows of one table: one machine, one version of the measuring (suite), one net.",
        "Same net says how far a tool is proven to train the spec's net; only S3 and better are ranked:",
        "",
        *(f"- {level}: {meaning}" for level, meaning in LEVELS.items()),
        "",
        *(STEP_EXPLANATION if (frame["measure"] != "epochs").any() else []),
    ]
    for (machine, suite), part in frame.groupby(["machine", "suite"], sort=True):
        host = part.iloc[-1]
        gpus = f", {host['gpu_names']}" if host["gpu_names"] else ", no GPU"
        parts += [
            f"## Machine {machine}: {escape(host['cpu'])}, {host['memory_gib']:g} GiB{escape(gpus)} (suite {suite})",
            "",
        ]
        workload = ["model", "batch_size", "precision", "epochs", "seed"]
        in_epochs = part["measure"] == "epochs"
        for values, cells in part[in_epochs].groupby(workload, sort=True):
            parts += _render_workload(dict(zip(workload, values, strict=True)), cells)
        parts += render_steps(part[~in_epochs])
    return "\n".join(parts)


def _render_workload(workload: dict[str, Any], cells: pd.DataFrame) -> list[str]:
    batch, epochs, precision = workload["batch_size"], workload["epochs"], workload["precision"]
    parts = [
        f"### {escape(workload['model'])}: batch {batch}, {epochs} epochs, {precision}, seed {workload['seed']}",
        "",
    ]
    if cells["repeats"].max() > 1:
        parts += [f"Median of up to {cells['repeats'].max()} runs.", ""]
    places = cells[["device", "cores"]].drop_duplicates().sort_values(["device", "cores"])
    shown = []
    for device, cores in places.itertuples(index=False):
        rows = cells[(cells["device"] == device) & (cells["cores"] == cores)]
        if set(rows["status"]) <= {"unavailable", "unsupported"}:
            parts += [f"{device_name(device, cores)}: {describe_absence(rows)}.", ""]
            continue
        shown.append((device, cores))
        notes = Notes()
        table = tool_table(rows, notes)
        parts += [f"#### {device_name(device, cores)}", "", to_markdown(table), "", *notes.lines()]
    if len(shown) > 1:
        parts += ["#### Tool × device", "", to_markdown(device_table(cells, shown)), ""]
    unverified = sorted({text for text in cells["unverified"] if text})
    if unverified:
        parts += [f"Not known to be the published bytes: {', '.join(unverified)}.", ""]
    return parts


def tool_table(rows: pd.DataFrame, notes: Notes) -> pd.DataFrame:
    """Return the founding article's columns for one model on one device, fastest first.

    "vs best" is time over the best time; "vs TensorFlow" is TensorFlow's time over this one's, so more is faster. Only
    tools that are proven to train the spec's net are ranked; the others, and the floor row (`null`), come after them
    and are compared with nothing. "Same net" is the level of the proof.
    """
    order = rank_rows(rows, "train_s")
    ranked_rows = order[order["ranked"]]
    times = ranked_rows.set_index("tool")["train_s"]
    best, baseline = times.min(), times.get(BASELINE, float("nan"))
    curves = {row["tool"]: row["losses"] for row in ranked_rows.to_dict("records")}
    table = []
    for row in order.to_dict("records"):
        ok, ranked = row["status"] == "ok", row["ranked"]
        table.append(
            {
                "Tool": escape(row["tool"]),
                "Time (s)": number(row["train_s"], ".2f") if ok else row["status"] + notes.mark(str(row["reason"])),
                "vs best": number(row["train_s"] / best, ".2f") if ranked else MISSING,
                "vs TensorFlow": number(baseline / row["train_s"], ".2f") if ranked else MISSING,
                "GPU %": number(row["gpu_pct"], ".0f") if ok else MISSING,
                "GPUs": str(row["gpus"]),
                "CPU %": number(row["cpu_pct"], ".0f") if ok else MISSING,
                "CPUs": str(row["cores"]),
                "Error rate": number(100 * row["error_rate"], ".2f", " %") if ok else MISSING,
                "Same net": _sameness(row, curves, notes) if ok and row["tool"] != FLOOR else MISSING,
            }
        )
    return pd.DataFrame(table)


def _sameness(row: Mapping[Hashable, Any], curves: dict[str, tuple[float, ...]], notes: Notes) -> str:
    """Return the level a row reached, S4 where its loss curve is as it should be, and a note where one is due."""
    level = str(row["level"])
    if level not in PROVEN:
        return (level or "not proven") + notes.mark(row["verdict"])
    natural = notes.mark(row["verdict"]) if row["verdict"] else ""
    others = [curve for tool, curve in curves.items() if tool != row["tool"]]
    reached, why = judge_curve(row["model"], row["batch_size"], row["losses"], others)
    if reached:
        return "S4" + natural
    return level + natural + (notes.mark(why) if reached is False else "")


def device_table(cells: pd.DataFrame, devices: list[tuple[str, int]]) -> pd.DataFrame:
    """Return training seconds by tool and device, and how many times faster each device is than the first."""
    table = []
    for tool in (tool for tool in TOOLS if tool in set(cells["tool"])):
        rows = {(row["device"], row["cores"]): row for row in cells[cells["tool"] == tool].to_dict("records")}
        ranked = {place for place, row in rows.items() if row["level"] in PROVEN and tool != FLOOR}
        times = {place: row["train_s"] for place, row in rows.items() if row["status"] == "ok"}
        line = {"Tool": tool}
        for place in devices:
            absent = rows[place]["status"] if place in rows else MISSING
            line[f"{device_name(*place)} (s)"] = number(times[place], ".2f") if place in times else absent
        for place in devices[1:]:
            both = {devices[0], place} <= ranked & times.keys()
            line[f"Speedup {device_name(*place)}"] = (
                number(times[devices[0]] / times[place], ".2f") if both else MISSING
            )
        table.append(line)
    return pd.DataFrame(table)
