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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import IO, Any

from frameworks import TOOLS
from frameworks.base import Device
from harness.ending import FROM_OUTSIDE, Event, judge, kernel_kills, last_lines
from harness.host import THREAD_VARIABLES, available_cores, on_cores, visible_gpu
from harness.places import PROJECT
from harness.plan import Cell
from harness.telemetry import Watch, series, summarize
from workloads.spec import to_json

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH")
"""The environment variables a worker gets from the runner's; all others are stated in `child_environment`."""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals by which people and systems stop the runner."""
JOIN_S = 2.0
"""How long to wait for a thread at a pipe which a runaway grandchild may hold open for ever, and for a killed child."""
TEXT, NUMBER, MAYBE = (str,), (int, float), (int, float, NoneType)
EVENT_FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "started": {},
    "training": {},
    "stage": {"stage": TEXT, "wall_s": NUMBER, "process_s": NUMBER},
    "check": {"epoch": NUMBER, "error_rate": NUMBER, "wall_s": NUMBER, "process_s": NUMBER},
    "epoch": {"epoch": NUMBER, "samples": NUMBER, "loss": NUMBER, "wall_s": NUMBER, "process_s": NUMBER},
    "step": {"step": NUMBER, "warmup": (bool,), "loss": MAYBE, "wall_s": NUMBER, "process_s": NUMBER},
    "result": {
        "error_rate": MAYBE,
        "loss": MAYBE,
        "process_s": NUMBER,
        "peak_memory_bytes": MAYBE,
        "probe": (dict, NoneType),
        "python": TEXT,
        "packages": (dict,),
        "libraries": (dict,),
    },
    "failure": {"status": TEXT, "reason": TEXT},
}
"""The events of a worker and what each must hold besides the moment `at`."""

WatchMaker = Callable[[int, Sequence[int], Sequence[str]], Watch]
"""Makes the watch of a process, the cores it may use and its GPUs."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a worker ended: status and reason, its events, its last log lines, and seconds from its start to its end.

    `started` is a moment of the monotonic clock, as `at` of events is; `utilisation` is what was seen of the worker
    from outside. Where no worker was started it is empty, and `total_s` None, as it is for a worker that sent its
    result and then hung until it was ended. `faulty` says that the fault is the
    machine's or somebody else's, so that another try may go well.
    """

    status: str
    reason: str | None
    events: list[Event]
    log: list[str]
    started: float
    total_s: float | None
    utilisation: dict[str, Any]
    faulty: bool = False


def without_worker(status: str, reason: str, *, faulty: bool = False) -> Outcome:
    """Return the outcome of a cell for which no worker was started."""
    return Outcome(
        status=status, reason=reason, events=[], log=[], started=0.0, total_s=None, utilisation={}, faulty=faulty
    )


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


def launch_worker(
    cell: Cell,
    cores: int,
    python: str,
    data: Path,
    on_event: Callable[[Event], None],
    make_watch: WatchMaker = Watch,
) -> Outcome:
    """Run one cell in a process group of its own and return how it ended. Never raises for what the worker does."""
    job = {
        "tool": cell.tool,
        "device": cell.device,
        "cores": cores,
        "workload": to_json(cell.workload),
        "precision": cell.precision,
        "measure": cell.measure,
        "steps": cell.steps and asdict(cell.steps),
        "seed": cell.seed,
        "data": str(data),
    }
    with contextlib.ExitStack() as stack:
        try:
            scratch = Path(stack.enter_context(make_scratch()))
            log = stack.enter_context((scratch / "log").open("w+b"))
        except OSError as error:
            advice = "free some space or name another folder in TMPDIR"
            problem = f"there is no place for its temporary files: {error.strerror}; {advice}"
            return without_worker("failed", problem, faulty=True)
        environment = child_environment(cell.tool, cell.device, cores, scratch)
        killed = kernel_kills()
        started = time.monotonic()
        try:
            with signals_held_back():
                process, read_end = start_child("frameworks.worker", python, environment, cores, log)
                stack.callback(_end_group, process)
        except OSError as error:
            return without_worker("failed", f"{python} cannot be started: {error.strerror}", faulty=True)
        gpus = [visible_gpu()] if cell.device == "gpu" else []
        watch = stack.enter_context(make_watch(process.pid, available_cores()[:cores], gpus))

        def pass_on(event: Event) -> None:
            if bounds_window(event, cell.workload.epochs):
                watch.mark()
            on_event(event)

        heard = _Heard(pass_on)
        ended, by_itself = _follow(
            process, json.dumps(job).encode() + b"\n", read_end, started + cell.time_limit_s, heard.line
        )
        log_lines = last_lines(log)
    events = heard.events
    starved = None if killed is None else kernel_kills() != killed
    limit_s = None if by_itself else cell.time_limit_s
    status, reason = judge(process.returncode, events, heard.bad_line, limit_s, log_lines, starved=starved)
    return Outcome(
        status=status,
        reason=reason,
        events=events,
        log=log_lines,
        started=started,
        total_s=ended - started if by_itself or status != "ok" else None,
        utilisation=_utilisation(watch, events, started),
        faulty=status == "crashed" and -process.returncode in FROM_OUTSIDE,
    )


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
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


def make_scratch() -> tempfile.TemporaryDirectory[str]:
    """Make the folder for all that a child writes. Raises OSError if there is no place for it."""
    return tempfile.TemporaryDirectory(prefix="samenet-", ignore_cleanup_errors=True)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, with its group; one that a driver keeps from dying is left behind."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(JOIN_S)


def start_child(
    module: str, python: str, environment: dict[str, str], cores: int, log: IO[Any]
) -> tuple[subprocess.Popen[bytes], int]:
    """Start `python -m module FD` in a process group of its own, on the first `cores` cores.

    Returns the process, whose standard input is a pipe, and the end of a pipe that reads what it writes to FD. Raises
    OSError if it cannot be started.
    """
    read_end, write_end = os.pipe()
    try:
        with on_cores(cores):
            process = subprocess.Popen(
                [python, "-m", module, str(write_end)],
                cwd=PROJECT,
                env=environment,
                bufsize=0,
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


def say(process: subprocess.Popen[bytes], line: bytes) -> threading.Thread:
    """Write a line to a child's standard input, and return the thread that does it.

    A pipe holds 64 KiB, so that a longer line waits for the child to read; one that never does must not hold up the
    caller.
    """
    stdin = process.stdin
    assert stdin is not None

    def write() -> None:
        left = line
        with contextlib.suppress(OSError, ValueError):
            while left:
                left = left[stdin.write(left) :]

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


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
            fields = {"at": NUMBER, **EVENT_FIELDS[event["event"]]}
            whole = all(isinstance(event[name], types) for name, types in fields.items())
        except (ValueError, TypeError, KeyError, RecursionError):
            whole = False
        if not whole:
            self.bad_line = line
            return
        self.events.append(event)
        self._on_event(event)


def _follow(
    process: subprocess.Popen[bytes], job: bytes, read_end: int, deadline: float, on_line: Callable[[str], None]
) -> tuple[float, bool]:
    """Hand over the job, pass lines on until the worker exits, and end its group.

    Returns the moment of the end, and whether it came before the time limit. Threads block, one on each pipe and one on
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
    threads.append(say(process, job))
    ended: float | None = None
    try:
        while ended is None:
            item = inbox.get(timeout=max(deadline - time.monotonic(), 0))
            if isinstance(item, float):
                ended = item
            else:
                on_line(item)
    except queue.Empty:
        cut_off = time.monotonic()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for thread in threads:
            thread.join(JOIN_S)
        assert process.stdin is not None
        process.stdin.close()
    while not inbox.empty():
        item = inbox.get()
        if isinstance(item, str):
            on_line(item)
    return (cut_off, False) if ended is None else (ended, True)


def _utilisation(watch: Watch, events: list[Event], started: float) -> dict[str, Any]:
    """Return what a watch saw before the worker trained, while it did, and while it did so steadily."""
    windows = measured_windows(events)
    if windows is None:
        return {"series": series(watch, started)}
    training, steady = windows
    return {
        "series": series(watch, started),
        "before": summarize(watch, started, training[0]),
        "training": summarize(watch, *training),
        "steady": summarize(watch, *steady),
    }


Window = tuple[float, float]


def measured_windows(events: list[Event]) -> tuple[Window, Window] | None:
    """Return the moments between which training lies, and those of its steady part; None where there is neither.

    Training is all epochs or the timed steps; steady is what comes after the first epoch, if there is more than one.
    """
    steps = [event for event in events if event["event"] == "step" and not event["warmup"]]
    if steps:
        window = steps[0]["at"] - steps[0]["wall_s"], steps[-1]["at"]
        return window, window
    moments = [event["at"] for event in events if event["event"] in ("training", "epoch")]
    if len(moments) < 2:
        return None
    return (moments[0], moments[-1]), (moments[1] if len(moments) > 2 else moments[0], moments[-1])


def bounds_window(event: Event, epochs: int) -> bool:
    """Whether a measured window may begin at an event, or one of epochs end; any warm-up step may be the last."""
    return event["event"] == "training" or event.get("epoch") in (0, epochs - 1) or event.get("warmup") is True
