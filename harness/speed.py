"""How many samples a second a run trained, and what share of the machine's peak that is."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from frameworks import FLOOR
from harness.frames import Row
from harness.ledger import samples_trained
from harness.net_size import net_size_of
from harness.records import timed_s


def samples_of(run: Mapping[str, Any], row: Row) -> int:
    """Return how many samples a run's epochs or timed steps went over."""
    if run["steps"]:
        return len(timed_s(run["steps"])) * int(row["batch_size"])
    return samples_trained(run["epochs"])


def speed_of(run: Mapping[str, Any], row: Row) -> float | None:
    """Return the samples a second of a run, over training or over its timed steps; None if it has none."""
    trained_s = sum(timed_s(run["steps"])) if run["steps"] else run["time"]["train_s"]
    return samples_of(run, row) / trained_s if trained_s else None


def peak_pct(run: Mapping[str, Any], row: Row) -> float | None:
    """Return the FLOPs of the spec's net a second, as % of the peak of the machine (`frames.machine_peaks`).

    Model FLOPs utilisation (Chowdhery et al. 2022, appendix B): what a framework computes besides does not count. None
    where no peak was measured, for a net of unknown size, and for the floor, which computes nothing.
    """
    size, speed = net_size_of(row), speed_of(run, row)
    peak_gflops: float = row["machine_peak_gflops"]
    if size is None or not speed or not peak_gflops > 0 or row["tool"] == FLOOR:
        return None
    flops = size.forward_flops if row["measure"] == "forward" else size.train_flops
    return 100 * flops * speed / (1e9 * peak_gflops)


def median_peak_pct(row: Row) -> float:
    """Return the median over a cell's runs, nan where it is unknown."""
    known = [pct for run in row["runs"] if (pct := peak_pct(run, row)) is not None]
    return median(known) if known else float("nan")
