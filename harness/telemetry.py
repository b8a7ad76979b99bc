"""Watches a worker from the parent: its process group's CPU and memory, the machine around it, and the GPUs it uses.

A thread sleeps between samples, so that watching costs next to nothing (`runner.py doctor --self-cost` measures it).
What cannot be read is None with a reason, never 0.
"""

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from harness.sensors import (
    GPU_READINGS,
    THROTTLE_REASONS,
    TICK_S,
    Group,
    Package,
    find_packages,
    open_gpus,
    pids_on,
    read_cores,
    read_packages,
)

PERIOD_S = 0.5
FIRST_PERIOD_S = 0.05
PERIOD_GROWTH = 1.25
"""After a mark samples come fast and then slower, so that windows of any length are seen with a like precision."""
MOST_DOUBT = 0.2
"""How far samples may lie from the ends of a window, as a part of its length; so much of a number may be wrong."""
TICKS = 10
"""How many ticks of the system's CPU clock a window must last: one tick more or less may be counted in it."""
JOIN_S = 10.0
"""How long to wait for a driver that does not answer."""
SERIES_POINTS = 60
"""How many points of a series a record keeps at most."""
NEWEST_S = 1.0
"""Over how long the newest load is a mean, at least."""
STRANGERS_PCT = 10.0
"""From how much of its cores on others disturb a cell."""

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What was seen at a moment of the monotonic clock; None is what could not be read.

    `cpu_s` is the CPU time of the process group so far, `rss_mib` its memory, `core_s` how long each core was busy for
    anybody, `package_j` what the CPU packages have used, `gpus` the readings of each GPU, and `gpu_pids` the processes
    on any of them.
    """

    at: float
    cpu_s: float | None
    rss_mib: float | None
    core_s: tuple[float, ...] | None
    package_j: float | None
    gpus: tuple[Mapping[str, float | None], ...]
    gpu_pids: frozenset[int] | None


class Watch:
    """Samples a process group and GPUs from entering to leaving the block; nothing that fails in it leaves it.

    `leader` is the group's; `cores` are the numbers of those it may use; `gpus` are indices in the order of the PCI
    bus, or UUIDs. `reasons` says why a reading failed, by the name that it has in a summary.
    """

    def __init__(self, leader: int, cores: Sequence[int], gpus: Sequence[str]) -> None:
        self.cores, self.gpus = cores, gpus
        self.group = Group(leader)
        self.samples: list[Sample] = []
        self.reasons: dict[str, str] = {}
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended = True
        self._wake.set()
        self._thread.join(JOIN_S)

    def mark(self) -> None:
        """Take a sample now: a window begins or ends."""
        self._wake.set()

    def _watch(self) -> None:
        period_s = PERIOD_S
        with contextlib.ExitStack() as stack:
            handles = self._try(lambda: stack.enter_context(open_gpus(self.gpus)), *GPU_READINGS, "gpu_strangers") or []
            packages = self._try(find_packages, "package_energy_j") or []
            while True:
                self.samples.append(self._sample(handles, packages))
                if self._ended:
                    return
                marked = self._wake.wait(period_s)
                self._wake.clear()
                period_s = FIRST_PERIOD_S if marked else min(period_s * PERIOD_GROWTH, PERIOD_S)

    def _try(self, read: Callable[[], Value], *names: str) -> Value | None:
        """Return what is read, or None and keep the first error as the reason why these numbers are missing."""
        try:
            return read()
        except Exception as error:
            for name in names:
                self.reasons.setdefault(name, f"{type(error).__name__}: {error}")
            return None

    def _sample(self, handles: Sequence[Any], packages: Sequence[Package]) -> Sample:
        at = time.monotonic()
        cpu_s, rss_mib = self._try(self.group.read, "cpu_pct", "others_pct", "rss_mib") or (None, None)
        return Sample(
            at=at,
            cpu_s=cpu_s,
            rss_mib=rss_mib,
            core_s=self._try(partial(read_cores, self.cores), "busiest_core_pct", "others_pct"),
            package_j=self._try(partial(read_packages, packages), "package_energy_j"),
            gpus=tuple(self._read_gpu(handle) for handle in handles),
            gpu_pids=self._try(partial(pids_on, handles), "gpu_strangers"),
        )

    def _read_gpu(self, handle: Any) -> dict[str, float | None]:
        return {name: self._try(partial(read, handle), name) for name, read in GPU_READINGS.items()}


@dataclass(frozen=True)
class _Window:
    """A stretch of a watch; each reading of it stands for the time since the one before, as NVML's do."""

    at: Sequence[float]
    start: float
    end: float

    def used(self, values: Sequence[float | None]) -> float | None:
        """Return by how much a counter grew, interpolated at both ends."""
        at, known = self._known(values)
        if not known:
            return None
        low, high = np.interp([self.start, self.end], at, known)
        return float(high - low)

    def mean(self, values: Sequence[float | None]) -> float | None:
        """Return the mean over time."""
        at, known = self._known(values)
        if not known:
            return None
        spans = np.diff(np.clip(at, self.start, self.end), prepend=self.start)
        return float(np.average(known, weights=spans))

    def peak(self, values: Sequence[float | None]) -> float | None:
        """Return the largest of the samples within."""
        return max((value for value in self.within(values) if value is not None), default=None)

    def within(self, values: Sequence[Value]) -> list[Value]:
        """Return the values of the samples within."""
        return [value for at, value in zip(self.at, values, strict=True) if self.start <= at <= self.end]

    def _known(self, values: Sequence[float | None]) -> tuple[list[float], list[float]]:
        """Return the moments and values that were read, or nothing if they lie too far from the ends."""
        at = [moment for moment, value in zip(self.at, values, strict=True) if value is not None]
        doubt_s = sum(min((abs(moment - end) for moment in at), default=np.inf) for end in (self.start, self.end))
        if not doubt_s < MOST_DOUBT * (self.end - self.start):
            return [], []
        return at, [value for value in values if value is not None]


@dataclass(frozen=True, kw_only=True)
class Load:
    """How busy a process group keeps its cores, and how busy its GPUs are, in per cent; None is what is not known."""

    cpu_pct: float | None
    gpu_pct: float | None


def newest_load(watch: Watch) -> Load:
    """Return the load that a watch saw last; what it reads has been sampled anyway."""
    samples = watch.samples
    if not samples:
        return Load(cpu_pct=None, gpu_pct=None)
    newest = samples[-1]
    busy = [gpu["gpu_pct"] for gpu in newest.gpus]
    known = [pct for pct in busy if pct is not None]
    earlier = next((sample for sample in reversed(samples) if newest.at - sample.at >= NEWEST_S), None)
    cpu_pct = None
    if earlier and earlier.cpu_s is not None and newest.cpu_s is not None:
        cpu_pct = 100 * (newest.cpu_s - earlier.cpu_s) / ((newest.at - earlier.at) * len(watch.cores))
    return Load(cpu_pct=cpu_pct, gpu_pct=statistics.fmean(known) if known else None)


def summarize(watch: Watch, start: float, end: float) -> dict[str, Any]:
    """Return what a watch saw between two moments of the monotonic clock.

    Counters (CPU time, energy) are interpolated at both ends; percentages, power and clock are means, memory and
    temperature the largest of the samples within. Where no sample is near an end, there is neither counter nor mean.
    `reasons` says of each number that is None why it is.
    """
    samples = list(watch.samples)
    window = _Window([sample.at for sample in samples], start, end)
    reasons = dict(watch.reasons)
    cpu = _summarize_cpu(samples, window, len(watch.cores), reasons)
    gpus = [_summarize_gpu(samples, window, number) for number in range(len(watch.gpus))]
    strangers = _count_strangers(samples, window, watch.group.pids, reasons) if gpus else None
    parts = [*cpu.items(), *(item for gpu in gpus for item in gpu.items())]
    parts += [("gpu_strangers", strangers)] if gpus else []
    too_short = f"samples lie too far apart for a window of {end - start:.3g} s"
    return {
        **cpu,
        "gpu_strangers": strangers,
        "gpus": gpus,
        "reasons": {name: reasons.get(name, too_short) for name, value in parts if value is None},
    }


def _summarize_cpu(
    samples: Sequence[Sample], window: _Window, cores: int, reasons: dict[str, str]
) -> dict[str, float | None]:
    """Return what the group and others took of its cores, in per cent of all of them or of the busiest one."""
    wall_s = window.end - window.start
    counted = wall_s >= TICKS * TICK_S
    if not counted:
        for name in ("cpu_pct", "busiest_core_pct", "others_pct"):
            reasons.setdefault(name, f"a window of {wall_s:.3g} s is too short for ticks of {TICK_S:g} s")
    group_s = window.used([sample.cpu_s for sample in samples]) if counted else None
    by_core = [
        window.used([sample.core_s[core] if sample.core_s else None for sample in samples]) for core in range(cores)
    ]
    busy_s = [used for used in by_core if used is not None] if counted else []
    if busy_s and not any(busy_s):
        busy_s = []
        for name in ("busiest_core_pct", "others_pct"):
            reasons.setdefault(name, "the system's counters of busy cores stand still")
    others_s = sum(busy_s) - group_s if busy_s and group_s is not None else None
    return {
        "cpu_pct": None if group_s is None else 100 * group_s / (wall_s * cores),
        "busiest_core_pct": 100 * max(busy_s) / wall_s if busy_s else None,
        "others_pct": None if others_s is None else max(0.0, 100 * others_s / (wall_s * cores)),
        "rss_mib": window.peak([sample.rss_mib for sample in samples]),
        "package_energy_j": window.used([sample.package_j for sample in samples]),
    }


def _count_strangers(samples: Sequence[Sample], window: _Window, own: Set[int], reasons: dict[str, str]) -> int | None:
    """Return how many processes of others were on the GPUs.

    A driver may know processes by the ids of another namespace than ours, or hide them: then it never lists our own.
    """
    if not any(sample.gpu_pids & own for sample in samples if sample.gpu_pids):
        reasons.setdefault("gpu_strangers", "NVML never listed the worker's own process, so others cannot be told")
        return None
    seen = [pids for pids in window.within([sample.gpu_pids for sample in samples]) if pids is not None]
    return len(frozenset().union(*seen) - own) if seen else None


def _summarize_gpu(samples: Sequence[Sample], window: _Window, number: int) -> dict[str, Any]:
    def values(name: str) -> list[float | None]:
        return [sample.gpus[number][name] if sample.gpus else None for sample in samples]

    masks = [int(mask) for mask in window.within(values("throttle")) if mask is not None]
    return {
        **{name: window.mean(values(name)) for name in ("gpu_pct", "gpu_power_w", "sm_clock_mhz")},
        **{name: window.peak(values(name)) for name in ("gpu_memory_mib", "temperature_c")},
        "energy_j": window.used(values("energy_j")),
        "throttle": [reason for bit, reason in THROTTLE_REASONS.items() if any(mask & bit for mask in masks)]
        if masks
        else None,
    }


def series(watch: Watch, start: float) -> dict[str, Any]:
    """Return at most SERIES_POINTS samples, evenly chosen: seconds since `start` and what was seen then.

    `cpu_s` is the group's CPU time so far; `gpus` has one entry for each GPU.
    """
    samples = list(watch.samples)
    places = sorted({round(place) for place in np.linspace(0, len(samples) - 1, SERIES_POINTS)}) if samples else []
    chosen = [samples[place] for place in places]
    return {
        "at_s": [round(sample.at - start, 3) for sample in chosen],
        "cpu_s": [_rounded(sample.cpu_s) for sample in chosen],
        "rss_mib": [_rounded(sample.rss_mib) for sample in chosen],
        "gpus": [
            {
                name: [_rounded(sample.gpus[number][name]) if sample.gpus else None for sample in chosen]
                for name in ("gpu_pct", "gpu_power_w")
            }
            for number in range(len(watch.gpus))
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
