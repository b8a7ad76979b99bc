"""A fixed piece of work before each cell, which shows whether the machine is as fast as it was, and how busy.

`python -m harness.canary` does the work in a process of its own, so that NumPy's threads are those of the cell.
"""

import contextlib
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from harness.host import THREAD_VARIABLES, available_cores, on_cores
from harness.places import PROJECT
from harness.sensors import read_cores

SIDE = 1024
WORK_S = 0.5
TIME_LIMIT_S = 60.0
DRIFT = 0.1
"""From what share of the median on a canary's speed is another one: the machine has drifted."""


@dataclass(frozen=True, kw_only=True)
class Canary:
    """How fast float32 matrix products were, and what share of these cores others took meanwhile.

    What could not be had is None, with a reason.
    """

    gflops: float | None
    others_pct: float | None
    reason: str | None


def release_canary(cores: int) -> Canary:
    """Multiply matrices for half a second on the first `cores` cores. Never raises for what the child does."""
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(cores))
    began, mine, busy_before = time.monotonic(), _children_s(), _busy_s(cores)
    try:
        with on_cores(cores):
            command = [sys.executable, "-m", "harness.canary"]
            child = subprocess.run(
                command,
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIME_LIMIT_S,
            )
    except subprocess.TimeoutExpired:
        return _no_canary(f"it was not done within {TIME_LIMIT_S:g} s")
    except OSError as error:
        return _no_canary(f"the runner's Python cannot be started: {error.strerror}")
    gflops = _read_speed(child)
    if gflops is None:
        last = (child.stdout + child.stderr).strip().splitlines()[-1:]
        return _no_canary(" ".join([f"it ended with exit code {child.returncode} and no speed;", *last])[:500])
    wall_s, busy_after = time.monotonic() - began, _busy_s(cores)
    if busy_before is None or busy_after is None:
        return Canary(gflops=gflops, others_pct=None, reason="the times of the cores cannot be read")
    others_s = busy_after - busy_before - (_children_s() - mine)
    return Canary(gflops=gflops, others_pct=max(0.0, 100 * others_s / (wall_s * cores)), reason=None)


def _no_canary(problem: str) -> Canary:
    return Canary(gflops=None, others_pct=None, reason=f"the canary could not be run: {problem}")


def _read_speed(child: subprocess.CompletedProcess[str]) -> float | None:
    """Return the number that a canary printed, or None if it failed or printed none."""
    with contextlib.suppress(ValueError):
        speed = float(child.stdout)
        return speed if child.returncode == 0 and math.isfinite(speed) else None
    return None


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _busy_s(cores: int) -> float | None:
    """Return the seconds that the first `cores` cores have been busy since the system's start."""
    with contextlib.suppress(OSError, KeyError, ValueError):
        return sum(read_cores(available_cores()[:cores]))
    return None


def find_drifted(speeds: Iterable[float | None]) -> list[bool]:
    """Say of each canary whether it is off the median of all by more than DRIFT; one without a speed is not.

    Of fewer than three none is: which of two is the usual speed cannot be told.
    """
    speeds = list(speeds)
    known = [speed for speed in speeds if speed is not None]
    if len(known) < 3:
        return [False] * len(speeds)
    median = statistics.median(known)
    return [speed is not None and abs(speed - median) > DRIFT * median for speed in speeds]


def _multiply() -> float:
    """Return the GFLOP/s of matrix products over WORK_S, after one that wakes the threads."""
    stream = np.random.RandomState(0)
    left, right = (stream.standard_normal((SIDE, SIDE)).astype(np.float32) for _ in range(2))
    product = left @ right
    began, count = time.monotonic(), 0
    while time.monotonic() - began < WORK_S:
        np.matmul(left, right, out=product)
        count += 1
    return 2e-9 * SIDE**3 * count / (time.monotonic() - began)


if __name__ == "__main__":
    print(json.dumps(_multiply()))
