"""What a session shows: lines where there is no terminal, a filling matrix where there is one, failures if quiet."""

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from harness.places import PROJECT
from harness.plan import Cell
from harness.records import Planned, Record
from harness.telemetry import Watch
from harness.view import (
    LineView,
    LiveView,
    QuietView,
    describe_progress,
    describe_record,
    next_phase,
    open_view,
)
from tests.helpers import make_cell, make_content, make_sample, make_step_cell, make_step_content, make_watch
from workloads import make_workload

HOSTILE = "too [bold]slow[/bold]\x1b[2J\x07\u202e\nindeed"
SHOWN = r"too [bold]slow[/bold]\x1b[2J\x07\u202e indeed"


def console(*, width: int = 100, height: int = 40, **options: Any) -> Console:
    """A console that writes into a string, a terminal unless it is said otherwise."""
    chosen = {"force_terminal": True, "color_system": None, "_environ": {"TERM": "xterm"}, **options}
    return Console(file=io.StringIO(), width=width, height=height, **chosen)


def written(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def planned(cells: Iterable[Cell]) -> list[Planned]:
    return [Planned(cell=cell, key="k", cores=2, done=None) for cell in cells]


def failed(cell: Cell) -> dict[str, Any]:
    return make_content(cell, [1.0]) | {"status": "failed", "reason": HOSTILE}


def play(view: LineView) -> None:
    """Play a session of three cells: one goes well, one is excluded, one fails."""
    first, third = make_cell("torch"), make_cell("mxnet")
    second = make_cell("jax", not_run=("skipped", "not [today]"))
    with view:
        view.add(planned([first, second, third]))
        view.phase("making environment [x]\x1b[2J")
        view.line("it is tried [y] once more")
        view.begin(first)
        view.event(first, {"event": "epoch", "at": 0.0, "epoch": 0, "loss": 0.5})
        view.end(first, make_content(first, [2.0, 1.0]))
        view.begin(second)
        view.end(second, make_content(second, [1.0]) | {"status": "skipped", "reason": second.not_run[1]})
        view.begin(third)
        view.end(third, failed(third))


def frame(view: LiveView, **options: Any) -> list[str]:
    """Return the lines that a terminal would show now, without the spaces at their ends."""
    screen = console(**options)
    screen.print(view.draw())
    return [line.rstrip() for line in written(screen).splitlines()]


def matrix_view(tools: Iterable[str], models: int = 1, repeats: int = 1, **options: Any) -> tuple[LiveView, list[Cell]]:
    """Return a view of tools on nets of so many sizes, and its cells, round by round."""
    workloads = [make_workload("mnist-mlp", {"units": 2**number}) for number in range(3, 3 + models)]
    cells = [
        make_cell(tool, workload=workload, repeat=repeat)
        for repeat in range(repeats)
        for workload in workloads
        for tool in tools
    ]
    view = LiveView(console(**options))
    view.add(planned(cells))
    return view, cells


def test_without_a_terminal_each_outcome_is_a_plain_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.view.monotonic", iter(range(0, 1000, 10)).__next__)
    log = console(force_terminal=False)
    play(open_view(log))
    assert written(log).splitlines() == [
        r"making environment [x]\x1b[2J",
        "it is tried [y] once more",
        f"{make_cell('torch').label} ok: trained 3.00 s, error 1.00 %, 8.0 s in all · 2 cells left, about 10 s",
        "jax · cpu · digits-cnn epochs=2 · batch 32 skipped: not [today] · 1 cell left, about 10 s",
        f"mxnet · cpu · digits-cnn epochs=2 · batch 32 failed: {SHOWN}",
    ]


def test_on_a_terminal_the_matrix_fills_and_only_failures_stay_as_lines() -> None:
    screen = console()
    play(open_view(screen))
    shown = written(screen)
    last = shown.split("┏")[-1]
    boxes = {tool: line for line in last.splitlines() for tool in ("torch", "jax", "mxnet") if f"│ {tool}" in line}
    assert "3.00 s" in boxes["torch"]
    assert "skipped" in boxes["jax"]
    assert "failed" in boxes["mxnet"]
    assert last.rstrip("\x1b[?25h \n").endswith("done")
    assert f"mxnet · cpu · digits-cnn epochs=2 · batch 32 failed: {SHOWN}" in shown
    assert "it is tried [y] once more" in shown
    assert "ok: trained" not in shown
    assert "\x1b[2J" not in shown
    assert "\x07" not in shown
    assert "\u202e" not in shown


def test_a_quiet_view_tells_failures_alone_and_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    view = open_view(console(quiet=True))
    play(view)
    assert isinstance(view, QuietView)
    printed = capsys.readouterr()
    assert printed.out == written(view._console) == ""
    assert printed.err == f"mxnet · cpu · digits-cnn epochs=2 · batch 32 failed: {SHOWN}\n"


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, LiveView),
        ({"_environ": {"TERM": "dumb"}}, LineView),
        ({"force_interactive": False}, LineView),
        ({"force_terminal": False}, LineView),
        ({"quiet": True}, QuietView),
    ],
)
def test_the_matrix_is_drawn_only_where_lines_can_be_drawn_again(options: dict[str, Any], kind: type) -> None:
    assert type(open_view(console(**options))) is kind


def test_cells_that_are_done_already_stand_in_the_matrix() -> None:
    cell = make_cell("torch")
    view = LiveView(console())
    record = Record(content=make_content(cell, [2.0, 1.0]))
    view.add([Planned(cell=cell, key="k", cores=2, done=record)])
    lines = frame(view)
    assert any("│ torch │" in line and "3.00 s" in line for line in lines)
    assert lines[-1] == "done"


def test_all_repeats_of_a_cell_share_one_box_with_their_median() -> None:
    view, cells = matrix_view(["torch"], repeats=5)
    for cell, train_s in zip(cells[:3], (1.25, 9.0, 1.44), strict=True):
        view.begin(cell)
        view.end(cell, make_content(cell, [train_s]))
    assert "│ torch │        3/5 1.44 s │" in frame(view)
    view.begin(cells[3])
    assert "│ torch │      3/5 1.44 s … │" in frame(view)
    view.end(cells[3], failed(cells[3]))
    assert "│ torch │ 4/5 1.44 s, 1 failed │" in frame(view)


def test_what_steps_take_is_shown_in_milliseconds() -> None:
    cell = make_step_cell("torch")
    view = LiveView(console())
    view.add(planned([cell]))
    assert any(line.endswith(" · │") for line in frame(view))
    view.begin(cell)
    view.end(cell, make_step_content(cell, [9.0, 0.1, 0.3, 0.2]))
    lines = frame(view)
    assert any("200.0 ms │" in line for line in lines)
    assert any("train ┃" in line for line in lines)


def test_a_cell_that_is_run_once_more_is_left_again() -> None:
    view, (cell,) = matrix_view(["torch"])
    view.begin(cell)
    view.end(cell, make_content(cell, [1.0]))
    assert frame(view)[-1] == "done"
    view.add(planned([cell]))
    assert frame(view)[-1].startswith("1 cell left")
    assert not any("1.00 s" in line for line in frame(view))


@pytest.mark.parametrize(
    ("size", "form"),
    [
        ({"width": 150, "height": 40}, "│ torch "),
        ({"width": 80, "height": 40}, "mnist-mlp units=8 · batch 128 · cpu    1 ok · 1 failed · 1 running · 2 to do"),
        ({"width": 150, "height": 12}, "mnist-mlp units=8 · batch 128 · cpu    1 ok · 1 failed · 1 running · 2 to do"),
        ({"width": 150, "height": 9}, "1 ok · 1 failed · 1 running · 27 to do"),
        ({"width": 60, "height": 40}, "1 ok · 1 failed · 1 running · 27 to do"),
    ],
    ids=["the table", "too narrow", "too low", "too low for places", "too narrow for places"],
)
def test_where_the_matrix_has_no_room_cells_are_counted(size: dict[str, int], form: str) -> None:
    view, cells = matrix_view(["torch", "jax", "mxnet", "keras-jax", "null"], models=6, **size)
    for cell, content in zip(cells, (make_content(cells[0], [1.0]), failed(cells[1])), strict=False):
        view.begin(cell)
        view.end(cell, content)
    view.begin(cells[2])
    lines = frame(view, **size)
    assert any(line.startswith(form) for line in lines)
    assert ("┏" in "".join(lines)) == form.startswith("│")
    assert lines[-3] == "mxnet · cpu · mnist-mlp units=8 · batch 128"
    assert max(len(line) for line in lines) <= size["width"]
    assert len(lines) < size["height"]


def test_a_form_is_drawn_anew_when_the_terminal_changes_its_size() -> None:
    view, _ = matrix_view(["torch"], models=3)
    assert any("│ torch" in line for line in frame(view))
    view._console.size = (50, 40)
    assert not any("│ torch" in line for line in frame(view))


def test_what_is_too_long_for_a_line_is_cut() -> None:
    view, (cell,) = matrix_view(["torch"])
    view.begin(cell)
    assert frame(view, width=30)[-3:-1] == [f"{cell.label[:29]}…", "testing the machine's speed 0…"]


def test_cells_are_coloured_by_their_status() -> None:
    view, cells = matrix_view(["torch", "jax", "mxnet", "null"], color_system="standard")
    contents = [make_content(cells[0], [1.0]), failed(cells[1])]
    contents.append(make_content(cells[2], [1.0]) | {"status": "unavailable", "reason": "no GPU"})
    for cell, content in zip(cells, contents, strict=False):
        view.begin(cell)
        view.end(cell, content)
    view.begin(cells[3])
    screen = console(color_system="standard")
    screen.print(view.draw())
    green, red, yellow, cyan = (
        next(line for line in written(screen).splitlines() if f"│ {cell.tool} " in line) for cell in cells
    )
    assert "\x1b[32m" in green
    assert "\x1b[31m" in red
    assert "\x1b[33m" in yellow
    assert "\x1b[36m" in cyan


def test_what_comes_before_the_cells_is_shown_as_a_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("harness.view.monotonic", lambda: now_s[0])
    view, (cell,) = matrix_view(["torch"])
    view.phase("making environment torch")
    now_s[0] = 75.0
    view.phase("proving torch [cpu]\x1b[2J")
    now_s[0] = 136.0
    assert frame(view)[-2:] == [r"proving torch [cpu]\x1b[2J 0:01:01", "1 cell left"]
    view.begin(cell)
    assert frame(view)[-3:] == [cell.label, "testing the machine's speed 0:00:00", "1 cell left"]


def test_while_a_worker_trains_phase_progress_and_load_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("harness.view.monotonic", lambda: now_s[0])
    view, (cell,) = matrix_view(["torch"])
    view.begin(cell)
    watch = make_watch([make_sample(0.0, cpu_s=0.0), make_sample(2.0, cpu_s=3.0)])
    view.watch(watch)
    assert frame(view)[-2] == "starting 0:00:00 · CPU 75 %"
    for event in ({"event": "training"}, {"event": "epoch", "epoch": 4, "loss": 0.25}):
        view.event(cell, {"at": 1.0, **event})
    now_s[0] = 9.7
    assert frame(view)[-2] == "training 0:00:09 · epoch 5/10 loss 0.2500 · CPU 75 %"
    watch.samples.append(make_sample(4.0, cpu_s=4.0, gpus=({"gpu_pct": 90.0}, {"gpu_pct": 40.0})))
    assert frame(view)[-2] == "training 0:00:09 · epoch 5/10 loss 0.2500 · CPU 25 % · GPU 65 %"
    view.end(cell, make_content(cell, [1.0]))
    assert "CPU" not in "".join(frame(view)[-3:])


def test_a_view_draws_by_itself_while_a_worker_is_silent_and_an_event_draws_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = threading.Semaphore(0)
    refresh: Callable[[Live], None] = Live.refresh

    def count(live: Live) -> None:
        refresh(live)
        drawn.release()

    monkeypatch.setattr(Live, "refresh", count)
    monkeypatch.setattr("harness.view.DRAW_PERIOD_S", 0.001)
    view, (cell,) = matrix_view(["torch"])
    threads = threading.active_count()
    with view:
        view.begin(cell)
        for _ in range(3):
            while not drawn.acquire(timeout=0.1):
                assert threading.active_count() > threads
    monkeypatch.setattr("harness.view.DRAW_PERIOD_S", 3600.0)
    view, (cell,) = matrix_view(["torch"])
    while drawn.acquire(blocking=False):
        pass
    with view:
        view.begin(cell)
        for step in range(100):
            view.event(cell, {"event": "epoch", "at": 0.0, "epoch": step, "loss": 0.5})
        assert not drawn.acquire(blocking=False)


@pytest.mark.parametrize("options", [{"force_terminal": False}, {"quiet": True}])
def test_where_nothing_is_drawn_no_thread_runs_and_no_watch_is_read(options: dict[str, Any]) -> None:
    class Unread(Watch):
        @property
        def samples(self) -> Any:
            raise AssertionError("it was read")

        @samples.setter
        def samples(self, value: Any) -> None: ...

    cell = make_cell("torch")
    before = set(threading.enumerate())
    with open_view(console(**options)) as view:
        view.add(planned([cell]))
        view.begin(cell)
        view.watch(Unread(os.getpid(), [0], []))
        view.event(cell, {"event": "training", "at": 0.0})
        assert set(threading.enumerate()) - before == set()
        view.end(cell, make_content(cell, [1.0]))


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"event": "started"}, "importing"),
        ({"event": "stage", "stage": "import"}, "starting the device"),
        ({"event": "stage", "stage": "weights"}, "building the net"),
        ({"event": "training"}, "training"),
        ({"event": "stage", "stage": "first_step"}, None),
        ({"event": "epoch", "epoch": 0}, None),
        ({"event": "epoch", "epoch": 1}, "evaluating"),
        ({"event": "stage", "stage": "evaluate"}, "ending"),
        ({"event": "stage", "stage": HOSTILE}, None),
    ],
)
def test_what_a_worker_does_after_an_event(event: dict[str, Any], words: str | None) -> None:
    assert next_phase(make_cell(), event) == words


@pytest.mark.parametrize(
    ("event", "words"),
    [({"event": "epoch", "epoch": 1, "loss": 0.25}, "epoch 2/2 loss 0.2500"), ({"event": "started"}, None)],
)
def test_progress_in_words(event: dict[str, Any], words: str | None) -> None:
    assert describe_progress(make_cell(), event) == words


@pytest.mark.parametrize(("loss", "words"), [(0.25, "step 2/4 12.5 ms loss 0.2500"), (None, "step 2/4 12.5 ms")])
def test_a_step_in_words(loss: float | None, words: str) -> None:
    event = {"event": "step", "step": 1, "warmup": False, "wall_s": 0.0125, "loss": loss}
    assert describe_progress(make_step_cell(), event) == words


def test_a_measurement_of_steps_in_words() -> None:
    content = make_step_content(make_step_cell(), [9.0, 0.1, 0.3, 0.2])
    assert describe_record(content) == "ok: 3 steps, median 200.0 ms, 13.6 s in all"
    content["time"]["total_s"] = None
    assert describe_record(content) == "ok: 3 steps, median 200.0 ms, did not exit by itself"


def read_all(descriptor: int) -> str:
    """Return what comes from a terminal until nobody holds its other end."""
    parts = []
    with contextlib.suppress(OSError):
        while part := os.read(descriptor, 65536):
            parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_runner_that_is_stopped_at_a_terminal_leaves_it_clean(
    stop: signal.Signals, tmp_path: Path, home: Path
) -> None:
    """A real runner at a real terminal, stopped while a worker hangs."""
    note, python, matrix = tmp_path / "note", tmp_path / "python", tmp_path / "matrix.yaml"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit 1\necho here > {note}\nexec sleep 600\n')
    python.chmod(0o755)
    matrix.write_text(f"tools: [torch]\ndevices: [cpu]\nmodels: [digits-cnn]\nenvironments: {python}\n")
    own_end, its_end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "runner.py", "--matrix", str(matrix), "--results", str(tmp_path / "results")],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "SAMENET_HOME": str(home), "TERM": "xterm"},
        stdout=its_end,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(stop, signal.SIG_DFL),
    ) as process:
        os.close(its_end)
        seen: list[str] = []
        reader = threading.Thread(target=lambda: seen.append(read_all(own_end)))
        reader.start()
        while not note.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(stop)
        _, errors = process.communicate()
    reader.join()
    assert process.returncode == 130
    assert errors == "stopped; finished cells are kept, and the next start goes on from here\n"
    (shown,) = seen
    assert "│ torch │" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    assert shown.rpartition("1 cell left")[2].split() == ["\x1b[?25h"]
    assert shown.rpartition("1 cell left")[2].strip(" ").startswith("\r\n")
