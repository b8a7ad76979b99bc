"""Measures what watching costs: the same small training with the sampler and without it, in pairs."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from frameworks import FLOOR, TOOLS
from harness.data import prepare
from harness.environments import find_environment, python_of, requirements_of
from harness.host import available_cores
from harness.launch import launch_worker
from harness.plan import Cell
from harness.recording import time_ledger
from harness.statistics import median_interval
from harness.telemetry import PERIOD_S, Watch
from workloads import make_workload
from workloads.errors import UserError

PAIRS = 20
MOST_PAIRS = 1000
EPOCHS = 60
"""Some seconds of training, so that every run meets several samples."""
PREFERRED = ("torch", *TOOLS)
"""The tools in the order in which one that is installed is looked for."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Seconds of training, how many samples were taken, and the CPU seconds these took."""

    train_s: float
    samples: int
    sampling_s: float


Launch = Callable[[bool], Run]
"""Runs the cell once, watched or not."""


class _CountedWatch(Watch):
    """A watch that knows the CPU seconds of its sampler."""

    sampling_s = 0.0

    def _watch(self) -> None:
        super()._watch()
        self.sampling_s = time.thread_time()


class _ClosedWatch(_CountedWatch):
    """A watch that never looks."""

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *error: object) -> None:
        """There is nothing to end."""


def report_self_cost(pairs: int) -> Iterator[str]:
    """Yield one line a pair of runs, then what the sampler costs.

    Raises UserError for a number of pairs that cannot be measured and for a cell that does not run.
    """
    if not 1 <= pairs <= MOST_PAIRS:
        raise UserError(f"--pairs is {pairs}; accepted: a whole number from 1 to {MOST_PAIRS}. Correct the option.")
    tool, python = find_tool()
    cell = small_cell(tool)
    if tool == FLOOR:
        yield (
            f"no tool's environment is here: {FLOOR} is measured, which trains nothing, so that the ratio says next to "
            "nothing; start `python runner.py` first, which makes them"
        )
    data, _ = prepare(cell.workload.data)
    yield from compare_runs(lambda watched: run_once(cell, python, data, watched=watched), pairs, cell.label)


def find_tool() -> tuple[str, str]:
    """Return a tool whose environment is here, with its interpreter; the null tool if there is none."""
    for tool in PREFERRED:
        requirements = requirements_of(tool, "cpu")
        if requirements and (python := find_environment(requirements, python_of(tool))):
            return tool, str(python)
    return FLOOR, sys.executable


def small_cell(tool: str) -> Cell:
    """Return the cell that is run again and again."""
    return Cell(
        tool=tool,
        device="cpu",
        cores=None,
        workload=make_workload("digits-cnn", {"epochs": EPOCHS}),
        precision="float32",
        measure="epochs",
        steps=None,
        repeat=0,
        seed=0,
        time_limit_s=600,
        environment="managed",
    )


def run_once(cell: Cell, python: str, data: Path, *, watched: bool) -> Run:
    """Run a cell, watched as in a session or not at all. Raises UserError if it does not end well."""
    watches: list[_CountedWatch] = []

    def make_watch(pid: int, cores: Sequence[int], gpus: Sequence[str]) -> Watch:
        watches.append((_CountedWatch if watched else _ClosedWatch)(pid, cores, gpus))
        return watches[0]

    outcome = launch_worker(cell, len(available_cores()), python, data, lambda event: None, make_watch)
    train_s = time_ledger(outcome)["train_s"]
    if outcome.status != "ok" or train_s is None:
        raise UserError(
            f"{cell.label} ended as {outcome.status} ({outcome.reason}); accepted: a cell that runs. Find out what is "
            f"wrong with `python runner.py --only tool={cell.tool}` and start again."
        )
    return Run(train_s=train_s, samples=len(watches[0].samples), sampling_s=watches[0].sampling_s)


def compare_runs(launch: Launch, pairs: int, label: str) -> Iterator[str]:
    """Yield one line a pair, then the median of the paired ratios with its interval, and what a sample takes.

    One run before them, which counts for nothing, has the system read the tool's files. Which run of a pair comes
    first alternates, so that a machine that becomes slower favours neither.
    """
    launch(True)
    ratios: list[float] = []
    samples, sampling_s = 0, 0.0
    for number in range(1, pairs + 1):
        first, second = launch(number % 2 == 1), launch(number % 2 == 0)
        watched, unwatched = (first, second) if number % 2 else (second, first)
        ratios.append(watched.train_s / unwatched.train_s)
        samples, sampling_s = samples + watched.samples, sampling_s + watched.sampling_s
        yield f"pair {number} of {pairs}: {watched.train_s:.4g} s watched, {unwatched.train_s:.4g} s unwatched"
    yield f"self-cost: {describe_ratios(ratios)}, for {label}"
    each = f"{1000 * sampling_s / samples:.2f} ms of CPU a sample" if samples else "no run lasted for a sample"
    yield f"sampler: every {PERIOD_S:g} s when steady, {each} ({samples} samples)"


def describe_ratios(ratios: Sequence[float]) -> str:
    """Say what is known of the ratio of training time with the sampler to that without."""
    interval = median_interval(ratios)
    known = f"95 %: {interval[0]:.4f} – {interval[1]:.4f}" if interval else "no interval: it takes 6 pairs"
    return f"watched training takes {statistics.median(ratios):.4f} times as long ({known}; {len(ratios)} pairs)"
