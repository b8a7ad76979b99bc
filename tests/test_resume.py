"""What is done stays done: content keys, a full disk, a folder that takes no file, two runners on one folder."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

import harness.environments
import harness.records
import harness.session
from harness.environments import environment_folder
from harness.places import PROJECT
from harness.records import Record, hold_results, newest_by_key, read_records, write_whole
from harness.session import plan_session
from tests.faults import deep_workload
from tests.helpers import HOST, Silent, make_cell, make_content, run, write_broken_tool
from workloads import make_workload
from workloads.errors import UserError

pytestmark = pytest.mark.usefixtures("home", "quiet_machine")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what keys are made from, which a test may change."""
    for name in ("frameworks", "workloads", "requirements"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(harness.records, "PROJECT", tmp_path)
    monkeypatch.setattr(harness.environments, "REQUIREMENTS", tmp_path / "requirements")
    return tmp_path


def change(path: Path) -> None:
    path.write_text(path.read_text() + "# changed\n")


def change_suite(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.records, "SUITE", "another")


@pytest.mark.parametrize(
    ("act", "touched"),
    [
        (lambda tree, _: change(tree / "frameworks" / "torch_adapter.py"), {"torch"}),
        (lambda tree, _: change(tree / "frameworks" / "keras_adapter.py"), {"keras-jax"}),
        (lambda tree, _: change(tree / "frameworks" / "base.py"), {"torch", "jax", "keras-jax", "null"}),
        (lambda tree, _: change(tree / "requirements" / "jax.txt"), {"jax", "keras-jax"}),
        (lambda tree, _: change(tree / "requirements" / "jax-gpu.txt"), set()),
        (lambda tree, _: change(tree / "workloads" / "vgg16.py"), set()),
        (change_suite, {"torch", "jax", "keras-jax", "null"}),
    ],
    ids=["adapter", "shared adapter", "contract", "lock", "lock of another device", "another workload", "suite"],
)
def test_a_change_reruns_only_what_it_touches(
    act: Callable[[Path, pytest.MonkeyPatch], None], touched: set[str], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [make_cell(tool) for tool in ("torch", "jax", "keras-jax", "null")]
    bare = plan_session(cells, HOST, [], fresh=False)
    records = [Record(content=make_content(item.cell, [1.0], key=item.key)) for item in bare]
    assert all(item.done for item in plan_session(cells, HOST, records, fresh=False))
    act(tree, monkeypatch)
    planned = plan_session(cells, HOST, records, fresh=False)
    assert {item.cell.tool for item in planned if item.done is None} == touched


def test_a_changed_spec_reruns_only_its_cells() -> None:
    """The net is another one, and the model's name and parameters are as they were."""
    cells = [make_cell(), make_cell(workload=make_workload("digits-mlp", {}))]
    bare = plan_session(cells, HOST, [], fresh=False)
    records = [Record(content=make_content(item.cell, [1.0], key=item.key)) for item in bare]
    changed = [make_cell(workload=deep_workload()), cells[1]]
    planned = plan_session(changed, HOST, records, fresh=False)
    assert [item.done is None for item in planned] == [True, False]


def fail_at(call: int, error: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that fails from its `call`-th call on, counted from 1, as a system call does."""
    calls = []

    def act(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) >= call:
            raise OSError(error, os.strerror(error))
        return real(*arguments, **options)

    return act


def test_a_disk_that_fills_up_stops_the_session_and_loses_one_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [make_cell(repeat=repeat) for repeat in range(2)]
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fail_at(3, errno.ENOSPC, os.fsync))
        with pytest.raises(UserError, match=r"No space left on device\)\. Free some space and start again: finished"):
            run(cells, tmp_path)
    assert [record.content["cell"]["repeat"] for record in read_records(tmp_path)] == [0]
    assert [path.suffix for path in tmp_path.glob("*/*")] == [".json"]
    assert run(cells, tmp_path)[1].begun == cells[1:]
    assert len(list(read_records(tmp_path))) == len(newest_by_key(read_records(tmp_path))) == 2


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
def test_a_folder_that_may_not_be_written_stops_before_anything_runs(
    error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = Silent()
    planned = plan_session([make_cell()], HOST, [], fresh=False)
    monkeypatch.setattr(harness.records.tempfile, "mkstemp", fail_at(1, error, str))
    with pytest.raises(UserError, match=rf"{os.strerror(error)}\)\. Make the folder writable, or name another"):
        list(harness.session.run_session(planned, HOST, tmp_path, view, "s"))
    assert view.begun == []


def test_a_folder_that_takes_no_lock_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(UserError, match=r"cannot be written \(Is a directory\)"), hold_results(tmp_path):
        pass
    (tmp_path / ".lock").rmdir()
    monkeypatch.setattr(fcntl, "flock", fail_at(1, errno.ENOLCK, print))
    with pytest.raises(UserError, match=r"cannot be written \(No locks available\)"), hold_results(tmp_path):
        pass


def test_what_a_killed_runner_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / "machine").mkdir()
    for folder in (tmp_path, tmp_path / "machine"):
        (folder / ".partial-x").write_text('{"schema"')
    (tmp_path / "machine" / "whole.json").write_text("{}")
    with hold_results(tmp_path):
        assert [path.name for path in (tmp_path / "machine").iterdir()] == ["whole.json"]


def test_a_stop_right_after_a_write_is_no_fault_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace_and_stop(self: Path, target: Path) -> None:
        self.rename(target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", replace_and_stop)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", "whole")
    assert (tmp_path / "file").read_text() == "whole"


def start(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "runner.py", *arguments]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen[Any]) -> int:
    """Return the process number in a file, once it is there."""
    while not (path.exists() and path.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return int(path.read_text())


def is_free(lock: IO[Any]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_a_second_runner_is_turned_away_until_the_first_is_gone(tmp_path: Path) -> None:
    note, results, matrix = tmp_path / "pid", tmp_path / "results", tmp_path / "matrix.yaml"
    body = f"open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    content = "tools: ['null']\ndevices: [cpu]\nmodels: [{model: digits-mlp, epochs: 1}]\n"
    matrix.write_text(content + f"environments: {{'null': {write_broken_tool(tmp_path, 'forward', body)}}}\n")
    arguments = ["--matrix", str(matrix), "--results", str(results)]
    with start(arguments) as first:
        wait_for(note, first)
        with start(arguments) as second:
            _, errors = second.communicate()
        assert second.returncode == 2
        assert errors == (
            f"error: another runner is at work on results {results}; accepted: one at a time, because two would "
            "disturb each other's measurements. Wait until it has finished.\n"
        )
        first.kill()
    matrix.write_text(content)
    with start(arguments) as third:
        _, errors = third.communicate()
    assert (third.returncode, errors) == (0, "")
    assert [record.status for record in read_records(results)] == ["ok"]


def test_an_install_that_outlives_its_runner_is_waited_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one who takes over would otherwise remove and make the folder into which uv still writes."""
    note, requirements, uv = tmp_path / "pid", tmp_path / "tiny.txt", tmp_path / "uv"
    requirements.write_text("tiny==1.0\n")
    uv.write_text(f"#!/bin/sh\necho $$ > {note}\nexec sleep 600\n")
    uv.chmod(0o755)
    program = (
        "import sys; from pathlib import Path; from harness.environments import ensure_environment; "
        f"sys.executable = {str(uv)!r}; ensure_environment(Path({str(requirements)!r}), '3.11', print)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT, stdout=subprocess.DEVNULL) as runner:
        installing = wait_for(note, runner)
        runner.kill()
    folder = environment_folder(requirements, "3.11")
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        assert not is_free(lock)
        os.kill(installing, 9)
        while not is_free(lock):
            time.sleep(0.02)
