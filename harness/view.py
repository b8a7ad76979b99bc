"""Shows a session while it runs: the matrix that fills on a terminal, plain lines anywhere else."""

import statistics
from collections.abc import Iterable
from dataclasses import replace
from time import monotonic
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.ending import Event
from harness.plan import Cell
from harness.records import Planned, timed_s

COLOURS = {"ok": "green", "skipped": "yellow", "unsupported": "yellow", "unavailable": "yellow"}

EVENT_PERIOD_S = 1.0
"""Least time between two drawings while a worker trains: drawing takes some of its cores' time."""


def describe_record(content: dict[str, Any]) -> str:
    """Say how a cell came out in a few words."""
    if content["status"] != "ok":
        return f"{content['status']}: {content['reason']}"
    time = content["time"]
    in_all = "did not exit by itself" if time["total_s"] is None else f"{time['total_s']:.1f} s in all"
    if content["steps"]:
        return f"ok: {len(timed_s(content['steps']))} steps, median {_step_ms(content)}, {in_all}"
    error = 100 * content["error_rate"]
    return f"ok: trained {time['train_s']:.2f} s, error {error:.2f} %, {in_all}"


def describe_event(cell: Cell, event: Event) -> str | None:
    """Say what a worker's event means in a few words, or None if it is not worth a word."""
    match event["event"]:
        case "stage":
            return f"{event['stage'].replace('_', ' ')} {event['wall_s']:.1f} s"
        case "step" if cell.steps:
            words = f"step {event['step'] + 1}/{cell.steps.warmup + cell.steps.timed} {1000 * event['wall_s']:.1f} ms"
            return words if event["loss"] is None else f"{words} loss {event['loss']:.4f}"
        case "epoch":
            return f"epoch {event['epoch'] + 1}/{cell.workload.epochs} loss {event['loss']:.4f}"
    return None


class SessionView:
    """Counts what is to do, learns how long cells take, and draws where there is a terminal."""

    def __init__(self, planned: Iterable[Planned], console: Console) -> None:
        self._planned = list(planned)
        self._console = console
        self._states = {
            _place(item.cell): _state(item.done.content) if item.done else Text("·") for item in self._planned
        }
        self._left = {_place(item.cell) for item in self._planned if item.done is None and item.cell.not_run is None}
        self._finished: list[float] = []
        self._began = 0.0
        self._now = ""
        self._drawn = 0.0
        self._live = Live(console=console, get_renderable=self._draw, auto_refresh=False)

    def __enter__(self) -> "SessionView":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def line(self, text: str) -> None:
        """Show one line of progress."""
        self._console.print(Text(text), style="dim")

    def begin(self, cell: Cell) -> None:
        """A cell starts."""
        self._began = monotonic()
        self._states[_place(cell)] = Text("…", style="cyan")
        if cell.not_run is None:
            self._left.add(_place(cell))
        self._now = f"{cell.label}: starting"
        self._refresh()

    def event(self, cell: Cell, event: Event) -> None:
        """A worker sent an event."""
        words = describe_event(cell, event)
        if words:
            self._now = f"{cell.label}: {words}"
        if monotonic() - self._drawn >= EVENT_PERIOD_S:
            self._refresh()

    def end(self, cell: Cell, record: dict[str, Any]) -> None:
        """A cell has its record."""
        self._left.discard(_place(cell))
        if cell.not_run is None:
            self._finished.append(monotonic() - self._began)
        self._states[_place(cell)] = _state(record)
        self._now = ""
        words = Text(f"{cell.label} {describe_record(record)}")
        if not self._console.is_terminal:
            words.append(f" · {self._time_left()}" if self._left else "")
        self._console.print(words, soft_wrap=True)
        self._refresh()

    def _refresh(self) -> None:
        self._drawn = monotonic()
        if self._console.is_terminal:
            self._live.refresh()

    def _time_left(self) -> str:
        if not self._finished:
            return f"{len(self._left)} cells left"
        seconds = len(self._left) * sum(self._finished) / len(self._finished)
        return f"{len(self._left)} cells left, about {_duration(seconds)}"

    def _draw(self) -> Group:
        rows: dict[str, dict[str, Text]] = {}
        for cell, state in self._states.items():
            place = rows.setdefault(cell.tool, {}).setdefault(_column(cell), Text())
            place.append_text(Text(" ") if place else Text()).append_text(state)
        columns = list(dict.fromkeys(_column(cell) for cell in self._states))
        table = Table("tool", *columns)
        for tool, row in rows.items():
            table.add_row(tool, *(row.get(column, "") for column in columns))
        return Group(table, Text(self._now, no_wrap=True), Text(self._time_left() if self._left else "done"))


def _place(cell: Cell) -> Cell:
    """Return where in the matrix a cell stands, whether it is run or not."""
    return replace(cell, not_run=None)


def _column(cell: Cell) -> str:
    device = f"{cell.device}, {cell.cores} cores" if cell.cores else cell.device
    measure = f"\n{cell.measure}" if cell.steps else ""
    return f"{cell.workload.label}\nbatch {cell.workload.batch_size}\n{device}{measure}"


def _step_ms(content: dict[str, Any]) -> str:
    return f"{1000 * statistics.median(timed_s(content['steps'])):.1f} ms"


def _state(content: dict[str, Any]) -> Text:
    status, words = content["status"], content["status"]
    if status == "ok":
        words = _step_ms(content) if content["steps"] else f"{content['time']['train_s']:.2f} s"
    return Text(words, style=COLOURS.get(status, "red"))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
