"""The faults of the drill: how each is planted, and the record that it leaves (`test_faults.py` runs them all)."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import harness.canary
import harness.ending
import harness.launch
import harness.session
from harness.environments import EnvironmentFailedError
from tests.helpers import (
    make_cell,
    make_step_cell,
    write_broken_tool,
    write_interpreter,
    write_patched_worker,
)
from workloads.spec import ReLU, Workload, sequential

Plant = Callable[[Path, pytest.MonkeyPatch], dict[str, Any]]
"""Lays a fault, with files in a folder, and returns what is changed of the cell that meets it."""
TERMINATED = "terminate called after throwing an instance of 'std::bad_alloc'"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault, the record it leaves, and how often its worker is started by one session."""

    name: str
    plant: Plant
    status: str
    reason: str
    starts: int = 1


def tool(method: str, body: str, **changes: Any) -> Plant:
    """The tool's code goes wrong in one method."""
    return lambda folder, _: {"environment": write_broken_tool(folder, method, body), **changes}


def worker(patch: str, **changes: Any) -> Plant:
    """The worker's own modules are changed."""
    return lambda folder, _: {"environment": write_patched_worker(folder, patch), **changes}


def interpreter(body: str, **changes: Any) -> Plant:
    """What is started is no worker at all."""
    return lambda folder, _: {"environment": write_interpreter(folder, body), **changes}


def raising(kind: str, message: str) -> Plant:
    """Training raises an exception of a framework's own class."""
    return tool("train_batches", f"raise type({kind!r}, (Exception,), {{}})({message!r})")


def dying(signal_name: str) -> Plant:
    """The worker is ended by a signal in the middle of training."""
    return tool("train_batches", f"os.kill(os.getpid(), signal.{signal_name})")


def killed_by_kernel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The worker gets SIGKILL, and the kernel's counter goes up."""
    counter = folder / "vmstat"
    counter.write_text("nr_free_pages 7\noom_kill 3\n")
    monkeypatch.setattr(harness.ending, "VMSTAT", counter)
    raise_it = f"open({str(counter)!r}, 'w').write('oom_kill 4'); os.kill(os.getpid(), signal.SIGKILL)"
    return {"environment": write_broken_tool(folder, "train_batches", raise_it)}


def killed_by_somebody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The worker gets SIGKILL, and the kernel's counter stays."""
    (folder / "vmstat").write_text("oom_kill 3\n")
    monkeypatch.setattr(harness.ending, "VMSTAT", folder / "vmstat")
    return dying("SIGKILL")(folder, monkeypatch)


def killed_where_nobody_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The worker gets SIGKILL on a system without the counter."""
    monkeypatch.setattr(harness.ending, "VMSTAT", folder / "no such file")
    return dying("SIGKILL")(folder, monkeypatch)


def no_interpreter(folder: Path, _: pytest.MonkeyPatch) -> dict[str, Any]:
    """The environment's interpreter has been removed."""
    return {"environment": str(folder / "gone")}


def locked_interpreter(folder: Path, _: pytest.MonkeyPatch) -> dict[str, Any]:
    """The environment's interpreter may not be executed."""
    path = Path(write_interpreter(folder, ""))
    path.chmod(0o644)
    return {"environment": str(path)}


def broken_interpreter(folder: Path, _: pytest.MonkeyPatch) -> dict[str, Any]:
    """The environment's interpreter is no program."""
    path = Path(write_interpreter(folder, ""))
    path.write_bytes(b"\x7fELF of another processor")
    return {"environment": str(path)}


def no_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The environment cannot be made, however often it is tried."""

    def fail(*arguments: Any) -> Path:
        raise EnvironmentFailedError("uv pip ended with 1: no such version")

    monkeypatch.setattr(harness.session, "requirements_of", lambda *cell: Path("null.txt"))
    monkeypatch.setattr(harness.session, "ensure_environment", fail)
    return {}


def full_scratch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """There is no room for the worker's temporary files; by the next cell there is."""
    real, calls = harness.launch.make_scratch, []

    def fill() -> Any:
        calls.append(1)
        if len(calls) <= 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real()

    monkeypatch.setattr(harness.launch, "make_scratch", fill)
    return {}


def deep_workload() -> Workload:
    """A net whose job is longer than what a pipe holds."""
    base = make_cell().workload
    layers = [*[ReLU()] * 2000, *(node.layer for node in base.network.nodes)]
    return replace(base, network=sequential(base.data.image_shape, layers))


WITH_CHILD = """
import subprocess
subprocess.Popen(["sleep", "600"], pass_fds=[fd])
for number in range(30):
    print("line", number, flush=True)
time.sleep(600)
"""
NO_DEVICE = """
def start(self, **options):
    raise base.DeviceUnavailableError("no such card")
null_adapter.NullAdapter.__init__ = start
"""
NO_LIBRARY = """
def load(tool):
    raise OSError("libcublas.so.12: cannot open shared object file: No such file or directory")
worker.load_adapter = load
"""
NO_MODULE = "worker.load_adapter = lambda tool: __import__('mxnet')"
NO_DATA = "load = worker.load_split; worker.load_split = lambda folder, data: load(folder / 'gone', data)"
OTHER_PRECISION = """
worker.FLOOR = None
worker.find_precision = lambda multiply: "tf32"
"""
NO_LAYER = "null_adapter.NullAdapter.supports = lambda self, workload, precision: 'no convolutions'"
TORCH_CPU = (
    "[enforce fail at alloc_cpu.cpp:114] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "34359738368 bytes. Error code 12 (Cannot allocate memory)"
)
TENSORFLOW = (
    "Graph execution error: OOM when allocating tensor with shape[65536,4096] and type float on "
    "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc"
)
XLA = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes."
ALLOCATE = "import numpy; numpy.empty(2**56)"
NAN_LOGITS = "import numpy; return numpy.full((len(arguments[0]), 10), numpy.nan, numpy.float32)"

FAULTS = [
    # Memory.
    Fault(
        name="a MemoryError of Python",
        plant=tool("train_batches", "raise MemoryError('9 GiB')"),
        status="out-of-memory",
        reason="MemoryError: 9 GiB",
    ),
    Fault(
        name="an array that NumPy cannot allocate",
        plant=tool("train_batches", ALLOCATE),
        status="out-of-memory",
        reason="Unable to allocate 512. PiB",
    ),
    Fault(
        name="no memory on PyTorch's GPU",
        plant=raising("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
        status="out-of-memory",
        reason="OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    ),
    Fault(
        name="no memory in PyTorch's CPU allocator",
        plant=raising("RuntimeError", TORCH_CPU),
        status="out-of-memory",
        reason="DefaultCPUAllocator: can't allocate memory: you tried to allocate 34359738368 bytes",
    ),
    Fault(
        name="no memory in TensorFlow",
        plant=raising("ResourceExhaustedError", TENSORFLOW),
        status="out-of-memory",
        reason="ResourceExhaustedError: Graph execution error: OOM when allocating tensor",
    ),
    Fault(
        name="no memory in XLA",
        plant=raising("XlaRuntimeError", XLA),
        status="out-of-memory",
        reason="XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes",
    ),
    Fault(
        name="no memory in MXNet",
        plant=raising("MXNetError", "Failed to allocate CPU Memory"),
        status="out-of-memory",
        reason="MXNetError: Failed to allocate CPU Memory",
    ),
    Fault(
        name="no memory in a thread of C++",
        plant=tool("train_batches", f"print({TERMINATED!r}, flush=True); os.abort()"),
        status="out-of-memory",
        reason="ended by SIGABRT after it printed \"terminate called after throwing an instance of 'std::bad_alloc'\"",
    ),
    Fault(
        name="no memory even for the message",
        plant=interpreter("print('MemoryError', file=sys.stderr); sys.exit(1)"),
        status="out-of-memory",
        reason="ended with exit code 1 and no result after it printed 'MemoryError'",
    ),
    Fault(
        name="SIGKILL by the kernel for want of memory",
        plant=killed_by_kernel,
        status="out-of-memory",
        reason="the kernel ended it because the host's memory ran out",
    ),
    # Signals.
    Fault(
        name="SIGKILL by somebody",
        plant=killed_by_somebody,
        status="crashed",
        reason="ended by SIGKILL, not by the kernel for want of memory",
        starts=2,
    ),
    Fault(
        name="SIGKILL on a system that does not say why",
        plant=killed_where_nobody_counts,
        status="crashed",
        reason="ended by SIGKILL; whether not by the kernel for want of memory, this system does not tell",
        starts=2,
    ),
    *(
        Fault(name=name, plant=dying(name), status="crashed", reason=f"ended by {name}", starts=starts)
        for name, starts in {"SIGTERM": 2, "SIGHUP": 2, "SIGSEGV": 1, "SIGABRT": 1, "SIGBUS": 1, "SIGILL": 1}.items()
    ),
    Fault(
        name="a signal without a name",
        plant=tool("train_batches", "os.kill(os.getpid(), 40)"),
        status="crashed",
        reason="ended by signal 40",
    ),
    # Time.
    Fault(
        name="a hang with children",
        plant=interpreter(WITH_CHILD, time_limit_s=5),
        status="timeout",
        reason="not done within the time limit of 5 s, 0 epochs after start; last log line: line 29",
    ),
    Fault(
        name="a worker that is stopped",
        plant=interpreter("os.kill(os.getpid(), signal.SIGSTOP)", time_limit_s=2),
        status="timeout",
        reason="not done within the time limit of 2 s",
    ),
    Fault(
        name="a worker that never reads a long job",
        plant=interpreter("time.sleep(600)", time_limit_s=2, workload=deep_workload()),
        status="timeout",
        reason="not done within the time limit of 2 s",
    ),
    Fault(
        name="a worker that closes its input and hangs",
        plant=interpreter("os.close(0); time.sleep(600)", time_limit_s=2),
        status="timeout",
        reason="not done within the time limit of 2 s",
    ),
    # Ends without a result.
    Fault(
        name="an exit code",
        plant=tool("forward", "os._exit(3)"),
        status="failed",
        reason="ended with exit code 3 and no result",
    ),
    Fault(
        name="an end before the job is read",
        plant=interpreter("os.close(0)", workload=deep_workload()),
        status="failed",
        reason="ended with exit code 0 and no result",
    ),
    Fault(
        name="an error in training",
        plant=tool("train_batches", "raise ValueError('bad shape')"),
        status="failed",
        reason="ValueError: bad shape",
    ),
    Fault(
        name="a framework that is not there",
        plant=worker(NO_MODULE),
        status="failed",
        reason="it cannot be imported: ModuleNotFoundError: No module named 'mxnet'",
    ),
    Fault(
        name="a framework whose library is not there",
        plant=worker(NO_LIBRARY),
        status="failed",
        reason="it cannot be imported: OSError: libcublas.so.12: cannot open shared object file",
    ),
    Fault(
        name="data that cannot be read",
        plant=worker(NO_DATA),
        status="failed",
        reason="its prepared data cannot be read: FileNotFoundError",
    ),
    Fault(
        name="megabytes without a line's end",
        plant=interpreter("sys.stdout.write('x' * 2**23); sys.stdout.flush(); sys.exit(1)"),
        status="failed",
        reason="ended with exit code 1 and no result; last log line: xxx",
    ),
    # Events.
    Fault(
        name="words in the pipe of events",
        plant=interpreter("os.write(fd, b'Segmentation fault?\\n')"),
        status="failed",
        reason="the worker sent 'Segmentation fault?' where an event of JSON was expected",
    ),
    Fault(
        name="bytes in the pipe of events",
        plant=interpreter("os.write(fd, bytes(range(128, 256)) + b'\\n')"),
        status="failed",
        reason="where an event of JSON was expected",
    ),
    Fault(
        name="an event of other types",
        plant=interpreter('os.write(fd, b\'{"event": "failure", "at": 1, "status": 5, "reason": []}\\n\')'),
        status="failed",
        reason="where an event of JSON was expected",
    ),
    Fault(
        name="an event that is cut off",
        plant=interpreter('os.write(fd, b\'{"event": "ep\'); os.kill(os.getpid(), signal.SIGSEGV)'),
        status="crashed",
        reason="ended by SIGSEGV",
    ),
    Fault(
        name="a pipe of events that is closed early",
        plant=interpreter("os.close(fd); print('on my own')"),
        status="failed",
        reason="ended with exit code 0 and no result; last log line: on my own",
    ),
    # No numbers.
    Fault(
        name="a loss of an epoch that is no number",
        plant=tool("train_batches", "return float('nan')"),
        status="diverged",
        reason="the training loss of epoch 1 is nan",
    ),
    Fault(
        name="a loss of a step that is infinite",
        plant=tool("train_step", "return float('inf')", measure="train", steps=make_step_cell().steps),
        status="diverged",
        reason="the loss of step 1 is inf",
    ),
    Fault(
        name="predictions that are no numbers",
        plant=tool("forward", NAN_LOGITS),
        status="diverged",
        reason="the loss on the test set is nan",
    ),
    # Places.
    Fault(
        name="no interpreter",
        plant=no_interpreter,
        status="failed",
        reason="gone cannot be started: No such file or directory",
        starts=2,
    ),
    Fault(
        name="an interpreter that may not be executed",
        plant=locked_interpreter,
        status="failed",
        reason="python cannot be started: Permission denied",
        starts=2,
    ),
    Fault(
        name="an interpreter that is no program",
        plant=broken_interpreter,
        status="failed",
        reason="python cannot be started: Exec format error",
        starts=2,
    ),
    Fault(
        name="no room for temporary files",
        plant=full_scratch,
        status="failed",
        reason="there is no place for its temporary files: No space left on device; free some space",
        starts=2,
    ),
    Fault(
        name="an environment that cannot be installed",
        plant=no_environment,
        status="failed",
        reason="its environment could not be made: uv pip ended with 1: no such version",
        starts=0,
    ),
    Fault(
        name="products of another precision",
        plant=worker(OTHER_PRECISION),
        status="failed",
        reason="the cell is labelled float32, and its matrix products were tf32",
    ),
    # Answers that are no faults of the tool.
    Fault(name="a net it cannot train", plant=worker(NO_LAYER), status="unsupported", reason="no convolutions"),
    Fault(name="a device that is not there", plant=worker(NO_DEVICE), status="unavailable", reason="no such card"),
]
