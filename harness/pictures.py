"""From records to pictures: the charts of a results folder as SVG, which Markdown can show."""

import copy
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vl_convert

from harness.chart_rows import SERIES, Curve, Over, bar_rows, curve_rows, part_rows, place_of, series_rows, step_rows
from harness.chart_sizes import make_plots
from harness.chart_theme import theme
from harness.charts import chart_specs
from harness.frames import GROUP, Row, describe_machine, group_rows, name_measure, to_frame
from harness.markdown import counted
from harness.printable import printable
from harness.records import Record, write_whole
from workloads.spec import fingerprint

WIDTH_PX = 720
LETTER_PX = 6.5
"""Room for a letter of a caption."""
LONGEST = 180
"""Letters of a file's name."""
CURVES: Mapping[Curve, str] = {"loss": "training loss", "error_pct": "error rate (%) between epochs"}
OVER: tuple[Over, ...] = ("epochs", "seconds")
INTERVAL = "with 95 % interval (of fewer than six runs: the least and the most)"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A chart with its rows; `of` are the words of its file's name, `caption` says what it is of, `axis` its values."""

    chart: str
    of: tuple[str, ...]
    caption: str
    axis: str
    rows: Mapping[str, Sequence[Mapping[str, Any]]]


def write_pictures(records: Iterable[Record], folder: Path) -> list[Path]:
    """Write every picture of these records and return their paths; each file is there whole or as it was.

    Raises UserError if the folder takes no file.
    """
    specs = chart_specs()
    rows = to_frame(records, also=("utilisation",)).to_dict("records")
    paths = []
    for picture in make_pictures(rows):
        path = folder / file_name(picture)
        write_whole(path, render_svg(specs[picture.chart], picture))
        paths.append(path)
    return paths


def file_name(picture: Picture) -> str:
    """Return the name of a picture's file: the same for the same cells, whatever was measured.

    Where words hold what a name should not, a part of their fingerprint tells them from others that look alike.
    """
    words = "_".join(picture.of).replace(" ", "_")
    name = re.sub(r"[^A-Za-z0-9.=_-]+", "-", words)[:LONGEST].strip("-._")
    return f"{name}.svg" if name == words else f"{name}_{fingerprint(list(picture.of))[:8]}.svg"


def render_svg(spec: Mapping[str, Any], picture: Picture) -> str:
    """Return a picture in light colours on a background of its own, so that it is readable on any page."""
    svg: str = vl_convert.vega_to_svg(filled_spec(spec, picture, WIDTH_PX), allowed_base_urls=[])
    return svg


def filled_spec(spec: Mapping[str, Any], picture: Picture, width_px: int, *, dark: bool = False) -> dict[str, Any]:
    """Return a Vega spec with a picture's rows, words and theme, as wide as it is told.

    Words are made printable: a control character among them would end the process of the renderer, which is this one.
    """
    filled = copy.deepcopy(dict(spec))
    caption, axis = printable(picture.caption), printable(picture.axis)
    letters = int(width_px / LETTER_PX)
    filled |= {"config": theme(dark), "description": f"{caption}: {axis}"}
    filled["title"] |= {"text": textwrap.wrap(caption, letters), "subtitle": textwrap.wrap(axis, letters)}
    filled["signals"] = [signal for signal in filled["signals"] if signal["name"] not in ("width", "room")]
    filled["signals"] += [{"name": name, "value": width_px} for name in ("width", "room")]
    for data in filled["data"]:
        if data["name"] in picture.rows:
            data["values"] = [_printable(row) for row in picture.rows[data["name"]]]
    return filled


def _printable(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: printable(value) if isinstance(value, str) else value for name, value in row.items()}


def make_pictures(rows: Iterable[Row]) -> Iterator[Picture]:
    """Yield all pictures that would show something, of rows whose runs hold `utilisation` of records."""
    rows = list(rows)
    for _, cells in group_rows(rows, GROUP):
        yield from (picture for picture in _of_place(cells) if picture.rows["rows"])
    yield from _of_sizes(rows)


def _of_place(cells: Sequence[Row]) -> Iterator[Picture]:
    """Yield the pictures of the tools of one model at one place."""
    if cells[0]["measure"] != "epochs":
        yield _picture("bars", "bars", cells, f"median step (ms) {INTERVAL}", bar_rows(cells, 1000))
        yield _picture("steps", "steps", cells, "each step (ms); warm-up steps are hollow", step_rows(cells))
        return
    yield _picture("bars", "bars", cells, f"training time (s) {INTERVAL}", bar_rows(cells))
    yield _picture("ledger", "ledger", cells, "where the time of one run went, means over the runs", part_rows(cells))
    for what, words in CURVES.items():
        for over in OVER:
            yield _picture(f"curves_{over}", f"{what}-over-{over}", cells, words, curve_rows(cells, what, over))
    for series in SERIES:
        yield _picture("utilisation", f"{series.split()[0]}-over-seconds", cells, series, series_rows(cells, series))


def _of_sizes(rows: Iterable[Row]) -> Iterator[Picture]:
    """Yield a picture of each sweep of which epochs were measured."""
    for plot in make_plots(row for row in rows if row["measure"] == "epochs"):
        swept = plot.sweep.parameter
        row = next(iter(plot.sweep.cells.values()))[-1]
        name = " ".join(word for word in row["model"].split() if not word.startswith(f"{swept}="))
        ringed = "; ringed: another takes least from there" if plot.crossings else ""
        yield Picture(
            chart="crossover",
            of=_words(name, row, f"by-{swept}"),
            caption=f"{name} by {swept}: {_describe(row)}",
            axis=f"training time (s) {INTERVAL}{ringed}",
            rows={"rows": plot.rows, "crossings": plot.crossings},
        )


def _picture(chart: str, kind: str, cells: Sequence[Row], axis: str, rows: Sequence[Mapping[str, Any]]) -> Picture:
    row = cells[-1]
    return Picture(
        chart=chart,
        of=_words(row["model"], row, f"{row['device']}-{row['cores']}c", kind),
        caption=f"{row['model']}, {place_of(row)}: {_describe(row)}",
        axis=axis,
        rows={"rows": rows},
    )


def _words(name: str, row: Row, *kind: str) -> tuple[str, ...]:
    """Return the words of a file's name: what the cells of a picture agree in, and what it shows of them."""
    steps = (row["measure"], f"{row['warmup']}-{row['timed']}-steps")
    measured = (f"{row['epochs']}-epochs",) if row["measure"] == "epochs" else steps
    of = (name, f"b{row['batch_size']}", *measured, row["precision"], f"seed{row['seed']}")
    return (*of, *kind, row["machine"], f"suite{row['suite']}")


def _describe(row: Row) -> str:
    """Say what the cells of a picture agree in, and on which machine they were measured."""
    steps = f"{row['measure']}, {row['warmup']} warm-up and {counted(row['timed'], 'timed step')}"
    measured = name_measure(row) if row["measure"] == "epochs" else steps
    return (
        f"batch {row['batch_size']}, {measured}, {row['precision']}, seed {row['seed']}, "
        f"{describe_machine(row)} (machine {row['machine']}, suite {row['suite']})"
    )
