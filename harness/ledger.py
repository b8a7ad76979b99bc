"""What readers get from a record's times, energy and price; nothing here is kept in a record."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.records import timed_s


def measured_s(content: Mapping[str, Any]) -> float | None:
    """Return what a record's cell is compared by: seconds of training, or the median timed step; None without one."""
    if content["status"] != "ok":
        return None
    if content["steps"]:
        return statistics.median(timed_s(content["steps"]))
    seconds: float | None = content["time"]["train_s"]
    return seconds


@dataclass(frozen=True, kw_only=True)
class JobTime:
    """How long a job takes as a line: `fixed_s` + epochs × `epoch_s`."""

    fixed_s: float
    epoch_s: float


def job_time(content: Mapping[str, Any]) -> JobTime | None:
    """Return a job's line: all but training and what the first epoch took more than a steady one, then steady epochs.

    None for a record without a steady epoch. Looks at the error rate between epochs are no part of a job.
    """
    time, epochs = content["time"], content["epochs"]
    if time["steady_epoch_s"] is None or time["total_s"] is None:
        return None
    around_s = time["total_s"] - time["train_s"] - (time["checks_s"] or 0.0)
    first_extra_s = epochs[0]["wall_s"] - time["steady_epoch_s"]
    return JobTime(fixed_s=around_s + first_extra_s, epoch_s=time["steady_epoch_s"])


def overtaking_epoch(late: JobTime, early: JobTime) -> int | None:
    """Return from how many epochs on a job takes less with `late`, which loses with one epoch; None if it never does.

    fixed + n·epoch is less for n > (fixed − fixed') / (epoch' − epoch).
    """
    if late.fixed_s + late.epoch_s <= early.fixed_s + early.epoch_s or late.epoch_s >= early.epoch_s:
        return None
    return math.floor((late.fixed_s - early.fixed_s) / (early.epoch_s - late.epoch_s)) + 1


@dataclass(frozen=True, kw_only=True)
class TimeToTarget:
    """When an error rate was reached: after which epoch, in steady epochs' time, and from the launch on."""

    epoch: int
    steady_s: float | None
    all_in_s: float


def time_to_target(content: Mapping[str, Any], target: float) -> TimeToTarget | None:
    """Return when a record's error rate was first at the target or below it; None if it never was.

    `all_in_s` is the parts of the ledger up to the end of that epoch, without the looks at the error rate between
    epochs; evaluation and exit come after it and are not in it, nor is what no part accounts for.
    """
    reached = [check["epoch"] + 1 for check in content["checks"] if check["error_rate"] <= target]
    if not reached:
        return None
    epoch, time = reached[0], content["time"]
    before = ("start_s", "import_s", "device_s", "data_s", "weights_s", "build_s")
    trained_s = sum(one["wall_s"] for one in content["epochs"][:epoch])
    steady_s = None if time["steady_epoch_s"] is None else epoch * time["steady_epoch_s"]
    return TimeToTarget(epoch=epoch, steady_s=steady_s, all_in_s=sum(time[name] or 0.0 for name in before) + trained_s)


ENERGY_SOURCES = {"energy_j": "the GPUs", "package_energy_j": "the CPU packages, all their cores"}


def training_energy_j(utilisation: Mapping[str, Any]) -> float | None:
    """Return the joules of GPUs and CPU packages while training; None if neither could be read."""
    known = [utilisation[name] for name in ENERGY_SOURCES if utilisation[name] is not None]
    return sum(known) if known else None


def energy_sources(utilisation: Mapping[str, Any]) -> str:
    """Return what `training_energy_j` is the energy of, in words; nothing if it is None."""
    return " and ".join(words for name, words in ENERGY_SOURCES.items() if utilisation[name] is not None)


def samples_trained(epochs: Sequence[Mapping[str, Any]]) -> int:
    """Return over how many samples a record's training went."""
    return sum(epoch["samples"] for epoch in epochs)


def run_cost(total_s: float, price_per_hour: float) -> float:
    """Return what a run costs from launch to exit, looks at the error rate and all, in the money of the price."""
    return total_s / 3600 * price_per_hour
