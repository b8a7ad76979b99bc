"""Measures what watching costs: one small training in stretches, every other of which has the sampler."""

import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frameworks import FLOOR, TOOLS
from harness.data import prepare
from harness.ending import Event
from harness.environments import find_environment, python_of, requirements_of
from harness.host import available_cores
from harness.launch import launch_worker
from harness.plan import Cell
from harness.statistics import median_interval
from harness.telemetry import PERIOD_S, Watch
from workloads import make_workload
from workloads.errors import UserError

PAIRS = 180
MOST_PAIRS = 1000
RUN_PAIRS = 30
"""How many pairs of stretches one run of the cell has."""
WARM_UP_EPOCHS = 10
STRETCH_EPOCHS = 10
"""About a second of training: a watched stretch meets two samples, and a machine changes little within a pair.

Pairs of three times the length were as far apart, so that as many of them took three times as long to say the same.
"""
PREFERRED = ("torch", *TOOLS)
"""The tools in the order in which one that is installed is looked for."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Seconds of the watched and of the unwatched stretch of each pair, and the CPU seconds that samples took."""

    watched_s: list[float]
    unwatched_s: list[float]
    samples: int
    sampling_s: float


Launch = Callable[[int], Run]
"""Runs the cell once with so many pairs of stretches."""


class _SwitchedWatch(Watch):
    """A watch that looks only while it is switched on, and knows the CPU seconds of its sampler."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sampling_s = 0.0
        self._on = threading.Event()
        self._on.set()

    def switch(self, *, on: bool) -> None:
        """Look from now on, or do not."""
        if on:
            self._on.set()
        else:
            self._on.clear()

    def __exit__(self, *error: object) -> None:
        self._on.set()
        super().__exit__(*error)

    def _sample(self, *arguments: Any) -> Any:
        self._on.wait()
        return super()._sample(*arguments)

    def _watch(self) -> None:
        super()._watch()
        self.sampling_s = time.thread_time()


def report_self_cost(pairs: int) -> Iterator[str]:
    """Yield one line a run of the cell, then what the sampler costs.

    Raises UserError for a number of pairs that cannot be measured and for a cell that does not run.
    """
    if not 1 <= pairs <= MOST_PAIRS:
        raise UserError(f"--pairs is {pairs}; accepted: a whole number from 1 to {MOST_PAIRS}. Correct the option.")
    tool, python = find_tool()
    if tool == FLOOR:
        yield (
            f"no tool's environment is here: {FLOOR} is measured, which trains nothing, so that the ratio says next to "
            "nothing; start `python runner.py` first, which makes them"
        )
    data, _ = prepare(small_cell(tool, epochs=1).workload.data)
    yield from compare_stretches(lambda count: run_stretches(tool, python, data, count), pairs, tool)


def find_tool() -> tuple[str, str]:
    """Return a tool whose environment is here, with its interpreter; the null tool if there is none."""
    for tool in PREFERRED:
        requirements = requirements_of(tool, "cpu")
        if requirements and (python := find_environment(requirements, python_of(tool))):
            return tool, str(python)
    return FLOOR, sys.executable


def small_cell(tool: str, *, epochs: int) -> Cell:
    """Return the cell that is run again and again."""
    return Cell(
        tool=tool,
        device="cpu",
        cores=None,
        workload=make_workload("digits-cnn", {"epochs": epochs}),
        precision="float32",
        measure="epochs",
        steps=None,
        repeat=0,
        seed=0,
        time_limit_s=3600,
        environment="managed",
    )


def is_watched(epoch: int) -> bool:
    """Whether an epoch belongs to a watched stretch. Which one of a pair that is alternates.

    So a machine that becomes slower favours neither. The warm-up is watched and counts for nothing.
    """
    pair, second = divmod((epoch - WARM_UP_EPOCHS) // STRETCH_EPOCHS, 2)
    return epoch < WARM_UP_EPOCHS or (pair + second) % 2 == 0


def run_stretches(tool: str, python: str, data: Path, pairs: int) -> Run:
    """Run the cell, watched as in a session in every other stretch. Raises UserError if it does not end well."""
    cell = small_cell(tool, epochs=WARM_UP_EPOCHS + 2 * pairs * STRETCH_EPOCHS)
    watches: list[_SwitchedWatch] = []

    def make_watch(pid: int, cores: Sequence[int], gpus: Sequence[str]) -> Watch:
        watches.append(_SwitchedWatch(pid, cores, gpus))
        return watches[0]

    def prepare_next(event: Event) -> None:
        if event["event"] == "epoch":
            watches[0].switch(on=is_watched(event["epoch"] + 1))

    outcome = launch_worker(cell, len(available_cores()), python, data, prepare_next, make_watch)
    if outcome.status != "ok":
        raise UserError(
            f"{cell.label} ended as {outcome.status} ({outcome.reason}); accepted: a cell that runs. Find out what is "
            f"wrong with `python runner.py --only tool={cell.tool}` and start again."
        )
    counted = [event for event in outcome.events if event["event"] == "epoch"][WARM_UP_EPOCHS:]
    stretches: dict[bool, list[float]] = {True: [], False: []}
    for start in range(0, len(counted), STRETCH_EPOCHS):
        stretch = counted[start : start + STRETCH_EPOCHS]
        stretches[is_watched(stretch[0]["epoch"])].append(sum(event["wall_s"] for event in stretch))
    return Run(
        watched_s=stretches[True],
        unwatched_s=stretches[False],
        samples=len(watches[0].samples),
        sampling_s=watches[0].sampling_s,
    )


def compare_stretches(launch: Launch, pairs: int, tool: str) -> Iterator[str]:
    """Yield one line a run, then the median of the pairs' ratios with its interval, and what a sample takes."""
    ratios: list[float] = []
    samples, sampling_s = 0, 0.0
    while len(ratios) < pairs:
        run = launch(min(RUN_PAIRS, pairs - len(ratios)))
        ratios += [watched / other for watched, other in zip(run.watched_s, run.unwatched_s, strict=True)]
        samples, sampling_s = samples + run.samples, sampling_s + run.sampling_s
        medians = (
            f"{statistics.median(run.watched_s):.4g} s watched, {statistics.median(run.unwatched_s):.4g} s unwatched"
        )
        yield f"{len(ratios)} of {pairs} pairs: {medians}"
    yield f"self-cost: {describe_ratios(ratios)}, for {STRETCH_EPOCHS} epochs of digits-cnn in {tool}"
    each = f"{1000 * sampling_s / samples:.2f} ms of CPU a sample" if samples else "no run lasted for a sample"
    yield f"sampler: every {PERIOD_S:g} s when steady, {each} ({samples} samples)"


def describe_ratios(ratios: Sequence[float]) -> str:
    """Say what is known of the ratio of training time with the sampler to that without."""
    interval = median_interval(ratios)
    known = f"95 %: {interval[0]:.4f} – {interval[1]:.4f}" if interval else "no interval: it takes 6 pairs"
    return f"watched training takes {statistics.median(ratios):.4f} times as long ({known}; {len(ratios)} pairs)"
