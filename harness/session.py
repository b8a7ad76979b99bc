"""Runs the planned cells one after another: what is done is left alone, each outcome becomes a record at once."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from frameworks import FLOOR
from harness.audit import Judgement, Verdict, audit_cells, installed_packages, judge_curve, no_verdict
from harness.canary import Canary, find_drifted, release_canary
from harness.data import prepare
from harness.ending import Event
from harness.environments import EnvironmentFailedError, ensure_environment, python_of, requirements_of
from harness.host import available_cores
from harness.launch import Outcome, launch_worker, without_worker
from harness.plan import Cell
from harness.recording import Circumstances, make_record
from harness.records import FINAL, KeyMaker, Planned, Record, check_writable, key_maker, newest_by_key, write_record
from harness.telemetry import Watch
from workloads.errors import UserError
from workloads.spec import DataSet

NO_CANARY = Canary(gflops=None, others_pct=None, reason="it was not run")


class View(Protocol):
    """Where a session shows what it does."""

    def phase(self, text: str) -> None:
        """Show what is done before the cells, until something else is."""

    def line(self, text: str) -> None:
        """Show one line that stays."""

    def begin(self, cell: Cell) -> None:
        """A cell starts."""

    def watch(self, watch: Watch) -> None:
        """A worker was started that a watch looks at."""

    def event(self, cell: Cell, event: Event) -> None:
        """A worker sent an event."""

    def end(self, cell: Cell, record: dict[str, Any]) -> None:
        """A cell has its record."""


def plan_session(
    cells: Iterable[Cell], host: dict[str, Any], records: Iterable[Record], *, fresh: bool
) -> list[Planned]:
    """Find which cells are done. `fresh` takes none for done.

    Of the records only those of these cells are kept. Raises UserError if two cells come out as the same on this
    machine, such as `cpu` and all of its cores.
    """
    everything, make_key = len(available_cores()), key_maker(host["machine"])
    planned: dict[str, Planned] = {}
    for cell in cells:
        cores = cell.cores or everything
        key = make_key(cell, cores)
        if key in planned:
            raise UserError(
                f"{cell.label} and {planned[key].cell.label} are the same on this machine, which has {everything} "
                "cores; accepted: each cell once. Remove one of them from the matrix."
            )
        planned[key] = Planned(cell=cell, key=key, cores=cores, done=None)
    known = newest_by_key(record for record in records if record.key in planned or record.status == "skipped")
    return list(planned.values()) if fresh else _find_done(planned.values(), known, make_key)


def _find_done(planned: Iterable[Planned], known: Mapping[str, Record], make_key: KeyMaker) -> list[Planned]:
    """Return the cells with their records; those that a larger memory would take are skipped, as their records are."""
    found = []
    limits: Limits = {}
    for cell in planned:
        item = _with_record(cell, known)
        if item.done is None:
            item = _with_record(_within(item, limits, make_key), known)
        elif item.done.status == "out-of-memory":
            limits[_sizeless(item.cell)] = item.cell.workload.batch_size
        found.append(item)
    return found


def _with_record(item: Planned, known: Mapping[str, Record]) -> Planned:
    """Return a cell with its record, if that is a result."""
    record = known.get(item.key)
    return replace(item, done=record) if record and _is_done(item.cell, record) else item


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
    groups: dict[Cell, dict[Cell, list[float]]] = {}
    for item in planned:
        if item.done and item.done.status == "ok" and item.cell.measure == "epochs" and item.cell.tool != FLOOR:
            group = groups.setdefault(replace(item.cell, tool="", environment=""), {})
            group[item.cell] = [epoch["loss"] for epoch in item.done.content["epochs"]]
    steps = {item.cell: (None, "a measurement by step has none") for item in planned if item.cell.steps}
    return steps | {
        cell: judge_curve(
            cell.workload.label,
            cell.workload.batch_size,
            losses,
            [curve for other, curve in group.items() if other != cell],
        )
        for group in groups.values()
        for cell, losses in group.items()
    }


Environment = tuple[Path | None, str, str]
"""The requirements file, the Python version, and `managed`, `current` or the path of an interpreter."""


def run_session(
    planned: Sequence[Planned], host: dict[str, Any], results: Path, view: View, session: str
) -> Iterator[dict[str, Any]]:
    """Run what is not done and yield the content of every cell's record, in the order of the plan.

    Data is prepared first, so that broken files stop the session before anything runs; then environments; then
    proofs of what is to run and has none. `session` tells records made together from others. Raises UserError for data
    that cannot be had and for a results folder that takes no file.
    """
    todo = [item for item in planned if item.done is None]
    runnable = [item for item in todo if item.cell.not_run is None]
    data: dict[DataSet, tuple[Path, dict[str, Any]]] = {}
    for item in runnable:
        if item.cell.workload.data not in data:
            view.phase(f"preparing data for {item.cell.workload.label}")
            data[item.cell.workload.data] = prepare(item.cell.workload.data)
    if todo:
        check_writable(results)
    interpreters = prepare_environments([item.cell for item in runnable], view.phase)
    verdicts = prove_cells([item.cell for item in runnable], interpreters, host, view.phase)
    measuring = _Session(session, host, results, view, data, interpreters, verdicts)
    limits: Limits = {}
    make_key = key_maker(host["machine"])
    for item in planned:
        if item.done is not None:
            yield item.done.content
            continue
        content = measuring.run(_within(item, limits, make_key))
        if content["status"] == "out-of-memory":
            limits[_sizeless(item.cell)] = item.cell.workload.batch_size
        yield content


@dataclass(frozen=True)
class _Session:
    """What all cells of a session share."""

    session: str
    host: dict[str, Any]
    results: Path
    view: View
    data: Mapping[DataSet, tuple[Path, dict[str, Any]]]
    interpreters: Mapping[Environment, str | EnvironmentFailedError]
    verdicts: Mapping[Cell, Verdict]

    def run(self, item: Planned) -> dict[str, Any]:
        """Run one cell and return its record, which is written."""
        self.view.begin(item.cell)
        facts: dict[str, Any] = {}
        canary, verdict = NO_CANARY, no_verdict("it was not run")
        interpreter = None if item.cell.not_run else self.interpreters[environment_of(item.cell)]
        if item.cell.not_run:
            outcome = without_worker(*item.cell.not_run)
        elif isinstance(interpreter, EnvironmentFailedError):
            outcome = without_worker("failed", f"its environment could not be made: {interpreter}")
        else:
            assert interpreter is not None
            folder, facts = self.data[item.cell.workload.data]
            verdict = self.verdicts[item.cell]
            canary = release_canary(item.cores)
            outcome = self._launch(item, interpreter, folder)
        around = Circumstances(
            session=self.session,
            host=self.host,
            verdict=verdict,
            canary=canary,
            data=facts,
            packages=_packages(outcome, interpreter),
        )
        content = make_record(item, outcome, around)
        write_record(self.results, content)
        self.view.end(item.cell, content)
        return content

    def _launch(self, item: Planned, interpreter: str, data: Path) -> Outcome:
        """Run a cell's worker, and once more where the fault is not the tool's."""
        outcome = launch_worker(item.cell, item.cores, interpreter, data, self._forward(item.cell), self._watch)
        if not outcome.faulty:
            return outcome
        self.view.line(f"{item.cell.label}: {outcome.reason}; it is tried once more")
        return launch_worker(item.cell, item.cores, interpreter, data, self._forward(item.cell), self._watch)

    def _forward(self, cell: Cell) -> Callable[[Event], None]:
        return lambda event: self.view.event(cell, event)

    def _watch(self, leader: int, cores: Sequence[int], gpus: Sequence[str]) -> Watch:
        """Make a worker's watch, which the view may read whenever it draws."""
        watch = Watch(leader, cores, gpus)
        self.view.watch(watch)
        return watch


def _packages(outcome: Outcome, interpreter: str | EnvironmentFailedError | None) -> dict[str, str] | None:
    """Return what the interpreter of a worker has installed that did not come to tell it; None if none can tell."""
    if outcome.status == "ok" or not isinstance(interpreter, str):
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        return installed_packages(interpreter)
    return None


def drifted_cells(run: Sequence[tuple[Planned, dict[str, Any]]]) -> list[Planned]:
    """Return the cells that are ok before which the machine's speed was off that of the session, on as many cores."""
    drifted = []
    for cores in dict.fromkeys(item.cores for item, _ in run):
        group = [(item, content) for item, content in run if item.cores == cores]
        off = find_drifted([content["canary"]["gflops"] for _, content in group])
        drifted += [item for (item, one), is_off in zip(group, off, strict=True) if is_off and one["status"] == "ok"]
    return drifted


Limits = dict[tuple[Hashable, ...], int]
"""The batch size at which memory ran out, by what cells share that differ in batch size and repeat."""


def _sizeless(cell: Cell) -> tuple[Hashable, ...]:
    return cell.tool, cell.device, cell.cores, cell.workload.label, cell.precision, cell.measure


def _within(item: Planned, limits: Limits, make_key: KeyMaker) -> Planned:
    """Return a cell, or the same as skipped if its batch is larger than one that memory was too small for."""
    limit = limits.get(_sizeless(item.cell)) if limits else None
    if limit is None or item.cell.workload.batch_size <= limit:
        return item
    cell = replace(item.cell, not_run=("skipped", f"out of memory at batch {limit}"))
    return replace(item, cell=cell, key=make_key(cell, item.cores))


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
        if choice not in ("managed", "current"):
            interpreters[environment] = str(Path(choice).expanduser().absolute())
        elif requirements is None or choice == "current":
            interpreters[environment] = sys.executable
        else:
            interpreters[environment] = _managed(requirements, python, show)
    return interpreters


def _managed(requirements: Path, python: str, show: Callable[[str], None]) -> str | EnvironmentFailedError:
    """Return the interpreter of a managed environment; one that could not be made is tried once more."""
    try:
        return str(ensure_environment(requirements, python, show))
    except EnvironmentFailedError as error:
        show(f"{error}; it is tried once more")
    try:
        return str(ensure_environment(requirements, python, show))
    except EnvironmentFailedError as error:
        return error


def prove_cells(
    cells: Iterable[Cell],
    interpreters: Mapping[Environment, str | EnvironmentFailedError],
    host: Mapping[str, Any],
    show: Callable[[str], None],
) -> dict[Cell, Verdict]:
    """Return the verdict on each cell, from those that are kept or by a new proof."""
    return audit_cells(cells, lambda cell: interpreters[environment_of(cell)], host, show)
