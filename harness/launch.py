"""Starts a worker for one cell, follows its events, keeps its time limit and ends its whole process group."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from frameworks import TOOLS
from frameworks.base import Device
from harness.host import available_cores, visible_gpu
from harness.places import PROJECT
from harness.plan import Cell
from harness.telemetry import GpuWatch
from workloads.spec import to_json

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH")
"""The environment variables a worker gets from the runner's; all others are stated in `child_environment`."""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals by which people and systems stop the runner."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
LOG_LINES = 20
JOIN_S = 2.0
"""How long to wait for a thread that reads a pipe which a runaway grandchild may hold open for ever."""
EVENT_FIELDS: dict[str, set[str]] = {
    "started": set(),
    "training": set(),
    "stage": {"stage", "wall_s", "process_s"},
    "epoch": {"epoch", "samples", "loss", "wall_s", "process_s"},
    "step": {"step", "warmup", "loss", "wall_s", "process_s"},
    "result": {"error_rate", "loss", "process_s", "rss_bytes", "peak_memory_bytes", "python", "packages"},
    "failure": {"status", "reason"},
}
"""The events of a worker and what each must hold besides `at`."""

Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a worker ended: status and reason, its events, its last log lines, and seconds from its start to its exit.

    `total_s` is None where no worker was started.
    """

    status: str
    reason: str | None
    events: list[Event]
    log: list[str]
    total_s: float | None
    gpu_pct: float | None


def without_worker(status: str, reason: str) -> Outcome:
    """Return the outcome of a cell for which no worker was started."""
    return Outcome(status=status, reason=reason, events=[], log=[], total_s=None, gpu_pct=None)


def passed_on_environment() -> dict[str, str]:
    """Return what a child gets of the runner's own environment."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def child_environment(tool: str, device: Device, cores: int, scratch: Path) -> dict[str, str]:
    """Return the whole environment of a worker; what frameworks compile, cache or set starts empty in `scratch`.

    So do their temporary files, among them the headers that PyTorch precompiles.
    """
    environment = passed_on_environment()
    environment |= dict.fromkeys(THREAD_VARIABLES, str(cores))
    environment |= {
        "CUDA_CACHE_PATH": str(scratch / "cuda"),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": visible_gpu() if device == "gpu" else "-1",
        "JAX_PLATFORMS": "cuda" if device == "gpu" else "cpu",
        "KERAS_HOME": str(scratch / "keras"),
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TMPDIR": str(scratch),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        "TRITON_CACHE_DIR": str(scratch / "triton"),
        "XDG_CACHE_HOME": str(scratch / "cache"),
    }
    if backend := TOOLS[tool].options.get("backend"):
        environment["KERAS_BACKEND"] = backend
    return environment


def launch_worker(cell: Cell, cores: int, python: str, data: Path, on_event: Callable[[Event], None]) -> Outcome:
    """Run one cell in a process group of its own and return how it ended. Never raises for what the worker does."""
    job = {
        "tool": cell.tool,
        "device": cell.device,
        "cores": cores,
        "workload": to_json(cell.workload),
        "measure": cell.measure,
        "steps": cell.steps and asdict(cell.steps),
        "seed": cell.seed,
        "data": str(data),
    }
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="samenet-", ignore_cleanup_errors=True)))
        log = stack.enter_context((scratch / "log").open("w+", encoding="utf-8", errors="replace"))
        watch = stack.enter_context(GpuWatch(visible_gpu())) if cell.device == "gpu" else None
        environment = child_environment(cell.tool, cell.device, cores, scratch)
        started = time.monotonic()
        try:
            with _signals_held_back():
                process, read_end = start_child("frameworks.worker", python, environment, cores, log)
                stack.callback(_end_group, process)
        except OSError as error:
            return without_worker("failed", f"{python} cannot be started: {error.strerror}")
        heard = _Heard(on_event)
        ended = _follow(process, json.dumps(job).encode() + b"\n", read_end, started + cell.time_limit_s, heard.line)
        log.seek(0)
        log_lines = log.read().splitlines()[-LOG_LINES:]
    events = heard.events
    status, reason = _judge(process.returncode, events, heard.bad_line, cell.time_limit_s if ended is None else None)
    told = any(event["event"] == "failure" for event in events)
    if status != "ok" and not told and log_lines:
        reason = f"{reason}; last log line: {log_lines[-1]}"
    window = _measured_window(events)
    return Outcome(
        status=status,
        reason=reason,
        events=events,
        log=log_lines,
        total_s=(ended or time.monotonic()) - started,
        gpu_pct=watch.mean_pct(*window) if watch and window else None,
    )


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let the signals that stop the runner come after the block, so that none finds a child nobody would end."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda held_back, _: came.append(held_back)) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for held_back in came:
            signal.raise_signal(held_back)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, with its group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def start_child(
    module: str, python: str, environment: dict[str, str], cores: int, log: TextIO
) -> tuple[subprocess.Popen[bytes], int]:
    """Start `python -m module FD` in a process group of its own, on the first `cores` cores.

    Returns the process, whose standard input is a pipe, and the end of a pipe that reads what it writes to FD. Raises
    OSError if it cannot be started.
    """
    read_end, write_end = os.pipe()
    try:
        with _affinity(cores):
            process = subprocess.Popen(
                [python, "-m", module, str(write_end)],
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[write_end],
                start_new_session=True,
            )
    except OSError:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    return process, read_end


class _Heard:
    """What a worker said: its events, each passed on as it comes, up to the first line that is none."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self.events: list[Event] = []
        self.bad_line: str | None = None
        self._on_event = on_event

    def line(self, line: str) -> None:
        """Take in one line; a last line that was cut off does not count."""
        if self.bad_line is not None or not line.endswith("\n"):
            return
        try:
            event = json.loads(line)
            fields = EVENT_FIELDS[event["event"]]
        except (ValueError, TypeError, KeyError):
            self.bad_line = line
            return
        if not {"at", *fields} <= event.keys():
            self.bad_line = line
            return
        self.events.append(event)
        self._on_event(event)


def _follow(
    process: subprocess.Popen[bytes], job: bytes, read_end: int, deadline: float, on_line: Callable[[str], None]
) -> float | None:
    """Hand over the job, pass lines on until the worker exits, and end its group.

    Returns the moment of the exit, or None if the time limit came first. Two threads block, one on the pipe and one on
    the process, so that nothing here spins.
    """
    inbox: queue.SimpleQueue[str | float] = queue.SimpleQueue()

    def read() -> None:
        with os.fdopen(read_end, encoding="utf-8", errors="replace") as events:
            for line in events:
                inbox.put(line)

    def wait() -> None:
        process.wait()
        inbox.put(time.monotonic())

    threads = [threading.Thread(target=target, daemon=True) for target in (read, wait)]
    for thread in threads:
        thread.start()
    ended: float | None = None
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(job)
            process.stdin.flush()
        while ended is None:
            item = inbox.get(timeout=max(deadline - time.monotonic(), 0))
            if isinstance(item, float):
                ended = item
            else:
                on_line(item)
    except queue.Empty:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        for thread in threads:
            thread.join(JOIN_S)
    while not inbox.empty():
        item = inbox.get()
        if isinstance(item, str):
            on_line(item)
    return ended


def _judge(exit_code: int, events: list[Event], bad_line: str | None, limit_s: float | None) -> tuple[str, str | None]:
    """Return status and reason; `limit_s` is the time limit if it ended the worker."""
    by_name = {event["event"]: event for event in events}
    if bad_line is not None:
        return "failed", f"the worker sent {bad_line.strip()[:200]!r} where an event of JSON was expected"
    if "failure" in by_name:
        return by_name["failure"]["status"], by_name["failure"]["reason"]
    if "result" in by_name:
        return "ok", None
    if limit_s is not None:
        stage = by_name.get("stage", {}).get("stage", "start")
        return (
            "timeout",
            f"not done within the time limit of {limit_s:g} s, {_progress(events)} after {stage}",
        )
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
        return "crashed", f"ended by {name}{hint}"
    return "failed", f"ended with exit code {exit_code} and no result"


def _progress(events: list[Event]) -> str:
    """Return how many epochs or steps a worker has done."""
    done = Counter(event["event"] for event in events)
    return f"{done['step']} steps" if done["step"] else f"{done['epoch']} epochs"


def _measured_window(events: list[Event]) -> tuple[float, float] | None:
    """Return the moments between which all epochs lie, or all timed steps; None where there is neither."""
    steps = [event for event in events if event["event"] == "step" and not event["warmup"]]
    if steps:
        return steps[0]["at"] - steps[0]["wall_s"], steps[-1]["at"]
    epochs = [event["at"] for event in events if event["event"] in ("training", "epoch")]
    return (epochs[0], epochs[-1]) if epochs else None


@contextlib.contextmanager
def _affinity(cores: int) -> Iterator[None]:
    """Give this thread the first `cores` cores, so that a process it starts is born with them; then take it back."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = available_cores()
    os.sched_setaffinity(0, before[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
