"""What tables say of raw step times: nothing here is kept in a record."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class StepSummary:
    """Steps of one batch size. `deviation_s` is the population standard deviation, as deep-learning tables print it.

    `images_per_s` with `uncertainty` and `jitter` are as tf_cnn_benchmarks defines them, with s_i = batch / t_i:
    batch / mean(t), population standard deviation of s over √n, and 1.4826 · median(|s − median(s)|).
    """

    mean_s: float
    deviation_s: float
    median_s: float
    median_interval_s: tuple[float, float] | None
    images_per_s: float
    uncertainty: float
    jitter: float


def summarize_steps(times_s: Sequence[float], batch_size: int) -> StepSummary:
    """Return the numbers of at least one step's seconds."""
    times = np.array(times_s, np.float64)
    speeds = batch_size / times
    return StepSummary(
        mean_s=float(times.mean()),
        deviation_s=float(times.std()),
        median_s=float(np.median(times)),
        median_interval_s=median_interval(times_s),
        images_per_s=float(batch_size / times.mean()),
        uncertainty=float(speeds.std() / np.sqrt(len(speeds))),
        jitter=float(1.4826 * np.median(np.abs(speeds - np.median(speeds)))),
    )


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the narrowest symmetric interval of order statistics that holds the median with 95 % confidence.

    The k-th smallest and k-th largest of n hold it with probability 1 − 2·Σ_{i<k} C(n, i) / 2ⁿ, whatever the
    distribution (David and Nagaraja, Order Statistics, section 7.1). None for fewer than 6 values, whose extremes do
    not reach 95 %.
    """
    ordered, k, outside = sorted(values), 0, 0
    while 1 - 2 * (outside + comb(len(ordered), k)) / 2 ** len(ordered) >= CONFIDENCE:
        outside += comb(len(ordered), k)
        k += 1
    return (ordered[k - 1], ordered[-k]) if k else None
