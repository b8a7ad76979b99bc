"""SIGKILL of the runner, of the worker and of both: the next start completes the matrix, nothing is lost or doubled."""

import contextlib
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import harness.session
from harness.canary import Canary
from harness.data import prepare
from harness.records import read_records
from runner import main
from tests.helpers import make_cell

MOMENTS = 50
LONGEST_S = 3.0
"""How long a runner is left alone at most before it is killed, so that a busy machine does not take for ever."""
CELLS = 6


def run_matrix(arguments: list[str], environment: dict[str, str], die_at_write: int) -> None:
    """Be a runner without canaries that kills itself at its n-th write; 0 is never."""
    os.environ |= environment
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    harness.session.release_canary = lambda cores: Canary(gflops=100.0, others_pct=0.0, reason=None)
    sync, writes = os.fsync, []

    def sync_or_die(descriptor: int) -> None:
        writes.append(descriptor)
        if len(writes) == die_at_write:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    os.fsync = sync_or_die
    sys.exit(main(arguments))


SERVER = multiprocessing.get_context("forkserver")
"""Gives every runner a process of its own, forked from one that has imported it, which saves most of its start."""
SERVER.set_forkserver_preload([__name__])


class Matrix:
    """A small matrix, its results folder, and runners that fill it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.results = folder / name

    def start(self, die_at_write: int = 0) -> Any:
        """Start a runner in a process of its own; what it starts has this test's folder in its environment."""
        path = self._folder / "matrix.yaml"
        path.write_text(
            "tools: ['null']\ndevices: [cpu]\nmodels: [{model: [digits-mlp, digits-cnn], epochs: 1}]\nrepeats: 3\n"
        )
        arguments = ["--matrix", str(path), "--results", str(self.results)]
        environment = {"TMPDIR": str(self._folder), "SAMENET_HOME": os.environ["SAMENET_HOME"]}
        runner = SERVER.Process(target=run_matrix, args=(arguments, environment, die_at_write))
        runner.start()
        return runner

    def complete(self) -> None:
        """Let a runner finish undisturbed."""
        runner = self.start()
        runner.join()
        assert runner.exitcode == 0

    def outcome(self) -> list[tuple[Any, ...]]:
        """Return key, status, error rate and loss of every record, the same key as often as it was recorded."""
        contents = [record.content for record in read_records(self.results)]
        return sorted((one["key"], one["status"], one["error_rate"], one["test_loss"]) for one in contents)

    def workers(self) -> list[psutil.Process]:
        """Return the processes that this matrix's runners have started and that still run."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                scratch = process.environ().get("TMPDIR", "")
                if scratch.startswith(f"{self._folder}/") and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def all_workers_end(self) -> bool:
        """Whether no worker is left; those of a runner that was killed notice it in a moment."""
        for _ in range(1000):
            if not self.workers():
                return True
            time.sleep(0.05)
        return False


@pytest.fixture
def matrices(home: Path, tmp_path: Path) -> Iterator[Matrix]:
    """One fresh matrix after the other, with data that is prepared."""
    prepare(make_cell().workload.data)
    return (Matrix(tmp_path, f"results-{number}") for number in range(10**6))


@pytest.fixture
def undisturbed(matrices: Iterator[Matrix]) -> tuple[list[tuple[Any, ...]], float]:
    """What a run comes to that nobody disturbs, and how many seconds it takes."""
    matrix, began = next(matrices), time.monotonic()
    matrix.complete()
    outcome = matrix.outcome()
    assert len({key for key, *_ in outcome}) == len(outcome) == CELLS
    assert {status for _, status, *_ in outcome} == {"ok"}
    return outcome, time.monotonic() - began


@pytest.fixture
def stream() -> random.Random:
    """Where moments come from; the seed is printed with a failure."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the moments: {seed}")
    return random.Random(seed)


def kill_at(matrix: Matrix, moment_s: float, *, with_worker: bool) -> bool:
    """Start a runner and kill it after so long; return whether it was still at work."""
    runner = matrix.start()
    runner.join(moment_s)
    if runner.is_alive():
        for process in matrix.workers() if with_worker else []:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        runner.kill()
        runner.join()
    return runner.exitcode != 0


@pytest.mark.parametrize(("with_worker", "moments"), [(False, MOMENTS), (True, 5)], ids=["runner", "both"])
def test_a_runner_that_is_killed_at_any_moment_loses_and_doubles_nothing(
    with_worker: bool,
    moments: int,
    matrices: Iterator[Matrix],
    undisturbed: tuple[list[tuple[Any, ...]], float],
    stream: random.Random,
) -> None:
    """Matrix after matrix is begun again until it is complete, each start cut off at a moment of its own."""
    expected, whole_s = undisturbed
    matrix, killed = next(matrices), 0
    while killed < moments:
        was_killed = kill_at(matrix, stream.uniform(0, min(whole_s / 3, LONGEST_S)), with_worker=with_worker)
        killed += was_killed
        assert matrix.all_workers_end()
        assert set(matrix.outcome()) <= set(expected)
        if not was_killed:
            assert matrix.outcome() == expected
            matrix = next(matrices)
    matrix.complete()
    assert matrix.outcome() == expected
    assert not list(matrix.results.glob("*/.partial-*"))


def test_a_runner_that_is_killed_while_it_writes_loses_that_cell_alone(
    matrices: Iterator[Matrix], undisturbed: tuple[list[tuple[Any, ...]], float]
) -> None:
    """The n-th start dies at its n-th write: a probe of the folder first, then records, then the tables."""
    matrix = next(matrices)
    for write, records in enumerate([0, 0, 1, 3, CELLS], 1):
        runner = matrix.start(die_at_write=write)
        runner.join()
        assert runner.exitcode == -signal.SIGKILL
        assert list(matrix.results.rglob(".partial-*"))
        assert len(matrix.outcome()) == records
    matrix.complete()
    assert matrix.outcome() == undisturbed[0]
    assert not list(matrix.results.glob("*/.partial-*"))


def test_a_worker_that_is_killed_is_started_once_more(
    matrices: Iterator[Matrix], undisturbed: tuple[list[tuple[Any, ...]], float], stream: random.Random
) -> None:
    matrix = next(matrices)
    runner = matrix.start()
    while not (workers := matrix.workers()):
        assert runner.is_alive()
    time.sleep(stream.uniform(0, 0.3))
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
    runner.join()
    assert runner.exitcode == 0
    assert matrix.outcome() == undisturbed[0]
