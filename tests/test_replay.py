"""Records that are run again: with the null tool, and with interpreters that pass for a tool's environment."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness.replay
from harness.environments import EnvironmentFailedError
from harness.records import read_record, write_record
from harness.replay import (
    compare_losses,
    describe_replay,
    judge_time,
    lock_text,
    rebuild_cell,
    replay,
    stored_runs_s,
)
from harness.session import plan_session, run_session
from runner import main
from tests.helpers import HOST, Silent, make_cell, make_content, make_step_cell, make_step_content, write_interpreter
from workloads import make_workload
from workloads.errors import UserError

pytestmark = pytest.mark.usefixtures("home")

FAKE_TORCH = """
sys.argv = [sys.argv[0], sys.argv[3]]
sys.path.insert(0, os.getcwd())
from frameworks import null_adapter, worker
worker.load_adapter = lambda tool: null_adapter.NullAdapter
worker.probe_model = lambda model, precision: {"precision": precision, "peak_gflops": 100.0}
worker.installed_packages = lambda: {"torch": "2.13.0+cpu", "Jinja2": "3.1.6"}
sys.exit(worker.main())
"""


@pytest.fixture
def torch(tmp_path: Path) -> str:
    """An interpreter that passes for one with PyTorch."""
    return write_interpreter(tmp_path, FAKE_TORCH)


def measure(folder: Path, tool: str = "null", **changes: Any) -> Path:
    """Run a cell for its record and return its path."""
    planned = plan_session([make_cell(tool, **changes)], HOST, [], fresh=False)
    (content,) = run_session(planned, HOST, folder, Silent(), "s")
    assert content["status"] == "ok"
    return next(path for path in folder.glob("*/*.json") if read_record(path).content == content)


def rewrite(path: Path, **parts: dict[str, Any]) -> Path:
    """Change parts of a stored record."""
    content = json.loads(path.read_text())
    for part, values in parts.items():
        content[part] = content[part] | values
    path.write_text(json.dumps(content))
    return path


def replayed(path: Path) -> tuple[int, list[str]]:
    lines: list[str] = []
    return replay(path, HOST, lines.append), lines


def test_a_record_of_the_null_tool_comes_out_the_same(tmp_path: Path) -> None:
    path = measure(tmp_path, cores=1)
    code, lines = replayed(path)
    assert code == 0
    assert lines[0] == "running null · cpu with 1 of its cores · digits-cnn epochs=2 · batch 32"
    assert lines[-3:-1] == ["error rate: equal, 90.00 %", "loss: equal in all of 2 epochs"]
    assert "the one stored run" in lines[-1]
    assert "no verdict" in lines[-1]
    assert [file.name for file in tmp_path.glob("*/*.json")] == [path.name]


@pytest.mark.parametrize(
    ("stored_s", "verdict"), [((1e-9, 1e9), "inside 1e-09 – 1e+09 s"), ((1e8, 1e9), "outside 1e+08 – 1e+09 s")]
)
def test_it_says_whether_the_time_is_inside(
    stored_s: tuple[float, float], verdict: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for repeat, train_s in enumerate(stored_s):
        path = rewrite(measure(tmp_path, repeat=repeat), time={"train_s": train_s})
    assert main(["replay", str(path)]) == 0
    assert f"{verdict}, the interval of 2 stored runs" in capsys.readouterr().out


def test_steps_are_replayed_by_their_median(tmp_path: Path) -> None:
    path = measure(tmp_path, measure="train", steps=make_step_cell().steps)
    code, lines = replayed(path)
    assert code == 0
    assert lines[-2] == "loss: equal in all of 4 steps"
    assert not any(line.startswith("error rate") for line in lines)


def test_a_new_run_is_judged_by_the_least_and_the_most_of_the_stored_ones() -> None:
    """Of five runs any is the least or the most with probability 1/5 each, so 3/5 are left for the middle."""
    assert judge_time(2.5, [3.0, 1.0, 2.0, 2.0]) == (
        "time: 2.5 s, inside 1 – 3 s, the interval of 4 stored runs, where a new run lies with probability 0.60 if "
        "nothing has changed"
    )
    assert "3 s, inside 1 – 3 s" in judge_time(3.0, [1.0, 3.0])
    assert judge_time(3.5, [1.0, 3.0]) == (
        "time: 3.5 s, outside 1 – 3 s, the interval of 2 stored runs, where a new run lies with probability 0.33 if "
        "nothing has changed"
    )


def test_one_stored_run_gives_a_ratio_and_no_verdict() -> None:
    assert judge_time(3.0, [2.0]) == "time: 3 s, 1.500 times the one stored run's 2 s; no verdict from one run"


def test_only_runs_of_the_very_same_cell_are_its_interval(tmp_path: Path) -> None:
    cell = make_cell("torch", cores=2)
    content = make_content(cell, [2.0, 1.0])
    others = [
        make_content(make_cell("torch", cores=2, repeat=1), [256.0, 1.0]) | {"finished_at": "2025-12-31T00:00Z"},
        make_content(make_cell("torch", cores=2, repeat=1, time_limit_s=9), [4.0, 1.0]),
        make_content(make_cell("torch", cores=2, seed=1), [8.0, 1.0]),
        make_content(make_cell("jax", cores=2), [16.0, 1.0]),
        make_content(cell, [32.0, 1.0]) | {"versions": {"python": "3.11.7", "packages": {"numpy": "3"}}},
        make_content(cell, [64.0, 1.0]) | {"status": "failed", "finished_at": "2026-12-31T00:00Z"},
        make_content(cell, [128.0, 1.0]) | {"host": HOST | {"machine": "another"}},
    ]
    for number, one in enumerate([content, *others]):
        write_record(tmp_path, one | {"key": f"{number}"})
    records = [read_record(path) for path in tmp_path.glob("*/*.json")]
    assert sorted(stored_runs_s(content, records)) == [3.0, 5.0]


def test_a_replay_that_learns_less_is_not_sound() -> None:
    stored = make_content(make_cell("torch"), [2.0, 1.0], error_rate=0.01)
    assert describe_replay(stored, make_content(make_cell("torch"), [9.0, 1.0], error_rate=0.03), [3.0])[1]
    lines, is_sound = describe_replay(stored, make_content(make_cell("torch"), [2.0, 1.0], error_rate=0.05), [3.0])
    assert not is_sound
    assert "error rate: 0.01 then, 0.05 now" in lines


def test_how_far_losses_are_off_is_said() -> None:
    assert compare_losses([2.0, 1.0, 0.5, 0.25], [2.0, 1.25, 0.5, 0.125], "epochs") == (
        "loss: other in 2 of 4 epochs, from number 2 on; by 0.25 at most, in number 2, 1 then, 1.25 now"
    )
    assert compare_losses([None, 1.0, None], [1.0, 1.0], "steps") == "loss: equal in all of 1 steps"
    assert compare_losses([None], [None], "steps") == "loss: there is none"


def test_what_has_changed_since_is_said() -> None:
    stored = make_content(make_cell("torch"), [2.0, 1.0])
    again = make_content(make_cell("torch"), [2.0, 1.0], error_rate=0.02)
    again["versions"] = {"python": "3.11.8", "packages": {"torch": "2"}}
    again["fingerprints"] = again["fingerprints"] | {"adapter": "f" * 64}
    again["canary"] = again["canary"] | {"gflops": 80.0}
    again["host"] = HOST | {"machine": "another", "cpu": "Slowium"}
    lines, is_sound = describe_replay(stored, again, [3.0])
    assert is_sound
    assert lines == [
        "changed since: the machine, Testium 9000 with 4 cores then, Slowium with 4 now",
        "changed since: the machine's speed, 100 GFLOP/s then, 80 now",
        "changed since: the source of its adapter",
        "changed since: numpy, 2 then, not there now",
        "changed since: Python, 3.11.7 then, 3.11.8 now",
        "changed since: torch, not there then, 2 now",
        "error rate: 0.01 then, 0.02 now",
        "loss: equal in all of 2 epochs",
        "time: 3 s, 1.000 times the one stored run's 3 s; no verdict from one run",
    ]


@pytest.mark.parametrize(
    "cell",
    [
        make_cell(cores=2, repeat=3, seed=7, workload=make_workload("digits-mlp", {"units": 8, "dropout": 0.5})),
        make_cell("torch", cores=1, workload=make_workload("digits-cnn", {"target_error_rate": 0.05})),
        make_step_cell("jax", "gradients", cores=2, workload=replace(make_workload("digits-cnn", {}), batch_size=7)),
    ],
)
def test_the_cell_of_a_record_is_rebuilt(cell: Any) -> None:
    content = make_step_content(cell, [1.0, 1.0]) if cell.steps else make_content(cell, [1.0])
    kept = json.loads(json.dumps(content))
    kept["cell"]["cores"] = cell.cores
    assert rebuild_cell(kept, Path("r.json")) == cell


def test_the_environment_is_made_from_the_recorded_packages(
    torch: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = measure(tmp_path / "results", "torch", environment=torch)
    made = []

    def make(lock: Path, python: str, show: Any, *, exactly: bool) -> Path:
        made.append((lock.read_text(), python, exactly))
        assert lock.is_relative_to(home / "locks")
        assert lock.name == "torch.txt"
        return Path(torch)

    monkeypatch.setattr(harness.replay, "ensure_environment", make)
    monkeypatch.setattr(harness.replay, "has_python", lambda version: True)
    code, lines = replayed(path)
    assert code == 0
    python = read_record(path).content["versions"]["python"]
    assert made == [("Jinja2==3.1.6\ntorch==2.13.0+cpu\n", python, True)]
    assert not any("torch," in line or "Jinja2," in line for line in lines)


@pytest.mark.parametrize("numpy", ["2.4.6", "2.4.5"])
def test_a_managed_environment_is_used_only_if_it_holds_the_same(
    numpy: str, torch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def make(lock: Path, python: str, show: Any, *, exactly: bool) -> Path:
        made.append(lock)
        return lock

    monkeypatch.setattr(harness.replay, "find_environment", lambda requirements, python: Path(torch))
    monkeypatch.setattr(harness.replay, "installed_packages", lambda python: {"python": "3.11.7", "numpy": "2.4.6"})
    monkeypatch.setattr(harness.replay, "has_python", lambda version: True)
    monkeypatch.setattr(harness.replay, "ensure_environment", make)
    versions = {"python": "3.11.7", "packages": {"numpy": numpy}}
    found = harness.replay.find_interpreter(make_cell("torch"), versions, str)
    assert (found, made) == ((torch, []) if numpy == "2.4.6" else (str(made[0]), made))


def test_an_environment_that_cannot_be_made_is_a_failure_with_advice(
    torch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = measure(tmp_path / "results", "torch", environment=torch)

    def fail(*arguments: object, exactly: bool) -> Path:
        raise EnvironmentFailedError("no such version")

    monkeypatch.setattr(harness.replay, "ensure_environment", fail)
    monkeypatch.setattr(harness.replay, "has_python", lambda version: True)
    code, lines = replayed(path)
    assert code == 1
    assert lines[-1].startswith("failed: its environment could not be made: no such version. What no index has")


def test_a_run_that_fails_is_a_failure(torch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = measure(tmp_path / "results", "torch", environment=torch)
    monkeypatch.setattr(harness.replay, "find_interpreter", lambda *arguments: sys.executable)
    code, lines = replayed(path)
    assert code == 1
    assert lines[-1].startswith("failed: it cannot be imported: ModuleNotFoundError: No module named 'torch'")


def test_a_python_that_is_not_here_is_said(torch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = measure(tmp_path / "results", "torch", environment=torch)
    rewrite(path, versions={"python": "3.11.99"})
    monkeypatch.setattr(harness.replay, "has_python", lambda version: False)
    with pytest.raises(UserError, match=r"Python 3\.11\.99 is not here; .* uv python install 3\.11\.99"):
        replayed(path)


@pytest.mark.parametrize(
    ("name", "version"), [("-r /etc/passwd", "1"), ("numpy", "2 @ https://e.org/x.whl"), ("--pre", "1"), ("a\nb", "1")]
)
def test_a_lock_holds_nothing_but_names_and_versions(name: str, version: str) -> None:
    with pytest.raises(UserError, match="accepted: letters, digits and"):
        lock_text({name: version})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"fingerprints": {"data": "0" * 64}}, "data digits is not what .* was measured on; accepted: the same bytes"),
        ({"fingerprints": {"spec": "0" * 64}}, "Check out the version that it was measured with"),
        (
            {"fingerprints": {"spec": "0" * 64}, "host": {"git": {"commit": "abc123", "clean": True}}},
            r"digits-cnn epochs=2 is another workload now .* Check out commit abc123 and start again",
        ),
        ({"cell": {"device": "gpu"}}, r"cannot be run here: no NVIDIA GPU here \(test\)"),
        ({"cell": {"cores": 999}}, "cannot be run here: 999 cores were asked for and"),
        ({"cell": {"tool": "theano"}}, "unknown tool 'theano' at .*; accepted: jax"),
        (
            {"cell": {"workload": {"name": None, "parameters": {}}}},
            "does not say which workload it ran, as none did before schema 4",
        ),
    ],
)
def test_a_record_that_cannot_be_replayed_here_is_refused(
    parts: dict[str, dict[str, Any]], message: str, tmp_path: Path
) -> None:
    path = rewrite(measure(tmp_path), **parts)
    with pytest.raises(UserError, match=message):
        replayed(path)


def test_only_a_whole_result_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = measure(tmp_path)
    path.write_text(path.read_text().replace('"status": "ok"', '"status": "timeout"'))
    with pytest.raises(UserError, match=r"is timeout; accepted: one that is ok"):
        replayed(path)
    assert main(["replay", str(tmp_path)]) == 2
    assert "is no JSON file; accepted: one of a results folder" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["replay"], ["--fresh", "replay", "r.json"], ["replay", "a.json", "b.json"]])
def test_replay_takes_one_record_and_no_option(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
