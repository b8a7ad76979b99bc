"""From records to one row a cell, and what all tables do with rows: rank them, say why there are none."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd

from frameworks import FLOOR, TOOLS
from harness.audit import PROVEN, describe_verdict
from harness.markdown import escape
from harness.records import ABSENT, Record

COORDINATES = [
    "machine", "suite", "model", "batch_size", "precision", "measure", "epochs", "warmup", "timed", "seed", "device",
    "cores", "gpus", "tool",
]  # fmt: skip
NO_STEPS = {"warmup": 0, "timed": 0}
"""The steps of a cell that measures epochs."""


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row a cell: of each cell the records of its newest version, numbers as medians over repeats.

    A cell's version is what may change between two runs of it: spec, adapter, environment and data. A cell that was
    run somewhen is shown as that, even if a later matrix leaves it out. `runs` holds the steps of each repeat.
    """
    rows = [_row(record.content) for record in records]
    frame = pd.DataFrame(rows, columns=list(rows[0]) if rows else COORDINATES)
    if frame.empty:
        return frame
    frame["run"] = ~frame["status"].isin(ABSENT)
    frame = frame.sort_values(["run", "finished_at", "key"])
    frame = frame.drop_duplicates([*COORDINATES, "repeat"], keep="last")
    newest = frame.groupby(COORDINATES)["version"].transform("last")
    frame = frame[frame["version"] == newest].sort_values("repeat", kind="stable")
    measured = ["train_s", "gpu_pct", "cpu_pct", "error_rate"]
    cells = frame.groupby(COORDINATES, sort=False)
    merged = cells.last()
    merged["repeats"] = cells.size()
    merged["runs"] = cells["steps"].agg(list)
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
        **{name: cell[name] for name in ("model", "batch_size", "precision", "measure", "epochs", "seed")},
        **{name: cell.get("steps", NO_STEPS)[name] for name in NO_STEPS},
        **{name: cell[name] for name in ("device", "cores", "gpus", "tool", "repeat")},
        "key": content["key"],
        "version": repr([prints[name] for name in ("spec", "adapter", "environment", "data")]),
        "finished_at": content["finished_at"],
        "status": content["status"],
        "reason": content["reason"],
        "train_s": _number(time["train_s"]),
        **{name: _number(content["utilisation"][name]) for name in ("gpu_pct", "cpu_pct")},
        "error_rate": _number(content["error_rate"]),
        "steps": content["steps"],
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


def rank_rows(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return rows in the order of a table, `ranked` saying which are compared: the proven ones, the least first.

    After them come those that are not proven, those that failed, and the floor.
    """
    known = list(TOOLS)
    rows = rows.assign(
        ranked=rows["level"].isin(PROVEN) & (rows["tool"] != FLOOR) & (rows["status"] == "ok"),
        floor=rows["tool"] == FLOOR,
        failed=rows["status"] != "ok",
        place=[known.index(tool) if tool in known else len(known) for tool in rows["tool"]],
    )
    return rows.sort_values(["floor", "failed", "ranked", column, "place"], ascending=[True, True, False, True, True])


def describe_absence(rows: pd.DataFrame) -> str:
    """Say why none of the rows was run, the commonest reason first, which stands for all tools that are not named."""
    reasons = Counter((row["status"], row["reason"]) for row in rows.to_dict("records"))
    shared = list(reasons.values()).count(max(reasons.values())) > 1
    parts = []
    for (status, reason), count in reasons.most_common():
        tools = sorted(rows[(rows["status"] == status) & (rows["reason"] == reason)]["tool"])
        whom = "" if count == max(reasons.values()) and not shared else f" ({', '.join(tools)})"
        parts.append(f"{status}{whom}, {escape(reason)}")
    return "; ".join(parts)
