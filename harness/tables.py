"""From records to Markdown: the same records always give the same text."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import pandas as pd

from frameworks import FLOOR, TOOLS
from harness.audit import LEVELS, PROVEN, describe_verdict, judge_curve
from harness.records import ABSENT, Record

COORDINATES = [
    "machine", "suite", "model", "batch_size", "precision", "epochs", "seed", "device", "cores", "gpus", "tool",
]  # fmt: skip
BASELINE = "tensorflow"
MISSING = "–"


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row a cell: of each cell the records of its newest version, numbers as medians over repeats.

    A cell's version is what may change between two runs of it: spec, adapter, environment and data. A cell that was
    run somewhen is shown as that, even if a later matrix leaves it out.
    """
    rows = [_row(record.content) for record in records]
    frame = pd.DataFrame(rows, columns=list(rows[0]) if rows else COORDINATES)
    if frame.empty:
        return frame
    frame["run"] = ~frame["status"].isin(ABSENT)
    frame = frame.sort_values(["run", "finished_at", "key"])
    frame = frame.drop_duplicates([*COORDINATES, "repeat"], keep="last")
    newest = frame.groupby(COORDINATES)["version"].transform("last")
    frame = frame[frame["version"] == newest]
    measured = ["train_s", "gpu_pct", "cpu_pct", "error_rate"]
    cells = frame.groupby(COORDINATES, sort=False)
    merged = cells.last()
    merged["repeats"] = cells.size()
    merged["status"] = cells["status"].agg(lambda found: next((s for s in found if s != "ok"), "ok"))
    merged["reason"] = cells["reason"].agg(lambda found: next((r for r in found if isinstance(r, str)), ""))
    merged[measured] = cells[measured].median()
    weakest = frame.sort_values("level", kind="stable").groupby(COORDINATES, sort=False)[["level", "verdict"]].first()
    merged[["level", "verdict"]] = weakest
    return merged.reset_index()


def _row(content: dict[str, Any]) -> dict[str, Any]:
    cell, time, host = content["cell"], content["time"], content["host"]
    prints = content["fingerprints"]
    return {
        "machine": host["machine"],
        "suite": content["suite"],
        **{name: cell[name] for name in ("model", "batch_size", "precision", "epochs", "seed")},
        **{name: cell[name] for name in ("device", "cores", "gpus", "tool", "repeat")},
        "key": content["key"],
        "version": repr([prints[name] for name in ("spec", "adapter", "environment", "data")]),
        "finished_at": content["finished_at"],
        "status": content["status"],
        "reason": content["reason"],
        "train_s": _number(time["train_s"]),
        **{name: _number(content["utilisation"][name]) for name in ("gpu_pct", "cpu_pct")},
        "error_rate": _number(content["error_rate"]),
        "losses": tuple(epoch["loss"] for epoch in content["epochs"]),
        "level": content["sameness"]["level"] or "",
        "verdict": describe_verdict(content["sameness"]),
        "cpu": host["cpu"],
        "memory_gib": host["memory_gib"],
        "gpu_names": ", ".join(gpu["name"] for gpu in host["gpus"]),
        "unverified": ", ".join(prints["data_unverified"] or []),
    }


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


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
    ]
    for (machine, suite), part in frame.groupby(["machine", "suite"], sort=True):
        host = part.iloc[-1]
        gpus = f", {host['gpu_names']}" if host["gpu_names"] else ", no GPU"
        parts += [
            f"## Machine {machine}: {_text(host['cpu'])}, {host['memory_gib']:g} GiB{_text(gpus)} (suite {suite})",
            "",
        ]
        workload = ["model", "batch_size", "precision", "epochs", "seed"]
        for values, cells in part.groupby(workload, sort=True):
            parts += _render_workload(dict(zip(workload, values, strict=True)), cells)
    return "\n".join(parts)


def _render_workload(workload: dict[str, Any], cells: pd.DataFrame) -> list[str]:
    batch, epochs, precision = workload["batch_size"], workload["epochs"], workload["precision"]
    parts = [
        f"### {_text(workload['model'])}: batch {batch}, {epochs} epochs, {precision}, seed {workload['seed']}",
        "",
    ]
    if cells["repeats"].max() > 1:
        parts += [f"Median of up to {cells['repeats'].max()} runs.", ""]
    places = cells[["device", "cores"]].drop_duplicates().sort_values(["device", "cores"])
    shown = []
    for device, cores in places.itertuples(index=False):
        rows = cells[(cells["device"] == device) & (cells["cores"] == cores)]
        if set(rows["status"]) <= {"unavailable", "unsupported"}:
            parts += [f"{_device(device, cores)}: {_absence(rows)}.", ""]
            continue
        shown.append((device, cores))
        notes = Notes()
        table = tool_table(rows, notes)
        parts += [f"#### {_device(device, cores)}", "", _to_markdown(table), "", *notes.lines()]
    if len(shown) > 1:
        parts += ["#### Tool × device", "", _to_markdown(device_table(cells, shown)), ""]
    unverified = sorted({text for text in cells["unverified"] if text})
    if unverified:
        parts += [f"Not known to be the published bytes: {', '.join(unverified)}.", ""]
    return parts


def _absence(rows: pd.DataFrame) -> str:
    """Say why none of the rows was run, the commonest reason first."""
    reasons = Counter((row["status"], row["reason"]) for row in rows.to_dict("records"))
    parts = []
    for (status, reason), count in reasons.most_common():
        tools = sorted(rows[(rows["status"] == status) & (rows["reason"] == reason)]["tool"])
        whom = "" if count == max(reasons.values()) else f" ({', '.join(tools)})"
        parts.append(f"{status}{whom}, {_text(reason)}")
    return "; ".join(parts)


def _to_markdown(table: pd.DataFrame) -> str:
    columns = ["left"] + ["right"] * (len(table.columns) - 1)
    return str(table.to_markdown(index=False, colalign=columns, disable_numparse=True))


def _device(device: str, cores: int) -> str:
    return f"CPU, {cores} core{'s' if cores > 1 else ''}" if device == "cpu" else f"GPU, {cores} CPU cores"


class Notes:
    """Numbers the reasons below a table, the same reason once."""

    def __init__(self) -> None:
        self._reasons: list[str] = []

    def mark(self, reason: str) -> str:
        """Return the mark for a reason, e.g. ` [1]`."""
        if reason not in self._reasons:
            self._reasons.append(reason)
        return f" [{self._reasons.index(reason) + 1}]"

    def lines(self) -> list[str]:
        """Return the notes as a list, with an empty line after it."""
        notes = [f"{number}. {_text(reason)}" for number, reason in enumerate(self._reasons, 1)]
        return [*notes, ""] if notes else []


def tool_table(rows: pd.DataFrame, notes: Notes) -> pd.DataFrame:
    """Return the founding article's columns for one model on one device, fastest first.

    "vs best" is time over the best time; "vs TensorFlow" is TensorFlow's time over this one's, so more is faster. Only
    tools that are proven to train the spec's net are ranked; the others, and the floor row (`null`), come after them
    and are compared with nothing. "Same net" is the level of the proof.
    """
    rows = rows.assign(ranked=rows["level"].isin(PROVEN) & (rows["tool"] != FLOOR) & (rows["status"] == "ok"))
    times = rows[rows["ranked"]].set_index("tool")["train_s"]
    best, baseline = times.min(), times.get(BASELINE, float("nan"))
    curves = {row["tool"]: row["losses"] for row in rows[rows["ranked"]].to_dict("records")}
    known = list(TOOLS)
    order = rows.assign(
        floor=rows["tool"] == FLOOR,
        failed=rows["status"] != "ok",
        place=[known.index(tool) if tool in known else len(known) for tool in rows["tool"]],
    ).sort_values(["floor", "failed", "ranked", "train_s", "place"], ascending=[True, True, False, True, True])
    table = []
    for row in order.to_dict("records"):
        ok, ranked = row["status"] == "ok", row["ranked"]
        table.append(
            {
                "Tool": _text(row["tool"]),
                "Time (s)": _format(row["train_s"], ".2f") if ok else row["status"] + notes.mark(str(row["reason"])),
                "vs best": _format(row["train_s"] / best, ".2f") if ranked else MISSING,
                "vs TensorFlow": _format(baseline / row["train_s"], ".2f") if ranked else MISSING,
                "GPU %": _format(row["gpu_pct"], ".0f") if ok else MISSING,
                "GPUs": str(row["gpus"]),
                "CPU %": _format(row["cpu_pct"], ".0f") if ok else MISSING,
                "CPUs": str(row["cores"]),
                "Error rate": _format(100 * row["error_rate"], ".2f", " %") if ok else MISSING,
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
            line[f"{_device(*place)} (s)"] = _format(times[place], ".2f") if place in times else absent
        for place in devices[1:]:
            both = {devices[0], place} <= ranked & times.keys()
            line[f"Speedup {_device(*place)}"] = _format(times[devices[0]] / times[place], ".2f") if both else MISSING
        table.append(line)
    return pd.DataFrame(table)


def _format(value: float, spec: str, unit: str = "") -> str:
    return MISSING if pd.isna(value) else f"{value:{spec}}{unit}"


def _text(value: str) -> str:
    """Make a text harmless in a Markdown table and on one line."""
    one_line = " ".join(value.split())
    return one_line.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
