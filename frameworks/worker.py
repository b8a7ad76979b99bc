"""The child process: reads one job as JSON, runs it with one adapter, writes events, and owns the clock.

Started as `python -m frameworks.worker EVENTS_FD` in the tool's environment, with the job on standard input. Events are
JSON objects, one a line, on a pipe of their own, because frameworks print. Loads the standard library, NumPy,
`workloads` and one adapter.
"""

import importlib
import importlib.metadata
import json
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from frameworks import FLOOR, TOOLS
from frameworks.base import Adapter, DeviceUnavailableError, Model
from frameworks.loaded import loaded_libraries
from frameworks.memory import tells_of_memory
from frameworks.probe import find_precision, measure_peak
from frameworks.reference import softmax_cross_entropy
from workloads.datasets import Split, load_split
from workloads.initial import arrays_fingerprint, epoch_order, initial_weights, step_labels
from workloads.spec import Workload, from_json


class StoppedError(Exception):
    """An outcome other than `ok` that is no fault: its status and reason go into the record."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Clock:
    """Stamps wall time and the process's own CPU time, and sends them as events."""

    def __init__(self, events: TextIO) -> None:
        self._events = events

    def send(self, event: str, **fields: Any) -> None:
        """Write one event with the moment it was written (seconds of the system-wide monotonic clock)."""
        self._events.write(json.dumps({"event": event, "at": time.monotonic(), **fields}) + "\n")
        self._events.flush()

    @contextmanager
    def measure(self) -> Iterator[dict[str, float]]:
        """Time the block; the yielded dictionary holds `wall_s` and `process_s` once the block has ended."""
        times: dict[str, float] = {}
        wall, process = time.monotonic(), time.process_time()
        yield times
        times |= {"wall_s": time.monotonic() - wall, "process_s": time.process_time() - process}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block and send it as a stage of the cell."""
        with self.measure() as times:
            yield
        self.send("stage", stage=name, **times)


def load_adapter(tool: str) -> type[Adapter]:
    """Import a tool's adapter, and so its framework."""
    module, name = TOOLS[tool].adapter.split(":")
    adapter: type[Adapter] = getattr(importlib.import_module(f"frameworks.{module}"), name)
    return adapter


def judge(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the error rate (0 to 1) and the mean loss of predictions."""
    return {
        "error_rate": float(np.mean(logits.argmax(axis=-1) != labels)),
        "loss": softmax_cross_entropy(logits, labels),
    }


def train_epoch(model: Model, workload: Workload, data: Split, order: np.ndarray, clock: Clock, epoch: int) -> None:
    """Train and validate one epoch on the clock; the very first batch is timed on its own as well."""
    losses, parts, logits = [], [order], None
    if epoch == 0 and len(order) > workload.batch_size:
        parts = [order[: workload.batch_size], order[workload.batch_size :]]
    with clock.measure() as whole:
        for number, part in enumerate(parts):
            with clock.measure() as step:
                losses.append(model.train_batches(data.train_images, data.train_labels, part))
                model.synchronize()
            if epoch == 0 and number == 0:
                clock.send("stage", stage="first_step", **step)
        if len(data.validation_labels):
            logits = model.forward(data.validation_images)
            model.synchronize()
    loss = float(np.average(losses, weights=[len(part) for part in parts]))
    validation = {} if logits is None else {"validation": judge(logits, data.validation_labels)}
    clock.send("epoch", epoch=epoch, samples=len(order), loss=loss, **validation, **whole)
    if not np.isfinite(loss):
        raise StoppedError("diverged", f"the training loss of epoch {epoch + 1} is {loss}")


def check_epoch(model: Model, data: Split, clock: Clock, epoch: int) -> None:
    """Say what the error rate on the test set is after an epoch, beside the clock of training."""
    with clock.measure() as times:
        judged = judge(model.forward(data.test_images), data.test_labels)
    clock.send("check", epoch=epoch, error_rate=judged["error_rate"], **times)


def run_epochs(model: Model, workload: Workload, data: Split, seed: int, clock: Clock) -> dict[str, Any]:
    """Train and evaluate; return the part of the result that says what came of it."""
    orders = [epoch_order(len(data.train_labels), seed, epoch) for epoch in range(workload.epochs)]
    clock.send("training")
    for epoch, order in enumerate(orders):
        train_epoch(model, workload, data, order, clock, epoch)
        if workload.target_error_rate is not None:
            check_epoch(model, data, clock, epoch)
    with clock.stage("evaluate"):
        logits = model.forward(data.test_images)
        model.synchronize()
    judged = judge(logits, data.test_labels)
    if not np.isfinite(judged["loss"]):
        raise StoppedError("diverged", f"the loss on the test set is {judged['loss']}")
    fingerprint = arrays_fingerprint({f"{epoch:04}": order for epoch, order in enumerate(orders)})
    return {**judged, "order_fingerprint": fingerprint}


def take_step(model: Model, measure: str, placed: Any, labels: np.ndarray) -> float | None:
    """Take one step on a placed batch and return its loss, if that kind of step has one."""
    match measure:
        case "forward":
            model.forward_step(placed)
            return None
        case "gradients":
            return model.gradient_step(placed, labels)[0]
        case "train":
            return model.train_step(placed, labels)
    raise ValueError(f"measure {measure!r}")


def time_box(warmup: int, timed: int, at_most_s: float) -> Iterator[bool]:
    """Yield whether the step to be taken now is a warm-up, until steps or time have run out.

    No warm-up step starts once half of `at_most_s` has gone by, and no timed one once all of it has, counted from the
    first timed step; the first of each kind is always taken.
    """
    for is_warmup, count, limit_s in ((True, warmup, at_most_s / 2), (False, timed, at_most_s)):
        began = time.monotonic()
        for number in range(count):
            if number and time.monotonic() - began >= limit_s:
                break
            yield is_warmup


def run_steps(model: Model, workload: Workload, data: Split, job: dict[str, Any], clock: Clock) -> None:
    """Take warm-up and timed steps on the first batch in stored order, each on a clock of its own.

    Its labels are the stored ones; on noise they are drawn anew for every step.
    """
    size, noise = workload.batch_size, workload.data.noise
    with clock.stage("data"):
        placed, stored = model.place(data.train_images[:size]), data.train_labels[:size]
    clock.send("training")
    for step, warmup in enumerate(time_box(**job["steps"])):
        labels = step_labels(noise.labels, size, job["seed"], step) if noise else stored
        with clock.measure() as times:
            loss = take_step(model, job["measure"], placed, labels)
            model.synchronize()
        if step == 0:
            clock.send("stage", stage="first_step", **times)
        clock.send("step", step=step, warmup=warmup, loss=loss, **times)
        if loss is not None and not np.isfinite(loss):
            raise StoppedError("diverged", f"the loss of step {step + 1} is {loss}")


def read_data(folder: Path, workload: Workload) -> Split:
    """Return a workload's data from its prepared folder. Raises StoppedError if it is broken."""
    try:
        return load_split(folder, workload.data)
    except Exception as error:
        status, reason = describe_failure(error)
        advice = f"remove {folder} and start again"
        raise StoppedError(status, f"its prepared data cannot be read: {reason}; {advice}") from error


def probe_model(model: Model, precision: str) -> dict[str, Any]:
    """Return what is found of a model's matrix products after the clock. Raises StoppedError if the label is wrong."""
    found = find_precision(model.matmul)
    if found != precision:
        raise StoppedError("failed", f"the cell is labelled {precision}, and its matrix products were {found}")
    try:
        peak_gflops = measure_peak(model.matmul)
    except Exception:
        # What was trained counts without it, such as where a net leaves no memory for large matrices.
        traceback.print_exc()
        peak_gflops = None
    return {"precision": found, "peak_gflops": peak_gflops}


def run_job(job: dict[str, Any], clock: Clock) -> None:
    """Go through the stages of a cell. Raises StoppedError for an outcome that is neither `ok` nor a fault."""
    workload: Workload = from_json(job["workload"])
    with clock.stage("import"):
        try:
            adapter_class = load_adapter(job["tool"])
        except Exception as error:
            status, problem = describe_failure(error)
            raise StoppedError(status, f"it cannot be imported: {problem}") from error
    with clock.stage("device"):
        try:
            adapter = adapter_class(device=job["device"], cores=job["cores"], **TOOLS[job["tool"]].options)
        except DeviceUnavailableError as error:
            raise StoppedError("unavailable", str(error)) from error
    if reason := adapter.supports(workload, job["precision"]):
        raise StoppedError("unsupported", reason)
    with clock.stage("data"):
        data = read_data(Path(job["data"]), workload)
        # The first epoch is not to pay for reading the files.
        for array in vars(data).values():
            array.sum()
    with clock.stage("weights"):
        weights = initial_weights(workload.network, job["seed"])
    with clock.stage("build"):
        model = adapter.build(workload, weights, job["seed"], job["precision"])
        model.synchronize()
    outcome = {"error_rate": None, "loss": None, "order_fingerprint": None}
    if job["measure"] == "epochs":
        outcome = run_epochs(model, workload, data, job["seed"], clock)
    else:
        run_steps(model, workload, data, job, clock)
    usage = {"process_s": time.process_time(), "peak_memory_bytes": model.peak_memory_bytes()}
    probe = None
    if job["tool"] != FLOOR:
        with clock.stage("probe"):
            probe = probe_model(model, job["precision"])
    clock.send(
        "result",
        **outcome,
        **usage,
        probe=probe,
        weights_fingerprint=arrays_fingerprint(weights),
        python=platform.python_version(),
        packages=installed_packages(),
        libraries=loaded_libraries(),
    )


def installed_packages() -> dict[str, str]:
    """Return the version of every package in this interpreter, by name."""
    found = {str(item.metadata["Name"]): str(item.version) for item in importlib.metadata.distributions()}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def describe_failure(error: BaseException) -> tuple[str, str]:
    """Return the status and reason of an exception that came out of a job."""
    if isinstance(error, StoppedError):
        return error.status, error.reason
    reason = f"{type(error).__name__}: {error}".strip()
    if isinstance(error, MemoryError) or tells_of_memory(reason):
        return "out-of-memory", reason
    return "failed", reason


def end_with_parent() -> None:
    """Wait until the parent's end of standard input closes, as it does when the parent dies, and end the group."""
    os.read(sys.stdin.fileno(), 1)
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    """Run the job on the first line of standard input; exit code 0 whenever an outcome was sent."""
    events_fd = int(sys.argv[1])
    os.set_inheritable(events_fd, False)
    with os.fdopen(events_fd, "w", encoding="utf-8") as events:
        clock = Clock(events)
        clock.send("started")
        try:
            job = json.loads(sys.stdin.readline())
            threading.Thread(target=end_with_parent, daemon=True).start()
            run_job(job, clock)
        except Exception as error:
            traceback.print_exc()
            status, reason = describe_failure(error)
            clock.send("failure", status=status, reason=reason)
    return 0


if __name__ == "__main__":
    sys.exit(main())
