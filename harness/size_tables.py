"""Parameters against time: the sizes of one net by tool."""

from collections.abc import Sequence
from statistics import median

import pandas as pd

from frameworks import FLOOR
from harness.captions import describe_table
from harness.cross_tables import Place
from harness.crossover_tables import render_crossovers
from harness.frames import (
    Row,
    describe_outcome,
    describe_ranking,
    group_rows,
    is_ranked,
    mark_disturbances,
    mark_unproven,
    name_measure,
    runs_s,
    tool_place,
    was_run,
)
from harness.markdown import MISSING, Notes, Section, as_table, device_name, escape, to_markdown
from harness.ranking import RANKED_REPEATS, Comparison
from harness.sizes import Sweep


def render_sweep(sweep: Sweep) -> Section:
    """Return the tables of one sweep, place by place, and its crossovers."""
    cells = [row for rows in sweep.cells.values() for row in rows if row["tool"] != FLOOR]
    places = {place: rows for place, rows in group_rows(cells, ["device", "cores"]) if was_run(rows)}
    first, least, most = cells[0], min(sweep.values), max(sweep.values)
    named = {sweep.parameter, "epochs"}
    fixed = "".join(f" {name}={value}" for name, value in first["parameters"].items() if name not in named)
    title = (
        f"{first['workload']}{fixed} by size, {sweep.parameter} {sweep.values[least]} to {sweep.values[most]}: "
        f"batch {first['batch_size']}, {name_measure(first)}, {first['precision']}, seed {first['seed']}"
    )
    parts = [_render_place(sweep, place, rows) for place, rows in places.items()]
    return Section(title=title, parts=[*parts, *render_crossovers(sweep, list(places))])


def _render_place(sweep: Sweep, place: Place, rows: Sequence[Row]) -> Section:
    notes = Notes()
    table = to_markdown(size_table(sweep, place, notes))
    unit = "Seconds" if rows[0]["measure"] == "epochs" else "Milliseconds"
    ranked = any(row["repeats"] >= RANKED_REPEATS for row in rows)
    letters = " Tools of one row that share a letter do not differ significantly." if ranked else ""
    caption = f"{unit}, medians over the runs.{letters} {describe_table(rows)}"
    lines = [*describe_ranking(rows), table, "", *notes.lines(), caption, ""]
    return Section(title=f"Parameters against time: {device_name(*place)}", lines=lines)


def size_table(sweep: Sweep, place: Place, notes: Notes) -> pd.DataFrame:
    """Return times by count of parameters and tool, with the letters of their ranks where runs suffice."""
    by_size = {count: _tools_at(place, cells) for count, cells in sweep.cells.items()}
    tools = sorted({tool for cells in by_size.values() for tool in cells}, key=tool_place)
    lines = []
    for count, value in sweep.values.items():
        cells = by_size[count]
        ranks = Comparison({tool: runs_s(row) for tool, row in cells.items() if is_ranked(row)})
        line = {"Parameters": f"{count:,}", escape(sweep.parameter): escape(str(value))}
        lines.append(line | {escape(tool): _time(cells.get(tool), ranks, notes) for tool in tools})
    return as_table(lines)


def _tools_at(place: Place, cells: Sequence[Row]) -> dict[str, Row]:
    return {row["tool"]: row for row in cells if (row["device"], row["cores"]) == place and row["tool"] != FLOOR}


def _time(row: Row | None, ranks: Comparison, notes: Notes) -> str:
    if row is None:
        return MISSING
    if row["status"] != "ok":
        return describe_outcome(row, notes)
    factor = 1 if row["measure"] == "epochs" else 1000
    letters = ranks.rank(row["tool"]).replace(MISSING, "")
    shown = f"{factor * median(runs_s(row)):.2f} {letters}".rstrip()
    return shown + mark_disturbances(row, notes) + mark_unproven(row, notes)
