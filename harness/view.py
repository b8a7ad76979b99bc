"""Shows a session while it runs: the matrix as it fills on a terminal, plain lines elsewhere, or failures alone."""

import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from time import monotonic
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from harness.board import RUNNING, TO_DO, Board, State, state_of
from harness.ending import Event
from harness.forecast import Countdown
from harness.plan import Cell
from harness.printable import printable
from harness.records import ABSENT, Planned, timed_s
from harness.telemetry import Watch, newest_load

DRAW_PERIOD_S = 1.0
"""Time between two drawings, which take some of the cores' time."""
FOOT_LINES = 4
"""What is kept free of the matrix: the current cell, what it does, what is left, and the cursor's line."""
NEXT_PHASE = {
    "started": "importing",
    "import": "starting the device",
    "device": "reading data",
    "data": "drawing weights",
    "weights": "building the net",
    "training": "training",
    "evaluate": "ending",
}
"""What a worker does once it has sent an event, or has finished a stage."""


def describe_record(content: dict[str, Any]) -> str:
    """Say how a cell came out in a few words."""
    if content["status"] != "ok":
        return f"{content['status']}: {content['reason']}"
    time = content["time"]
    in_all = "did not exit by itself" if time["total_s"] is None else f"{time['total_s']:.1f} s in all"
    if content["steps"]:
        steps_s = timed_s(content["steps"])
        return f"ok: {len(steps_s)} steps, median {1000 * statistics.median(steps_s):.1f} ms, {in_all}"
    error = 100 * content["error_rate"]
    return f"ok: trained {time['train_s']:.2f} s, error {error:.2f} %, {in_all}"


def describe_progress(cell: Cell, event: Event) -> str | None:
    """Say how far a worker's training is in a few words, or None if an event does not tell."""
    match event["event"]:
        case "step" if cell.steps:
            words = f"step {event['step'] + 1}/{cell.steps.warmup + cell.steps.timed} {1000 * event['wall_s']:.1f} ms"
            return words if event["loss"] is None else f"{words} loss {event['loss']:.4f}"
        case "epoch":
            return f"epoch {event['epoch'] + 1}/{cell.workload.epochs} loss {event['loss']:.4f}"
    return None


def next_phase(cell: Cell, event: Event) -> str | None:
    """Say what a worker does after an event, or None if it goes on with what it did."""
    if event["event"] == "epoch" and event["epoch"] + 1 == cell.workload.epochs:
        return "evaluating"
    return NEXT_PHASE.get(str(event.get("stage", event["event"])))


class LineView:
    """Shows a session as plain lines, one for each outcome."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._countdown = Countdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def add(self, planned: Iterable[Planned]) -> None:
        """Take in cells, those that are done as well; a cell that is here already is to be done again."""
        self._countdown.add(planned)

    def phase(self, text: str) -> None:
        """Show what is done before the cells."""
        self.line(text)

    def line(self, text: str) -> None:
        """Show one line that stays."""
        self._console.print(Text(printable(text)), style="dim", soft_wrap=True)

    def begin(self, cell: Cell) -> None:
        """A cell starts."""
        self._countdown.begin(cell, monotonic())

    def watch(self, watch: Watch) -> None:
        """A worker was started that a watch looks at."""

    def event(self, cell: Cell, event: Event) -> None:
        """A worker sent an event."""

    def end(self, cell: Cell, record: dict[str, Any]) -> None:
        """A cell has its record."""
        now_s = monotonic()
        self._countdown.end(cell, now_s)
        left = self._countdown.words(now_s)
        self._outcome(cell, record, f" · {left}" if left else "")

    def _outcome(self, cell: Cell, record: dict[str, Any], more: str = "") -> None:
        words = printable(f"{cell.label} {describe_record(record)}")
        self._console.print(Text(words + more), soft_wrap=True)


class QuietView(LineView):
    """Shows failures alone, on standard error."""

    def line(self, text: str) -> None:
        """Show nothing."""

    def _outcome(self, cell: Cell, record: dict[str, Any], more: str = "") -> None:
        if record["status"] not in ("ok", *ABSENT):
            print(printable(f"{cell.label} {describe_record(record)}"), file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class _Now:
    """What is going on: a phase of a cell, or before the cells, since when, and the newest epoch or step."""

    phase: str
    since_s: float
    cell: Cell | None = None
    progress: Event | None = None
    watch: Watch | None = None


NOTHING = _Now(phase="", since_s=0.0)


class LiveView(LineView):
    """Shows the matrix as it fills, what is going on and what is left; failures stay as lines above it.

    A thread of its own draws, once in DRAW_PERIOD_S, and reads only then what there is to show: however much a session
    tells the view, it costs next to nothing.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._board = Board()
        self._now = NOTHING
        self._live = Live(
            console=console,
            get_renderable=self.draw,
            refresh_per_second=1 / DRAW_PERIOD_S,
            redirect_stderr=sys.stderr.isatty(),
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._now = NOTHING
        self._live.stop()

    def add(self, planned: Iterable[Planned]) -> None:
        """Take in cells, those that are done as well; a cell that is here already is to be done again."""
        planned = list(planned)
        super().add(planned)
        for item in planned:
            self._board.set(item.cell, state_of(item.done.content) if item.done else State(TO_DO))

    def phase(self, text: str) -> None:
        """Show what is done before the cells, until something else is."""
        self._now = _Now(phase=printable(text), since_s=monotonic())

    def begin(self, cell: Cell) -> None:
        """A cell starts."""
        super().begin(cell)
        self._board.set(cell, State(RUNNING))
        self._now = _Now(phase="testing the machine's speed", since_s=monotonic(), cell=cell)

    def watch(self, watch: Watch) -> None:
        """A worker was started that a watch looks at."""
        self._now = replace(self._now, phase="starting", progress=None, watch=watch)

    def event(self, cell: Cell, event: Event) -> None:
        """A worker sent an event."""
        progress = event if event["event"] in ("epoch", "step") else self._now.progress
        self._now = replace(self._now, phase=next_phase(cell, event) or self._now.phase, progress=progress)

    def end(self, cell: Cell, record: dict[str, Any]) -> None:
        """A cell has its record."""
        self._board.set(cell, state_of(record))
        self._now = NOTHING
        super().end(cell, record)

    def _outcome(self, cell: Cell, record: dict[str, Any], more: str = "") -> None:
        if record["status"] not in ("ok", *ABSENT):
            super()._outcome(cell, record)

    def draw(self) -> Group:
        """Return what is to be seen now."""
        now_s = monotonic()
        matrix = self._board.draw(self._console, self._console.height - FOOT_LINES)
        foot = [*_describe_now(self._now, now_s), self._countdown.words(now_s) or "done"]
        return Group(matrix, *(Text(line, no_wrap=True, overflow="ellipsis") for line in foot))


def _describe_now(now: _Now, now_s: float) -> list[str]:
    """Return the lines on what is going on."""
    if now is NOTHING:
        return []
    words = [f"{now.phase} {timedelta(seconds=int(now_s - now.since_s))}"]
    if now.cell is None:
        return words
    told = now.progress and describe_progress(now.cell, now.progress)
    words += [told] if told else []
    return [printable(now.cell.label), " · ".join([*words, *_describe_load(now.watch)])]


def _describe_load(watch: Watch | None) -> list[str]:
    """Say how busy a worker keeps its cores and its GPUs, as far as that is known."""
    if watch is None:
        return []
    load = newest_load(watch)
    named = (("CPU", load.cpu_pct), ("GPU", load.gpu_pct))
    return [f"{name} {pct:.0f} %" for name, pct in named if pct is not None]


def open_view(console: Console) -> LineView:
    """Return the view that suits a console: quiet, a terminal on which lines can be drawn again, or any other."""
    if console.quiet:
        return QuietView(console)
    return LiveView(console) if console.is_interactive else LineView(console)
