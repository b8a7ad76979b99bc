"""Samples per second by net and batch size, as published tables of convnets have them."""

from collections.abc import Iterable, Sequence
from statistics import fmean

import pandas as pd

from frameworks import FLOOR
from harness.captions import describe_table
from harness.frames import (
    Row,
    describe_outcome,
    group_rows,
    mark_disturbances,
    mark_unproven,
    most_steps,
    tool_place,
    was_run,
)
from harness.markdown import MISSING, Notes, Section, as_table, device_name, escape, to_markdown
from harness.step_tables import timed_steps_s


def render_batches(rows: Iterable[Row]) -> list[Section]:
    """Return the training speed of nets that were measured by step, device by device.

    Nothing of a device on which it is one net of one batch size, for that net's own table has it.
    """
    sections = []
    trained = most_steps(row for row in rows if row["measure"] == "train" and row["tool"] != FLOOR)
    for (precision, seed, device, cores), cells in group_rows(trained, ["precision", "seed", "device", "cores"]):
        several = len({(row["model"], row["batch_size"]) for row in cells}) > 1
        if several and was_run(cells):
            title = f"Samples/s by net and batch size: {device_name(device, cores)}, {precision}, seed {seed}"
            sections.append(_render_place(title, cells))
    return sections


def _render_place(title: str, cells: Sequence[Row]) -> Section:
    notes = Notes()
    table = to_markdown(batch_table(cells, notes))
    caption = f"The batch over the mean of the timed steps of all runs. {describe_table(cells)}"
    return Section(title=title, lines=[table, "", *notes.lines(), caption, ""])


def batch_table(rows: Iterable[Row], notes: Notes) -> pd.DataFrame:
    """Return samples/s of `train` steps by net and tool, a column a batch size."""
    found: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        found.setdefault((row["model"], row["tool"]), {})[row["batch_size"]] = row
    batches = sorted({batch for cells in found.values() for batch in cells})
    ordered = sorted(found.items(), key=lambda item: (item[0][0], tool_place(item[0][1])))
    return as_table(
        {"Net": escape(model), "Tool": escape(tool)}
        | {f"Batch {batch}": _samples_per_s(cells.get(batch), notes) for batch in batches}
        for (model, tool), cells in ordered
    )


def _samples_per_s(row: Row | None, notes: Notes) -> str:
    if row is None:
        return MISSING
    if row["status"] != "ok":
        return describe_outcome(row, notes)
    shown = f"{row['batch_size'] / fmean(timed_steps_s(row)):.1f}"
    return shown + mark_disturbances(row, notes) + mark_unproven(row, notes)
