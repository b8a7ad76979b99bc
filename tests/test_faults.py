"""The fault drill: every fault leaves its record, the matrix goes on, and the next start runs what has no result."""

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness.canary
import harness.session
from harness.canary import release_canary
from harness.ending import LINE_CHARS, judge, last_lines
from harness.environments import EnvironmentFailedError
from harness.launch import Outcome, launch_worker, without_worker
from harness.plan import Cell
from harness.records import FINAL, Record, newest_by_key, read_records
from harness.session import drifted_cells, plan_session
from tests.faults import FAULTS, Fault
from tests.helpers import HOST, make_cell, make_content, make_step_cell, run, write_broken_tool
from workloads import make_workload

pytestmark = pytest.mark.usefixtures("home", "quiet_machine")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """The cells whose worker was started, as often as it was."""
    cells: list[Cell] = []

    def launch(cell: Cell, *arguments: Any) -> Outcome:
        cells.append(cell)
        return launch_worker(cell, *arguments)

    monkeypatch.setattr(harness.session, "launch_worker", launch)
    return cells


def run_again(cells: list[Cell], results: Path, monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """Start a second session and return the cells that it runs."""
    monkeypatch.setattr(harness.session, "launch_worker", lambda *job: without_worker("failed", "still"))
    return run(cells, results)[1].begun


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_leaves_its_record_and_the_matrix_goes_on(
    fault: Fault, started: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    changes = fault.plant(tmp_path, monkeypatch)
    cells = [make_cell(**changes), make_cell(environment="current", seed=1)]
    contents, _ = run(cells, results)
    assert [content["status"] for content in contents] == [fault.status, "ok"]
    assert fault.reason in contents[0]["reason"]
    if fault.starts and "environment" not in changes:
        assert contents[0]["versions"]["packages"]["numpy"]
    assert started == [cells[0]] * fault.starts + [cells[1]]
    assert [record.content for record in read_records(results)].count(contents[0]) == 1
    assert all(len(line) <= LINE_CHARS for line in contents[0].get("log", []))
    assert run_again(cells, results, monkeypatch) == ([] if fault.status in FINAL else cells[:1])
    assert len(newest_by_key(read_records(results))) == 2


def test_the_last_lines_of_a_log_are_kept_and_each_is_cut() -> None:
    words = "".join(f"line {number}\n\n" for number in range(100)) + "x" * 10**6
    kept = last_lines(io.BytesIO(words.encode()))
    assert kept == ["x" * LINE_CHARS]
    kept = last_lines(io.BytesIO(words[: -(10**6)].encode() + b"\xff\rdone\n"))
    assert kept == [f"line {number}" for number in range(82, 100)] + ["\N{REPLACEMENT CHARACTER}", "done"]


def test_every_fault_has_a_name_and_there_are_many() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 20
    assert {fault.status for fault in FAULTS} >= {"out-of-memory", "timeout", "crashed", "failed", "diverged"}


def test_an_environment_that_is_made_at_the_second_try_is_used(
    started: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def make(*arguments: Any) -> Path:
        tries.append("again")
        if len(tries) == 1:
            raise EnvironmentFailedError("uv pip install ended with 2: connection reset")
        return Path(sys.executable)

    monkeypatch.setattr(harness.session, "requirements_of", lambda *cell: Path("null.txt"))
    monkeypatch.setattr(harness.session, "ensure_environment", make)
    (content,), _ = run([make_cell()], tmp_path)
    assert (content["status"], len(tries), len(started)) == ("ok", 2, 1)


def test_a_worker_that_was_killed_once_is_ok_at_the_second_try(started: list[Cell], tmp_path: Path) -> None:
    note = tmp_path / "killed"
    body = f"""
    if not os.path.exists({str(note)!r}):
        open({str(note)!r}, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2.5
"""
    cell = make_cell(environment=write_broken_tool(tmp_path, "train_batches", body))
    (content,), _ = run([cell], tmp_path / "results")
    assert (content["status"], content["reason"], started) == ("ok", None, [cell, cell])
    assert [epoch["loss"] for epoch in content["epochs"]] == [2.5, 2.5]
    assert len(list(read_records(tmp_path / "results"))) == 1


def test_a_crash_after_the_result_costs_no_result(tmp_path: Path) -> None:
    """Frameworks crash while they are taken down."""
    python = write_broken_tool(tmp_path, "peak_memory_bytes", "import atexit; atexit.register(lambda: os.abort())")
    (content,), _ = run([make_cell(environment=python)], tmp_path / "results")
    assert (content["status"], content["error_rate"]) == ("ok", pytest.approx(0.9, abs=0.02))


def test_a_hang_after_the_result_costs_no_result() -> None:
    assert judge(None, [{"event": "started"}, {"event": "result"}], None, 9.0, [], starved=False) == ("ok", None)


def sizes(python: str) -> list[Cell]:
    """Steps with batches of 16 to 128, two rounds."""
    workload = make_cell().workload
    return [
        make_step_cell(workload=replace(workload, batch_size=size), environment=python, repeat=repeat)
        for repeat in range(2)
        for size in (16, 32, 64, 128)
    ]


def small_device(folder: Path) -> str:
    """An interpreter whose tool has memory for 16 images."""
    body = "\n    if len(arguments[1]) > 16: raise MemoryError(len(arguments[1]))\n    return 1.0"
    return write_broken_tool(folder, "train_step", body)


def test_batches_larger_than_memory_are_skipped_in_this_start_and_the_next(started: list[Cell], tmp_path: Path) -> None:
    results, cells = tmp_path / "results", sizes(small_device(tmp_path))
    other = make_step_cell(workload=make_workload("digits-mlp", {}))
    contents, _ = run([*cells, other], results)
    skipped = ("skipped", "out of memory at batch 32")
    round_of = [("ok", None), ("out-of-memory", "MemoryError: 32"), skipped, skipped]
    assert [(content["status"], content["reason"]) for content in contents] == [*round_of, *round_of, ("ok", None)]
    assert started == [cells[0], cells[1], cells[4], cells[5], other]
    assert run([*cells, other], results)[1].begun == []
    assert len(list(read_records(results))) == 9
    assert {record.key for record in read_records(results)} == {content["key"] for content in contents}


def test_larger_batches_are_skipped_where_memory_ran_out_in_an_earlier_start(
    started: list[Cell], tmp_path: Path
) -> None:
    cells = sizes(small_device(tmp_path))[:4]
    run(cells[:2], tmp_path / "results")
    started.clear()
    contents, _ = run(cells, tmp_path / "results")
    assert [content["status"] for content in contents] == ["ok", "out-of-memory", "skipped", "skipped"]
    assert started == []


def test_a_larger_batch_that_has_its_result_keeps_it() -> None:
    cells = sizes("current")[:3]
    bare = plan_session(cells, HOST, [], fresh=False)
    statuses = {16: "ok", 32: "out-of-memory", 64: "ok"}
    records = [
        Record(content=make_content(item.cell, [1.0], key=item.key) | {"status": statuses[size]})
        for item, size in zip(bare, statuses, strict=True)
    ]
    planned = plan_session(cells, HOST, records, fresh=False)
    assert [item.done and item.done.status for item in planned] == ["ok", "out-of-memory", "ok"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("print('no BLAS here', file=sys.stderr); sys.exit(1)", "it ended with exit code 1 and no speed; no BLAS here"),
        ("print('nan')", "it ended with exit code 0 and no speed; nan"),
        (
            "sys.stdout.buffer.write(bytes([255, 10]))",
            "exit code 0 and no speed; \N{REPLACEMENT CHARACTER}",
        ),
        (None, "the runner's Python cannot be started: No such file or directory"),
    ],
)
def test_a_canary_that_fails_is_said_and_the_cell_runs(
    body: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, broken = make_cell(environment=sys.executable), tmp_path / "python"
    if body:
        broken.write_text(f"#!{sys.executable}\nimport sys, time\n{body}\n")
        broken.chmod(0o755)
    monkeypatch.setattr(harness.session, "release_canary", release_canary)
    monkeypatch.setattr(sys, "executable", str(broken))
    (content,), _ = run([cell], tmp_path / "results")
    assert content["status"] == "ok"
    assert (content["canary"]["gflops"], content["canary"]["others_pct"]) == (None, None)
    assert content["canary"]["reason"].startswith("the canary could not be run: ")
    assert content["canary"]["reason"].endswith(reason)


def test_a_canary_says_how_fast_the_machine_is_and_how_busy() -> None:
    canary = release_canary(1)
    assert canary.reason is None
    assert canary.gflops > 0
    assert canary.others_pct >= 0


def test_a_canary_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 600\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(harness.canary, "TIME_LIMIT_S", 0.5)
    monkeypatch.setattr(sys, "executable", str(hanging))
    assert release_canary(1).reason == "the canary could not be run: it was not done within 0.5 s"


def test_only_results_are_measured_again_after_a_drift() -> None:
    cells = [make_cell(repeat=repeat) for repeat in range(7)]
    planned = plan_session(cells, HOST, [], fresh=False)
    seen = [("ok", 100.0), ("ok", 101.0), ("ok", 80.0), ("timeout", 80.0), ("ok", None), ("ok", 100.0), ("ok", 99.0)]
    contents = [
        make_content(cell, [1.0]) | {"status": status, "canary": {"gflops": speed}}
        for cell, (status, speed) in zip(cells, seen, strict=True)
    ]
    assert drifted_cells(list(zip(planned, contents, strict=True))) == [planned[2]]
