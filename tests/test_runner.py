"""The command line as a user meets it: exit codes, messages, files."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.plan import Cell
from harness.records import read_records, write_record
from harness.tables import render_markdown
from runner import main
from tests.helpers import make_cell, make_content

PROJECT = Path(__file__).parent.parent
MATRIX = "tools: ['null']\ndevices: [cpu]\nmodels: [{model: [digits-cnn, digits-mlp], epochs: 1}]\n"

pytestmark = pytest.mark.usefixtures("home", "quiet_machine")


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    path = tmp_path / "matrix.yaml"
    path.write_text(MATRIX)
    return path


def written(results: Path) -> str:
    """What a report names as written."""
    names = ("README.md", "index.html", "cells.csv", "cells.parquet")
    return "".join(f"written: {results / name}\n" for name in names)


def test_a_run_fills_the_matrix_and_prints_the_tables_it_writes(
    matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    assert main(["--matrix", str(matrix), "--results", str(results)]) == 0
    printed = capsys.readouterr().out
    table = (results / "README.md").read_text()
    assert table in printed
    assert table == render_markdown(read_records(results))
    assert "| null " in table
    assert len(list(read_records(results))) == 2


def test_a_quiet_run_prints_failures_and_what_was_written_alone(
    matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    arguments = ["--matrix", str(matrix), "--results", str(results), "--quiet"]
    assert main(arguments) == 0
    assert capsys.readouterr() == (written(results), "")
    matrix.write_text(MATRIX.replace("null", "mxnet") + f"environments: {sys.executable}\n")
    assert main([*arguments, "--only", "model=digits-mlp"]) == 1
    printed = capsys.readouterr()
    assert printed.out == written(results)
    assert printed.err.startswith("mxnet · cpu · digits-mlp epochs=1 · batch 32 failed: ")
    assert printed.err.count("\n") == 1
    matrix.write_text("")
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_log_gets_lines_even_where_colours_are_forced(
    matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert main(["--matrix", str(matrix), "--results", str(tmp_path / "results")]) == 0
    printed = capsys.readouterr().out
    assert "null · cpu · digits-cnn epochs=1 · batch 32 ok: trained" in printed
    assert "\x1b[?25l" not in printed


def pretend_to_prove(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make no environment, and call everything proven."""

    def prove(cells: Any, interpreters: Any, host: Any, show: Any) -> dict[Cell, Any]:
        show("proving\x1b[2J")
        return {cell: {"level": "S3", "reason": None, "supported": True, "findings": []} for cell in cells}

    monkeypatch.setattr("runner.prepare_environments", lambda cells, show: show("making") or {})
    monkeypatch.setattr("runner.prove_cells", prove)


def test_an_audit_proves_each_precision(
    matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_to_prove(monkeypatch)
    matrix.write_text(MATRIX.replace("null", "torch") + "precisions: [float32, bfloat16]\n")
    assert main(["audit", "--matrix", str(matrix), "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" · bfloat16: S3\n") == printed.count(" · float32: S3\n") == 2
    assert printed.endswith("4 of 4 proofs hold: the net is the same\n")


@pytest.mark.parametrize("place", [0, 1], ids=["before", "after"])
def test_report_and_audit_can_be_quiet(
    place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(tmp_path, make_content(make_cell("torch"), [2.0, 1.0]))
    report, audit = (
        ["report", "--results", str(tmp_path)],
        ["audit", "--only", "tool=torch", "--results", str(tmp_path)],
    )
    report.insert(place, "--quiet")
    audit.insert(place, "--quiet")
    assert main(report) == 0
    assert capsys.readouterr() == (written(tmp_path), "")

    pretend_to_prove(monkeypatch)
    last = "2 of 2 proofs hold: the net is the same\n"
    assert main(audit) == 0
    assert capsys.readouterr() == (last, "")
    audit.remove("--quiet")
    assert main(audit) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("making\nproving\\x1b[2J\ntorch · cpu · digits-cnn · float32: S3\n")
    assert printed.endswith(last)


def test_nobody_reading_any_more_is_no_traceback(tmp_path: Path) -> None:
    write_record(tmp_path, make_content(make_cell("torch"), [2.0, 1.0]))
    nobody, closed = os.pipe()
    os.close(nobody)
    command = [sys.executable, "runner.py", "report", "--results", str(tmp_path)]
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}
    finished = subprocess.run(command, cwd=PROJECT, env=buffered, stdout=closed, stderr=subprocess.PIPE, text=True)
    os.close(closed)
    assert (finished.returncode, finished.stderr) == (1, "")


def test_a_second_start_has_nothing_to_do(matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--matrix", str(matrix), "--results", str(tmp_path / "results")]
    main(arguments)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*/*.json")}
    capsys.readouterr()
    assert main(arguments) == 0
    assert "null · cpu" not in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*/*.json")} == before


def test_a_plan_is_printed_and_nothing_runs(matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    assert main(["--matrix", str(matrix), "--results", str(results), "--plan", "--repeats", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "null · cpu · digits-cnn epochs=1 · batch 32 · to run",
        "null · cpu · digits-mlp epochs=1 · batch 32 · to run",
        "null · cpu · digits-cnn epochs=1 · batch 32 · repeat 2 · to run",
        "null · cpu · digits-mlp epochs=1 · batch 32 · repeat 2 · to run",
    ]
    assert not results.exists()


def test_only_runs_a_part(matrix: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    main(["--matrix", str(matrix), "--results", str(results), "--only", "model=digits-mlp"])
    assert [record.content["cell"]["model"] for record in read_records(results)] == ["digits-mlp epochs=1"]


def test_a_failed_cell_makes_the_exit_code_1(matrix: Path, tmp_path: Path) -> None:
    matrix.write_text(MATRIX.replace("null", "mxnet") + f"environments: {sys.executable}\n")
    assert main(["--matrix", str(matrix), "--results", str(tmp_path / "results")]) == 1
    (record, _) = read_records(tmp_path / "results")
    assert record.status == "failed"
    assert "No module named 'mxnet'" in str(record.content["reason"])


def test_absent_cells_are_no_failure_unless_strict(matrix: Path, tmp_path: Path) -> None:
    matrix.write_text(MATRIX + "exclude: [{tool: 'null', because: for the test}]\n")
    arguments = ["--matrix", str(matrix), "--results", str(tmp_path / "results")]
    assert main(arguments) == 0
    assert main([*arguments, "--strict"]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tools": "[pytorch]"}, "error: unknown tool 'pytorch' at tools[0]; accepted: jax,"),
        ({"models": "[mnist-cnn]"}, "could not be downloaded"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    change: dict[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"tools": "['null']", "devices": "[cpu]", "models": "[digits-cnn]"} | change
    path = tmp_path / "matrix.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in content.items()))
    assert main(["--matrix", str(path), "--results", str(tmp_path / "results")]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert list(read_records(tmp_path / "results")) == []


def test_fast_runs_each_cell_once_and_rigorous_five_times_at_least(matrix: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    matrix.write_text(MATRIX + "repeats: 2\n")
    assert main(["--matrix", str(matrix), "--results", str(results), "--fast"]) == 0
    assert [record.content["cell"]["repeat"] for record in read_records(results)] == [0, 0]
    assert main(["--matrix", str(matrix), "--results", str(results), "--rigorous"]) == 0
    repeats = sorted(record.content["cell"]["repeat"] for record in read_records(results))
    assert repeats == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_rigorous_run_goes_on_where_a_ratio_is_not_known(
    matrix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def once_more(measured: list[tuple[Cell, dict[str, Any]]]) -> list[Cell]:
        asked.append(len(measured))
        return [replace(measured[0][0], repeat=5)] if len(asked) == 1 else []

    monkeypatch.setattr("runner.next_round", once_more)
    assert main(["--matrix", str(matrix), "--results", str(tmp_path / "results"), "--rigorous"]) == 0
    assert asked == [10, 11]
    assert len(list(read_records(tmp_path / "results"))) == 11


def test_an_unreadable_record_stops_before_anything_runs(
    matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "broken.json").write_text("{")
    assert main(["--matrix", str(matrix), "--results", str(results)]) == 2
    assert "broken.json cannot be read" in capsys.readouterr().err
    assert main(["report", "--results", str(results)]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--matrx", "x"],
        ["--plan", "report"],
        ["--results", "x", "doctor"],
        ["--repeats", "two"],
        ["--fast", "--rigorous"],
        ["report", "--only", "tool=torch"],
        ["--matrix", "x", "doctor"],
        ["--quiet", "doctor"],
    ],
)
def test_an_option_that_does_not_belong_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_report_needs_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--results", str(tmp_path / "none")]) == 2
    assert "none is no folder; accepted: a folder of records" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["--results", str(tmp_path / "file")]) == 2
    assert "is a file; accepted: a folder" in capsys.readouterr().err


def test_report_writes_tables_page_and_cells_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(tmp_path, make_content(make_cell("torch"), [2.0, 1.0]))
    assert main(["--results", str(tmp_path), "report"]) == 0
    assert capsys.readouterr().out == written(tmp_path)
    assert "| torch  |       3.00 |" in (tmp_path / "README.md").read_text()
    assert '"torch"' in (tmp_path / "index.html").read_text()
    assert list(pd.read_csv(tmp_path / "cells.csv")["train_s"]) == [3.0]
    assert list(pd.read_parquet(tmp_path / "cells.parquet")["tool"]) == ["torch"]


def test_report_draws_the_pictures_of_a_matrix(
    matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, pictures = tmp_path / "results", tmp_path / "pictures"
    main(["--matrix", str(matrix), "--results", str(results)])
    capsys.readouterr()
    arguments = ["--matrix", str(matrix), "--only", "model=digits-mlp", "--quiet"]
    assert main(["report", "--results", str(results), *arguments, "--pictures", str(pictures)]) == 0
    drawn = sorted(pictures.iterdir())
    assert sorted(capsys.readouterr().out.splitlines()) == [f"written: {path}" for path in drawn]
    assert all(path.suffix == ".svg" and "digits-mlp" in path.name for path in drawn)


def test_report_of_a_matrix_prints_its_tables_alone(
    matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    main(["--matrix", str(matrix), "--results", str(results)])
    (results / "README.md").unlink()
    capsys.readouterr()
    assert main(["report", "--matrix", str(matrix), "--only", "model=digits-mlp", "--results", str(results)]) == 0
    printed = capsys.readouterr().out
    assert "digits-mlp" in printed
    assert "digits-cnn" not in printed
    assert not (results / "README.md").exists()


def test_report_of_a_matrix_that_was_not_run_says_so(
    matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(tmp_path, make_content(make_cell("torch"), [2.0, 1.0]))
    assert main(["report", "--matrix", str(matrix), "--results", str(tmp_path)]) == 2
    assert "holds no record of" in capsys.readouterr().err


def test_doctor_says_what_is_here_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert (
        "tool torch (PyTorch, eager) on cpu: not installed yet: the first run makes it from requirements/torch.txt"
        in printed
    )
    assert "tool mxnet (MXNet Gluon, hybridised) on gpu: unsupported: MXNet 1.9.1" in printed
    assert "data digits: here" in printed
    assert "data mnist: not here; the first run downloads it" in printed


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_runner_ends_cleanly_and_keeps_what_is_done(stop: signal.Signals, tmp_path: Path) -> None:
    """A real runner, stopped while a worker hangs: no traceback, no orphan, the finished cell is kept."""
    pid_file = tmp_path / "pid"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit 1\necho $$ > {pid_file}\nexec sleep 600\n')
    python.chmod(0o755)
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(
        "tools: ['null', torch]\ndevices: [cpu]\nmodels: [{model: digits-cnn, epochs: 1}]\n"
        f"environments: {{torch: {python}}}\n"
    )
    results = tmp_path / "results"
    command = [sys.executable, "runner.py", "--matrix", str(matrix), "--results", str(results)]
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has its children ignore the signal.
        preexec_fn=lambda: signal.signal(stop, signal.SIG_DFL),
    ) as process:
        while not (pid_file.exists() and pid_file.read_text().strip()):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(stop)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == "stopped; finished cells are kept, and the next start goes on from here\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert "| null " in (results / "README.md").read_text()
    (kept,) = results.glob("*/*.json")
    assert json.loads(kept.read_text())["cell"]["tool"] == "null"


def test_a_page_that_cannot_be_written_is_told_as_the_tables_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(tmp_path, make_content(make_cell("torch"), [2.0, 1.0]))
    (tmp_path / "index.html").mkdir()
    assert main(["--results", str(tmp_path), "report"]) == 2
    assert "index.html cannot be written (Is a directory)" in capsys.readouterr().err
    assert "| torch " in (tmp_path / "README.md").read_text()
