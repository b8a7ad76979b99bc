"""What a session shows: lines where there is no terminal, a filling matrix where there is one."""

import io
from typing import Any

import pytest
from rich.console import Console

from harness.records import Planned
from harness.view import SessionView, describe_event, describe_record
from tests.helpers import make_cell, make_content, make_step_cell, make_step_content


def show(*, terminal: bool) -> str:
    """Play a session of two cells, the second excluded, and return all that was shown."""
    first = make_cell("torch")
    second = make_cell("jax", not_run=("skipped", "too [bold]slow[/bold]"))
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)
    planned = [Planned(cell=cell, key="k", cores=2, done=None) for cell in (first, second)]
    with SessionView(planned, console) as view:
        view.line("making environment [x]")
        view.begin(first)
        view.event(first, {"event": "epoch", "at": 0.0, "epoch": 0, "loss": 0.5})
        view.end(first, make_content(first, [2.0, 1.0]))
        view.begin(second)
        view.end(second, make_content(second, [1.0]) | {"status": "skipped", "reason": second.not_run[1]})
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_each_outcome_is_a_plain_line() -> None:
    assert show(terminal=False).splitlines() == [
        "making environment [x]",
        "torch · cpu · digits-cnn epochs=2 · batch 32 ok: trained 3.00 s, error 1.00 %, 8.0 s in all",
        "jax · cpu · digits-cnn epochs=2 · batch 32 skipped: too [bold]slow[/bold]",
    ]


def test_on_a_terminal_the_matrix_fills() -> None:
    last = show(terminal=True).split("┏")[-1]
    torch, jax = (next(line for line in last.splitlines() if f"│ {tool}" in line) for tool in ("torch", "jax"))
    assert "3.00 s" in torch
    assert "skipped" in jax
    assert "done" in last


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"event": "epoch", "epoch": 1, "loss": 0.25}, "epoch 2/2 loss 0.2500"),
        ({"event": "stage", "stage": "first_step", "wall_s": 1.25}, "first step 1.2 s"),
        ({"event": "started"}, None),
    ],
)
def test_events_in_words(event: dict[str, Any], words: str | None) -> None:
    assert describe_event(make_cell(), event) == words


@pytest.mark.parametrize(("loss", "words"), [(0.25, "step 2/4 12.5 ms loss 0.2500"), (None, "step 2/4 12.5 ms")])
def test_a_step_in_words(loss: float | None, words: str) -> None:
    event = {"event": "step", "step": 1, "warmup": False, "wall_s": 0.0125, "loss": loss}
    assert describe_event(make_step_cell(), event) == words


def test_a_measurement_of_steps_in_words() -> None:
    content = make_step_content(make_step_cell(), [9.0, 0.1, 0.3, 0.2])
    assert describe_record(content) == "ok: 3 steps, median 200.0 ms, 13.6 s in all"
    content["time"]["total_s"] = None
    assert describe_record(content) == "ok: 3 steps, median 200.0 ms, did not exit by itself"


def test_time_left_is_learnt_from_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("harness.view.monotonic", lambda: now[0])
    cells = [make_cell(repeat=repeat) for repeat in range(3)]
    console = Console(file=io.StringIO(), width=200, color_system=None)
    view = SessionView([Planned(cell=cell, key="k", cores=2, done=None) for cell in cells], console)
    view.begin(cells[0])
    now[0] = 40.0
    view.end(cells[0], make_content(cells[0], [1.0]))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().endswith("2 cells left, about 1 min 20 s\n")
