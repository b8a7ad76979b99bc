"""The matrix as it fills: a box for all repeats of a cell, or counts where a terminal has no room for boxes."""

import statistics
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.segment import Segments
from rich.table import Column, Table
from rich.text import Text

from frameworks import TOOLS
from harness.forecast import Place, place_of
from harness.ledger import measured_s
from harness.plan import Cell
from harness.printable import printable
from harness.records import ABSENT

TO_DO, RUNNING = "to do", "running"
COLOURS = {"ok": "green", RUNNING: "cyan", TO_DO: "dim", **dict.fromkeys(ABSENT, "yellow")}
"""Of statuses; those that are not here are failures."""
FAILURE = "red"
FRAME_LINES = 4
"""Of a table: its edges and the rule below its head."""
WIDEST = 10_000
"""More columns than a terminal has, to measure what a table would take."""


@dataclass(frozen=True)
class State:
    """How a cell stands: TO_DO, RUNNING or its record's status, and what it measured."""

    status: str
    seconds: float | None = None


def state_of(content: Mapping[str, Any]) -> State:
    """Return how a cell stands that has a record."""
    return State(str(content["status"]), measured_s(content))


Boxes = Mapping[Place, Mapping[str, Iterable[State]]]
"""How the repeats of each tool stand, place by place."""


class Board:
    """How every cell of a matrix stands; one thread may draw while another one changes it."""

    def __init__(self) -> None:
        self._boxes: dict[Place, dict[str, dict[int, State]]] = {}
        self._lock = threading.Lock()
        self._drawn: tuple[object, Segments] | None = None

    def set(self, cell: Cell, state: State) -> None:
        """Note how a cell stands, which needs not be known before."""
        with self._lock:
            self._boxes.setdefault(place_of(cell), {}).setdefault(cell.tool, {})[cell.repeat] = state
            self._drawn = None

    def draw(self, console: Console, lines: int) -> Segments:
        """Return the matrix in the form that tells most and fits the width of a console and so many lines.

        Laying out is what takes time, so what was drawn is kept until a cell or the size changes.
        """
        with self._lock:
            room = console.width, lines
            if self._drawn is None or self._drawn[0] != room:
                boxes = {
                    place: {tool: list(repeats.values()) for tool, repeats in tools.items()}
                    for place, tools in self._boxes.items()
                }
                self._drawn = room, Segments(list(console.render(_fitting(boxes, console, lines))))
            return self._drawn[1]


def _fitting(boxes: Boxes, console: Console, lines: int) -> RenderableType:
    options = console.options.update(max_width=WIDEST)
    table_lines = FRAME_LINES + max((len(_head(place)) for place in boxes), default=0)
    table_lines += len({tool for tools in boxes.values() for tool in tools})
    for make, needed in ((_table, table_lines), (_list_counts, len(boxes))):
        if needed <= lines:
            form = make(boxes)
            if console.measure(form, options=options).maximum <= console.width:
                return form
    return _count(state for tools in boxes.values() for states in tools.values() for state in states)


def _table(boxes: Boxes) -> Table:
    """Return a row for each tool and a column for each place."""
    table = Table("tool", *(Column(Text("\n".join(_head(place))), justify="right") for place in boxes))
    for tool in (tool for tool in TOOLS if any(tool in tools for tools in boxes.values())):
        row = (_box(place, list(tools[tool])) if tool in tools else "" for place, tools in boxes.items())
        table.add_row(tool, *row)
    return table


def _list_counts(boxes: Boxes) -> Table:
    """Return a line for each place that says how many of its cells stand how."""
    table = Table.grid(padding=(0, 2))
    for place, tools in boxes.items():
        counts = _count(state for states in tools.values() for state in states)
        table.add_row(Text(" · ".join(_head(place))), counts)
    return table


def _count(states: Iterable[State]) -> Text:
    """Say how many cells stand how, e.g. `12 ok · 1 failed · 3 to do`."""
    counts = Counter(state.status for state in states)
    order = sorted(counts, key=lambda status: (status != "ok", status in (RUNNING, TO_DO), status))
    return Text(" · ").join(Text(f"{counts[status]} {status}", style=_colour([status])) for status in order)


def _box(place: Place, states: list[State]) -> Text:
    """Return what all repeats of a cell come to so far, e.g. `3/5 1.44 s` with the median."""
    counts = Counter(state.status for state in states)
    done = len(states) - counts[TO_DO] - counts[RUNNING]
    seconds = [state.seconds for state in states if state.seconds is not None]
    other = [status for status in counts if status not in ("ok", TO_DO, RUNNING)]
    came = [_duration(place, statistics.median(seconds))] if seconds else []
    came += [status if counts[status] == len(states) else f"{counts[status]} {status}" for status in other]
    words = [f"{done}/{len(states)}"] if len(states) > 1 and (done or RUNNING in counts) else []
    words += [", ".join(came)] if came else []
    words += ["…"] if RUNNING in counts else []
    return Text(" ".join(words) or "·", style=_colour(counts))


def _colour(statuses: Iterable[str]) -> str:
    """Return the colour of the most telling status: a cell that runs, a failure, one that is not to be had, `ok`."""
    found = set(statuses)
    if RUNNING in found:
        return COLOURS[RUNNING]
    if found - COLOURS.keys():
        return FAILURE
    return next((COLOURS[status] for status in (*ABSENT, "ok") if status in found), COLOURS[TO_DO])


def _duration(place: Place, seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if place.steps else f"{seconds:.2f} s"


def _head(place: Place) -> list[str]:
    """Return the lines that name a place."""
    device = f"{place.device}, {place.cores} cores" if place.cores else place.device
    lines = [place.model, f"batch {place.batch_size}", device, *([place.measure] if place.steps else [])]
    return [printable(line) for line in lines]
