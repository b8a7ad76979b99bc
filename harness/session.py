"""Runs the planned cells one after another: what is done is left alone, each outcome becomes a record at once."""

import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from frameworks import FLOOR
from harness.audit import Judgement, Verdict, audit_cells, judge_curve, no_verdict
from harness.data import prepare
from harness.environments import EnvironmentFailedError, ensure_environment, python_of, requirements_of
from harness.host import available_cores
from harness.launch import Event, Outcome, launch_worker, without_worker
from harness.places import PROJECT, samenet_home
from harness.plan import Cell
from harness.records import (
    FINAL,
    PARTS,
    SCHEMA,
    SUITE,
    Record,
    adapter_fingerprint,
    cell_key,
    check_writable,
    describe_cell,
    environment_fingerprint,
    newest_by_key,
    write_record,
)
from workloads.errors import UserError
from workloads.spec import DataSet, fingerprint


class View(Protocol):
    """Where a session shows what it does."""

    def line(self, text: str) -> None:
        """Show one line of progress."""

    def begin(self, cell: Cell) -> None:
        """A cell starts."""

    def event(self, cell: Cell, event: Event) -> None:
        """A worker sent an event."""

    def end(self, cell: Cell, record: dict[str, Any]) -> None:
        """A cell has its record."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A cell with its key, the cores it gets and the record it already has, if that is a result."""

    cell: Cell
    key: str
    cores: int
    done: Record | None


def plan_session(
    cells: Iterable[Cell], host: dict[str, Any], records: Iterable[Record], *, fresh: bool
) -> list[Planned]:
    """Find which cells are done. `fresh` takes none for done.

    Raises UserError if two cells come out as the same on this machine, such as `cpu` and all of its cores.
    """
    known = newest_by_key(records)
    everything = len(available_cores())
    planned: dict[str, Planned] = {}
    for cell in cells:
        cores = cell.cores or everything
        key = cell_key(cell, cores, host["machine"])
        if key in planned:
            raise UserError(
                f"{cell.label} and {planned[key].cell.label} are the same on this machine, which has {everything} "
                "cores; accepted: each cell once. Remove one of them from the matrix."
            )
        record = known.get(key)
        done = record if record and not fresh and _is_done(cell, record) else None
        planned[key] = Planned(cell=cell, key=key, cores=cores, done=done)
    return list(planned.values())


def _is_done(cell: Cell, record: Record) -> bool:
    """Whether a record is a result.

    One that was cut off is none for a cell that is given more time, and one whose proof could not be made is none.
    """
    if record.status == "timeout":
        return bool(record.content["cell"]["time_limit_s"] >= cell.time_limit_s)
    sameness = record.content["sameness"]
    faulty = sameness["reason"] is not None or any(finding["fault"] for finding in sameness["findings"])
    unproven = cell.tool != FLOOR and faulty
    return cell.not_run is not None or (record.status in FINAL and not unproven)


def judge_curves(planned: Sequence[Planned]) -> dict[Cell, Judgement]:
    """Judge the loss curve of every cell that is done by what is published, or by the other tools on the same cell.

    A cell that measures steps has none.
    """
    curves = {
        item.cell: [epoch["loss"] for epoch in item.done.content["epochs"]]
        for item in planned
        if item.done and item.done.status == "ok" and item.cell.measure == "epochs" and item.cell.tool != FLOOR
    }
    steps = {item.cell: (None, "a measurement by step has none") for item in planned if item.cell.steps}
    return steps | {
        cell: judge_curve(
            cell.workload.label,
            cell.workload.batch_size,
            losses,
            [
                curve
                for other, curve in curves.items()
                if other != cell and replace(other, tool=cell.tool, environment=cell.environment) == cell
            ],
        )
        for cell, losses in curves.items()
    }


def run_session(planned: list[Planned], host: dict[str, Any], results: Path, view: View) -> Iterator[dict[str, Any]]:
    """Run what is not done and yield the content of every cell's record, in the order of the plan.

    Data is prepared first, so that broken files stop the session before anything runs; then environments; then
    proofs of what is to run and has none. Raises UserError for data that cannot be had and for a results folder that
    takes no file.
    """
    todo = [item for item in planned if item.done is None]
    runnable = [item for item in todo if item.cell.not_run is None]
    data: dict[DataSet, tuple[Path, dict[str, Any]]] = {}
    for item in runnable:
        if item.cell.workload.data not in data:
            view.line(f"preparing data for {item.cell.workload.label}")
            data[item.cell.workload.data] = prepare(item.cell.workload.data)
    if todo:
        check_writable(results)
    interpreters = prepare_environments([item.cell for item in runnable], view.line)
    verdicts = prove_cells([item.cell for item in runnable], interpreters, host, view.line)
    for item in planned:
        if item.done is not None:
            yield item.done.content
            continue
        view.begin(item.cell)
        if item.cell.not_run:
            status, reason = item.cell.not_run
            content = make_record(item, host, without_worker(status, reason), no_verdict("it was not run"), {})
        else:
            folder, facts = data[item.cell.workload.data]
            interpreter = interpreters[environment_of(item.cell)]
            if isinstance(interpreter, EnvironmentFailedError):
                outcome = without_worker("failed", f"its environment could not be made: {interpreter}")
            else:
                outcome = launch_worker(item.cell, item.cores, interpreter, folder, _forward(view, item.cell))
            content = make_record(item, host, outcome, verdicts[item.cell], facts)
        write_record(results, content)
        view.end(item.cell, content)
        yield content


def _forward(view: View, cell: Cell) -> Callable[[Event], None]:
    return lambda event: view.event(cell, event)


EPOCH_PARTS = ("wall_s", "process_s", "samples", "loss", "validation")
STEP_PARTS = ("wall_s", "process_s", "warmup", "loss")
Environment = tuple[Path | None, str, str]
"""The requirements file, the Python version, and `managed`, `current` or the path of an interpreter."""


def environment_of(cell: Cell) -> Environment:
    """Return what tells a cell's environment from others."""
    return requirements_of(cell.tool, cell.device), python_of(cell.tool), cell.environment


def prepare_environments(
    cells: Iterable[Cell], show: Callable[[str], None]
) -> dict[Environment, str | EnvironmentFailedError]:
    """Return the interpreter of each environment, or why it could not be had."""
    interpreters: dict[Environment, str | EnvironmentFailedError] = {}
    for environment in dict.fromkeys(environment_of(cell) for cell in cells):
        requirements, python, choice = environment
        if requirements is None or choice == "current":
            interpreters[environment] = sys.executable
        elif choice != "managed":
            interpreters[environment] = str(Path(choice).expanduser().absolute())
        else:
            try:
                interpreters[environment] = str(ensure_environment(requirements, python, show))
            except EnvironmentFailedError as error:
                interpreters[environment] = error
    return interpreters


def prove_cells(
    cells: Iterable[Cell],
    interpreters: Mapping[Environment, str | EnvironmentFailedError],
    host: Mapping[str, Any],
    show: Callable[[str], None],
) -> dict[Cell, Verdict]:
    """Return the verdict on each cell, from those that are kept or by a new proof."""
    return audit_cells(cells, lambda cell: interpreters[environment_of(cell)], host, show)


def make_record(
    item: Planned, host: dict[str, Any], outcome: Outcome, verdict: Verdict, data_facts: dict[str, Any]
) -> dict[str, Any]:
    """Put together a record from what a worker sent and the proof said. Parts that were not measured are None."""
    named = {event["event"]: event for event in outcome.events}
    result = named.get("result", {})
    content = {
        "key": item.key,
        "schema": SCHEMA,
        "suite": SUITE,
        "finished_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "cell": describe_cell(item.cell, item.cores) | {"time_limit_s": item.cell.time_limit_s},
        "status": outcome.status,
        "reason": outcome.reason and without_folders(outcome.reason),
        "time": time_ledger(outcome),
        "epochs": _parts(outcome, "epoch", EPOCH_PARTS),
        "steps": _parts(outcome, "step", STEP_PARTS),
        "error_rate": result.get("error_rate"),
        "test_loss": result.get("loss"),
        "utilisation": utilisation(outcome, item.cores, 1 if item.cell.device == "gpu" else 0),
        "sameness": json.loads(without_folders(json.dumps(verdict))),
        "host": host,
        "versions": {"python": result.get("python"), "packages": result.get("packages")},
        "fingerprints": {
            "spec": fingerprint(item.cell.workload),
            "adapter": adapter_fingerprint(item.cell.tool),
            "environment": environment_fingerprint(item.cell),
            "data": data_facts.get("fingerprint"),
            "data_unverified": data_facts.get("unverified"),
            "weights": result.get("weights_fingerprint"),
            "order": result.get("order_fingerprint"),
        },
    }
    assert set(content) == set(PARTS)
    return content if outcome.status == "ok" else content | {"log": [without_folders(line) for line in outcome.log]}


def _parts(outcome: Outcome, event: str, names: Iterable[str]) -> list[dict[str, Any]]:
    """Return what is kept of every event of a kind."""
    found = [one for one in outcome.events if one["event"] == event]
    return [{name: _finite(one[name]) for name in names if name in one} for one in found]


def _finite(value: Any) -> Any:
    """Return a value of JSON with None for what is no number, such as the loss of a run that diverged."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def without_folders(text: str) -> str:
    """Take the folders of this machine's user out of a text."""
    for folder, name in ((samenet_home(), "SAMENET_HOME"), (PROJECT, "."), (Path.home(), "~")):
        text = text.replace(str(folder), name)
    return text


def time_ledger(outcome: Outcome) -> dict[str, float | None]:
    """Return where a worker's wall time went, in seconds.

    import + device + data + build + train + evaluate + other = total. `train_s` is all epochs with the first step, or
    all steps with those of the warm-up; `steady_epoch_s` is the median epoch without the first; `process_s` is CPU time
    of the whole process.
    """
    stages = {event["stage"]: event["wall_s"] for event in outcome.events if event["event"] == "stage"}
    epochs = [event["wall_s"] for event in outcome.events if event["event"] == "epoch"]
    result = next((event for event in outcome.events if event["event"] == "result"), {})
    ledger: dict[str, float | None] = {f"{name}_s": stages.get(name) for name in ("import", "device", "data", "build")}
    ledger["first_step_s"] = stages.get("first_step")
    steps = [event["wall_s"] for event in outcome.events if event["event"] == "step"]
    ledger["train_s"] = sum(epochs or steps) if epochs or steps else None
    ledger["steady_epoch_s"] = statistics.median(epochs[1:]) if len(epochs) > 1 else None
    ledger["evaluate_s"] = stages.get("evaluate")
    known = [ledger[f"{name}_s"] or 0.0 for name in ("import", "device", "data", "build", "train", "evaluate")]
    ledger["other_s"] = None if outcome.total_s is None else outcome.total_s - sum(known)
    ledger["total_s"] = outcome.total_s
    ledger["process_s"] = result.get("process_s")
    return ledger


def utilisation(outcome: Outcome, cores: int, gpus: int) -> dict[str, float | int | None]:
    """Return how busy cores and GPU were over all epochs, or all timed steps.

    `cpu_pct` is of the cores given, by process CPU time.
    """
    measured = [
        one for one in outcome.events if one["event"] == "epoch" or (one["event"] == "step" and not one["warmup"])
    ]
    result = next((event for event in outcome.events if event["event"] == "result"), {})
    wall = sum(event["wall_s"] for event in measured)
    rss, gpu_memory = result.get("rss_bytes"), result.get("peak_memory_bytes")
    return {
        "gpu_pct": outcome.gpu_pct,
        "gpu_memory_mib": None if gpu_memory is None else gpu_memory / 2**20,
        "gpus": gpus,
        "cpu_pct": 100 * sum(event["process_s"] for event in measured) / (wall * cores) if wall else None,
        "cpus": cores,
        "rss_mib": None if rss is None else rss / 2**20,
    }
