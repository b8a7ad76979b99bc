"""From records to the page: one HTML file with its data, its script and its charts, which asks no host for anything."""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any

import orjson

from frameworks import TOOLS
from harness.audit import LEVELS
from harness.chart_sizes import make_plots
from harness.chart_theme import PART_COLOURS, theme
from harness.drawing import Drawing
from harness.frames import Row, describe_machine, group_rows, to_frame
from harness.page_cells import Cell, cell_id, make_groups
from harness.page_runs import PARTS, SEEN, RunPacker, finish_run, pack_columns, points_each
from harness.records import OLD_SUITES, Record

PAGE = "index.html"
"""What the page of a results folder is called."""
WEB = Path(__file__).parent / "web"
SCRIPTS = (
    "data.js", "state.js", "format.js", "heat.js", "table.js", "chart_rows.js", "charts.js",
    "details.js", "page.js",
)  # fmt: skip
"""Parts of the page's one script, in the order in which they are put together."""
ESCAPES = {character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
"""What would end a script or a line within HTML; JSON may write it so."""


def to_page_rows(records: Iterable[Record], folder: str) -> list[Row]:
    """Return the rows of `to_frame` with what the page shows of each run; records are read one by one.

    `folder` is how commands name the results folder.
    """
    packer = RunPacker(folder)
    packed = (Record(content={**record.content, "page": packer.pack(record.content)}) for record in records)
    return [*to_frame(packed, also=("page",)).to_dict("records")]


def render_page(rows: Sequence[Row], drawing: Drawing) -> str:
    """Return the page of cells, rows of `to_page_rows`."""
    style, script = _read("page.css"), "\n".join(map(_read, SCRIPTS))
    return Template(_read("page.html")).substitute(
        policy=content_policy([drawing.library, script], style),
        style=style,
        data=escape_json(orjson.dumps(page_data(rows, drawing)).decode()),
        charts=drawing.library,
        script=script,
    )


def _read(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def content_policy(scripts: Iterable[str], style: str) -> str:
    """Return the Content-Security-Policy under which these scripts and this style run, and nothing else is loaded."""
    allowed = " ".join(_digest(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_digest(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def escape_json(text: str) -> str:
    """Return JSON that means the same and holds nothing that HTML reads as a tag, an entity or the end of a line."""
    return re.sub("[<>&\u2028\u2029]", lambda found: ESCAPES[found[0]], text)


def page_data(rows: Sequence[Row], drawing: Drawing) -> dict[str, Any]:
    """Return what the page's script gets: machines, groups of cells that may be compared, their cells and runs."""
    points = points_each(sum(len(row["runs"]) for row in rows))
    groups: list[dict[str, Any]] = []
    cells: list[Cell] = []
    runs: list[dict[str, Any]] = []
    for group, members in make_groups(rows):
        for cell in members:
            of_cell = [finish_run(run, points, group["cores"]) for run in cell.pop("runs")]
            cells.append({"group": len(groups), "runs": len(of_cell), **cell})
            runs += of_cell
        groups.append(group)
    return {
        "views": _views(rows),
        "tools": list(TOOLS),
        "levels": LEVELS,
        "parts": PARTS,
        "ledger": list(PART_COLOURS),
        "seen": list(SEEN.values()),
        "groups": pack_columns(groups),
        "cells": pack_columns(cells),
        "runs": pack_columns(runs),
        "sweeps": _sweeps(rows, [cell["id"] for cell in cells]),
        "charts": drawing.charts,
        "themes": {"light": theme(dark=False), "dark": theme(dark=True)},
    }


def _sweeps(rows: Iterable[Row], ids: Iterable[str]) -> list[dict[str, Any]]:
    """Return the sweeps, those of most sizes first: sizes with the places of their cells, and where lines cross."""
    places = {name: place for place, name in enumerate(ids)}
    plots = sorted(make_plots(rows), key=lambda plot: -len(plot.sweep.cells))
    return [
        {
            "parameter": plot.sweep.parameter,
            "sizes": [[size, [places[cell_id(row)] for row in plot.sweep.cells[size]]] for size in plot.sweep.values],
            "crossings": plot.crossings,
        }
        for plot in plots
    ]


def _views(rows: Iterable[Row]) -> list[dict[str, str]]:
    """Return each machine with each suite of it, the one that was measured last first."""
    parts = group_rows(rows, ["machine", "suite"])
    parts.sort(key=lambda part: max(row["finished_at"] for row in part[1]), reverse=True)
    return [_view(machine, suite, part[-1]) for (machine, suite), part in parts]


def _view(machine: str, suite: str, host: Row) -> dict[str, str]:
    """Return what is shown of a machine and a suite, which no comparison goes beyond."""
    title = f"{describe_machine(host)} (machine {machine}, suite {suite})"
    return {"machine": machine, "suite": suite, "title": title, "note": OLD_SUITES.get(suite, "")}
