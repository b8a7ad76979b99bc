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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frameworks import TOOLS
from frameworks.base import Device
from harness.host import available_cores, visible_gpu
from harness.places import PROJECT
from harness.plan import Cell
from harness.telemetry import GpuWatch
from workloads.spec import to_json

PASSED_ON = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "XDG_CACHE_HOME",
)  # fmt: skip
"""The environment variables a worker gets from the runner's; all others are stated in `child_environment`."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
LOG_LINES = 20
JOIN_S = 2.0
"""How long to wait for a thread that reads a pipe which a runaway grandchild may hold open for ever."""
EVENT_FIELDS: dict[str, set[str]] = {
    "started": set(),
    "training": set(),
    "stage": {"stage", "wall_s", "process_s"},
    "epoch": {"epoch", "samples", "loss", "wall_s", "process_s"},
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


def child_environment(tool: str, device: Device, cores: int, scratch: Path) -> dict[str, str]:
    """Return the whole environment of a worker; compile caches and settings of frameworks start empty in `scratch`."""
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment |= dict.fromkeys(THREAD_VARIABLES, str(cores))
    environment |= {
        "CUDA_CACHE_PATH": str(scratch / "cuda"),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": visible_gpu() if device == "gpu" else "-1",
        "JAX_PLATFORMS": "cuda" if device == "gpu" else "cpu",
        "KERAS_HOME": str(scratch / "keras"),
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        "TRITON_CACHE_DIR": str(scratch / "triton"),
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
        "seed": cell.seed,
        "data": str(data),
    }
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="samenet-", ignore_cleanup_errors=True)))
        log = stack.enter_context((scratch / "log").open("w+", encoding="utf-8", errors="replace"))
        watch = stack.enter_context(GpuWatch(visible_gpu())) if cell.device == "gpu" else None
        read_end, write_end = os.pipe()
        started = time.monotonic()
        try:
            with _affinity(cores):
                process = subprocess.Popen(
                    [python, "-m", "frameworks.worker", str(write_end)],
                    cwd=PROJECT,
                    env=child_environment(cell.tool, cell.device, cores, scratch),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=[write_end],
                    start_new_session=True,
                )
        except OSError as error:
            os.close(read_end)
            return without_worker("failed", f"{python} cannot be started: {error.strerror}")
        finally:
            os.close(write_end)
        lines, ended = _follow(
            process, json.dumps(job).encode() + b"\n", read_end, started + cell.time_limit_s, on_event
        )
        log.seek(0)
        log_lines = log.read().splitlines()[-LOG_LINES:]
    events, bad_line = _parse(lines)
    status, reason = _judge(process.returncode, events, bad_line, cell.time_limit_s if ended is None else None)
    told = any(event["event"] == "failure" for event in events)
    if status != "ok" and not told and log_lines:
        reason = f"{reason}; last log line: {log_lines[-1]}"
    training = [event["at"] for event in events if event["event"] in ("training", "epoch")]
    return Outcome(
        status=status,
        reason=reason,
        events=events,
        log=log_lines,
        total_s=(ended or time.monotonic()) - started,
        gpu_pct=watch.mean_pct(training[0], training[-1]) if watch and training else None,
    )


def _follow(
    process: subprocess.Popen[bytes], job: bytes, read_end: int, deadline: float, on_event: Callable[[Event], None]
) -> tuple[list[str], float | None]:
    """Hand over the job, pass events on until the worker exits, and end its group.

    Returns the event lines and the moment of the exit, or None for it if the time limit came first. Two threads block,
    one on the pipe and one on the process, so that nothing here spins.
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
    lines: list[str] = []
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
                lines.append(item)
                _pass_on(item, on_event)
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
            lines.append(item)
            _pass_on(item, on_event)
    return lines, ended


def _pass_on(line: str, on_event: Callable[[Event], None]) -> None:
    events, _ = _parse([line])
    for event in events:
        on_event(event)


def _parse(lines: list[str]) -> tuple[list[Event], str | None]:
    """Return the events and the first line that is none; a last line that was cut off does not count."""
    events: list[Event] = []
    for line in lines:
        if not line.endswith("\n"):
            continue
        try:
            event = json.loads(line)
            fields = EVENT_FIELDS[event["event"]]
        except (ValueError, TypeError, KeyError):
            return events, line
        if not {"at", *fields} <= event.keys():
            return events, line
        events.append(event)
    return events, None


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
            f"not done within the time limit of {limit_s:g} s, {len(_epochs(events))} epochs after {stage}",
        )
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
        return "crashed", f"ended by {name}{hint}"
    return "failed", f"ended with exit code {exit_code} and no result"


def _epochs(events: list[Event]) -> list[Event]:
    return [event for event in events if event["event"] == "epoch"]


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
