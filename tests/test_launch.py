"""Workers that succeed, crash, hang, run out of memory or talk nonsense, and what is left of them."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness.launch
from harness.data import prepare
from harness.host import available_cores
from harness.launch import child_environment, launch_worker, start_child
from harness.places import PROJECT
from harness.recording import time_ledger
from tests.helpers import make_cell, make_step_cell, noisy, write_broken_tool, write_interpreter, write_patched_worker
from workloads.initial import step_labels

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def data(home: Path) -> Path:
    return prepare(make_cell().workload.data)[0]


def launch(python: str, data: Path, **changes: object):
    return launch_worker(make_cell(**changes), 1, python, data, lambda event: None)


ROUNDED = """
import numpy as np

def multiply(self, a, b, times):
    for _ in range(times):
        a = (short(a) @ short(b)).astype(np.float32)
    return a

worker.load_adapter = lambda tool: null_adapter.NullAdapter
null_adapter.NullModel.matmul = multiply
"""
SHORT = """
def short(x):
    return (x.view(np.uint32) & 0xFFFF0000).view(np.float32)
"""
WHOLE = """
def short(x):
    return x
"""


@pytest.mark.parametrize(("label", "real", "found"), [("float32", SHORT, "bfloat16"), ("bfloat16", WHOLE, "float32")])
def test_a_cell_whose_products_contradict_its_label_has_failed(
    label: str, real: str, found: str, data: Path, tmp_path: Path
) -> None:
    python = write_patched_worker(tmp_path, ROUNDED + real)
    outcome = launch(python, data, tool="torch", precision=label)
    assert outcome.status == "failed"
    assert outcome.reason == f"the cell is labelled {label}, and its matrix products were {found}"
    honest = launch(python, data, tool="torch", precision=found)
    assert honest.status == "ok"
    assert honest.events[-1]["probe"]["precision"] == found
    assert honest.events[-1]["probe"]["peak_gflops"] > 0
    ledger = time_ledger(honest)
    assert ledger["total_s"] == pytest.approx(honest.total_s - ledger["probe_s"])
    assert ledger["probe_s"] > 0


def test_a_good_worker_sends_every_stage_and_a_result(data: Path) -> None:
    seen = []
    outcome = launch_worker(make_cell(), 1, sys.executable, data, seen.append)
    assert (outcome.status, outcome.reason) == ("ok", None)
    assert seen == outcome.events
    stages = [event["stage"] for event in seen if event["event"] == "stage"]
    assert stages == ["import", "device", "data", "weights", "build", "first_step", "evaluate"]
    assert [event["epoch"] for event in seen if event["event"] == "epoch"] == [0, 1]
    assert seen[-1]["error_rate"] == pytest.approx(0.9, abs=0.02)
    assert {"numpy", "pandas"} <= set(seen[-1]["packages"])


@pytest.mark.parametrize(
    ("measure", "loss"), [("forward", None), ("gradients", pytest.approx(2.302585)), ("train", pytest.approx(2.302585))]
)
def test_a_good_worker_sends_every_step(measure: str, loss: float | None, data: Path) -> None:
    outcome = launch_worker(make_step_cell(measure=measure), 1, sys.executable, data, lambda event: None)
    assert (outcome.status, outcome.reason) == ("ok", None)
    stages = [event["stage"] for event in outcome.events if event["event"] == "stage"]
    assert stages == ["import", "device", "data", "weights", "build", "data", "first_step"]
    steps = [event for event in outcome.events if event["event"] == "step"]
    assert [(step["step"], step["warmup"], step["loss"]) for step in steps] == [
        (place, place == 0, loss) for place in range(4)
    ]
    assert (outcome.events[-1]["error_rate"], outcome.events[-1]["loss"]) == (None, None)


def test_a_worker_that_hangs_after_its_result_has_no_total(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow = harness.launch._follow
    monkeypatch.setattr(harness.launch, "_follow", lambda *arguments: (follow(*arguments)[0], False))
    outcome = launch_worker(make_cell(), 1, sys.executable, data, lambda event: None)
    assert (outcome.status, outcome.total_s) == ("ok", None)
    ledger = time_ledger(outcome)
    assert (ledger["end_s"], ledger["other_s"], ledger["total_s"]) == (None, None, None)
    assert ledger["start_s"] is not None


def test_a_loss_that_is_no_number_ends_the_steps_and_keeps_them(data: Path, tmp_path: Path) -> None:
    python = write_broken_tool(
        tmp_path, "train_step", "self.n = getattr(self, 'n', 0) + 1; return 1 / (self.n < 3 or float('nan'))"
    )
    outcome = launch_worker(make_step_cell(), 1, python, data, lambda event: None)
    assert (outcome.status, outcome.reason) == ("diverged", "the loss of step 3 is nan")
    assert sum(event["event"] == "step" for event in outcome.events) == 3


def test_labels_of_noise_are_drawn_anew_for_every_step(data: Path, tmp_path: Path) -> None:
    note = tmp_path / "labels"
    python = write_broken_tool(
        tmp_path, "train_step", f"open({str(note)!r}, 'a').write(str(arguments[1].tolist()) + chr(10)); return 1.0"
    )
    workload = make_cell().workload
    cell = make_step_cell(workload=replace(workload, data=noisy(workload.data)), seed=5)
    assert launch_worker(cell, 1, python, data, lambda event: None).status == "ok"
    drawn = [step_labels(7, 32, 5, step).tolist() for step in range(4)]
    assert note.read_text().splitlines() == [str(labels) for labels in drawn]
    assert len({str(labels) for labels in drawn}) == 4
    assert {label for labels in drawn for label in labels} == set(range(7))


@pytest.mark.parametrize(
    ("method", "body", "status", "reason"),
    [
        ("train_batches", "raise MemoryError('9 GiB')", "out-of-memory", "MemoryError: 9 GiB"),
        ("train_batches", "raise RuntimeError('CUDA out of memory. Tried')", "out-of-memory", "CUDA out of memory"),
        ("train_batches", "raise ValueError('bad shape')", "failed", "ValueError: bad shape"),
        ("train_batches", "return float('nan')", "diverged", "the training loss of epoch 1 is nan"),
        ("forward", "os.kill(os.getpid(), signal.SIGSEGV)", "crashed", "ended by SIGSEGV"),
        ("forward", "os.kill(os.getpid(), signal.SIGKILL)", "crashed", "SIGKILL, not by the kernel"),
        ("forward", "os._exit(3)", "failed", "ended with exit code 3 and no result"),
    ],
)
def test_a_tool_that_fails_leaves_a_status_and_a_reason(
    method: str, body: str, status: str, reason: str, data: Path, tmp_path: Path
) -> None:
    outcome = launch(write_broken_tool(tmp_path, method, body), data)
    assert outcome.status == status
    assert reason in outcome.reason


def test_a_device_that_is_not_there_is_unavailable(data: Path, tmp_path: Path) -> None:
    patch = """
def start(self, **options):
    raise base.DeviceUnavailableError("no such card")
null_adapter.NullAdapter.__init__ = start
"""
    outcome = launch(write_patched_worker(tmp_path, patch), data)
    assert (outcome.status, outcome.reason) == ("unavailable", "no such card")


def test_a_tool_that_cannot_train_the_net_is_unsupported(data: Path, tmp_path: Path) -> None:
    patch = 'null_adapter.NullAdapter.supports = lambda self, workload, precision: "no convolutions"'
    outcome = launch(write_patched_worker(tmp_path, patch), data)
    assert (outcome.status, outcome.reason) == ("unsupported", "no convolutions")


def test_a_missing_framework_is_a_failure_with_its_name(data: Path, tmp_path: Path) -> None:
    outcome = launch(sys.executable, data, tool="mxnet")
    assert outcome.status == "failed"
    assert "No module named 'mxnet'" in outcome.reason


def test_a_worker_that_hangs_is_ended_with_its_children(data: Path, tmp_path: Path) -> None:
    note = tmp_path / "child"
    body = f"""
import subprocess
child = subprocess.Popen(["sleep", "600"])
open({str(note)!r}, "w").write(str(child.pid))
print("sleeping now", flush=True)
time.sleep(600)
"""
    outcome = launch(write_interpreter(tmp_path, body), data, time_limit_s=2)
    assert outcome.status == "timeout"
    assert "time limit of 2 s" in outcome.reason
    assert "sleeping now" in outcome.reason
    assert _is_gone(int(note.read_text()))


def test_children_of_a_finished_worker_are_ended(data: Path, tmp_path: Path) -> None:
    note = tmp_path / "child"
    body = f"""
import subprocess
child = subprocess.Popen(["sleep", "600"], pass_fds=[fd])
open({str(note)!r}, "w").write(str(child.pid))
"""
    outcome = launch(write_interpreter(tmp_path, body), data)
    assert outcome.status == "failed"
    assert _is_gone(int(note.read_text()))


def _is_gone(pid: int) -> bool:
    """Whether a process is no more, or a zombie that nobody has reaped; it may take a moment to die."""
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    return False


@pytest.mark.parametrize(
    "line",
    [
        "Segmentation fault?",
        "[1, 2]",
        '{"event": "epoch", "at": 1}',
        '{"event": {}, "at": 1}',
        '{"event": "failure", "at": 1}',
        '{"event": "result", "at": 1}',
        '{"event": "surprise", "at": 1}',
    ],
)
def test_nonsense_in_the_event_pipe_is_a_failure(line: str, data: Path, tmp_path: Path) -> None:
    outcome = launch(write_interpreter(tmp_path, f"os.write(fd, {line.encode()!r} + bytes([10]))"), data)
    assert outcome.status == "failed"
    assert line in outcome.reason


def test_a_line_that_was_cut_off_hides_no_crash(data: Path, tmp_path: Path) -> None:
    body = 'os.write(fd, b\'{"event": "ep\')\nos.kill(os.getpid(), signal.SIGKILL)'
    outcome = launch(write_interpreter(tmp_path, body), data)
    assert outcome.status == "crashed"


def test_an_interpreter_that_cannot_be_started_is_a_failure(data: Path) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    outcome = launch("/etc/passwd", data)
    assert (outcome.status, outcome.reason) == ("failed", "/etc/passwd cannot be started: Permission denied")
    assert outcome.total_s is None
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_grandchild_that_got_away_does_not_hold_up_the_time_limit(data: Path, tmp_path: Path) -> None:
    note = tmp_path / "child"
    body = f"""
import subprocess
child = subprocess.Popen(["sleep", "600"], pass_fds=[fd], start_new_session=True)
open({str(note)!r}, "w").write(str(child.pid))
time.sleep(600)
"""
    outcome = launch(write_interpreter(tmp_path, body), data, time_limit_s=2)
    assert outcome.status == "timeout"
    os.kill(int(note.read_text()), signal.SIGKILL)


def test_a_worker_dies_with_its_parent(data: Path, tmp_path: Path) -> None:
    """A parent that is killed closes the worker's standard input, which the worker waits for."""
    note = tmp_path / "worker"
    python = write_broken_tool(
        tmp_path, "forward", f"open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    program = (
        "import sys; from pathlib import Path; from tests.helpers import make_cell; "
        "from harness.launch import launch_worker; "
        f"launch_worker(make_cell(), 1, {python!r}, Path({str(data)!r}), print)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT, stdout=subprocess.DEVNULL)
    while not (note.exists() and note.read_text()):
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    assert _is_gone(int(note.read_text()))


def test_what_a_framework_prints_does_no_harm(data: Path, tmp_path: Path) -> None:
    python = write_broken_tool(tmp_path, "synchronize", 'print(\'{"event": "result"}\', flush=True)')
    outcome = launch(python, data)
    assert outcome.status == "ok"
    assert outcome.log[-1] == '{"event": "result"}'


def test_a_worker_is_born_with_its_cores_and_a_clean_environment(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    before = available_cores()
    body = "print(sorted(os.sched_getaffinity(0)), os.environ.get('PYTHONPATH'), os.environ['OMP_NUM_THREADS'])"
    outcome = launch(write_interpreter(tmp_path, body), data)
    assert outcome.log == [f"{before[:1]} None 1"]
    assert available_cores() == before


def test_keras_is_told_its_backend_and_a_cpu_cell_sees_no_gpu(tmp_path: Path) -> None:
    environment = child_environment("keras-jax", "cpu", 3, tmp_path)
    assert environment["KERAS_BACKEND"] == "jax"
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert "KERAS_BACKEND" not in child_environment("torch", "cpu", 3, tmp_path)


def test_a_signal_while_a_worker_starts_ends_it(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes as early as it can: the worker has been started, and nobody follows it yet.

    A shell lets its background jobs ignore SIGINT, so the handler is set here.
    """
    started = []

    def start_and_interrupt(*arguments: Any) -> Any:
        started.append(start_child(*arguments))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr("harness.launch.start_child", start_and_interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            launch_worker(make_cell(), 1, write_interpreter(tmp_path, "time.sleep(1000)"), data, lambda event: None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert started[0][0].returncode == -signal.SIGKILL


def test_what_a_worker_leaves_behind_is_in_its_scratch(tmp_path: Path) -> None:
    environment = child_environment("torch-compile", "cpu", 1, tmp_path)
    for name in ("TMPDIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "XDG_CACHE_HOME", "KERAS_HOME"):
        assert Path(environment[name]).is_relative_to(tmp_path), name
