"""What tables say of raw times: nothing here is kept in a record."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import comb
from statistics import median
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
SIGNIFICANCE = 0.01
"""How rarely two equal tools may be told apart; a table holds many pairs, so it is less than 1 − CONFIDENCE."""
RESAMPLES = 9999


@dataclass(frozen=True, kw_only=True)
class StepSummary:
    """Steps of one batch size. `deviation_s` is the population standard deviation, as deep-learning tables print it.

    `samples_per_s` with `uncertainty` and `jitter` are as tf_cnn_benchmarks defines them, with s_i = batch / t_i:
    batch / mean(t), population standard deviation of s over √n, and 1.4826 · median(|s − median(s)|).
    """

    mean_s: float
    deviation_s: float
    median_s: float
    median_interval_s: tuple[float, float] | None
    samples_per_s: float
    uncertainty: float
    jitter: float


def summarize_steps(times_s: Sequence[float], batch_size: int) -> StepSummary:
    """Return the numbers of at least one step's seconds."""
    times = np.array(times_s, np.float64)
    speeds = batch_size / times
    return StepSummary(
        mean_s=float(times.mean()),
        deviation_s=float(times.std()),
        median_s=median(times_s),
        median_interval_s=median_interval(times_s),
        samples_per_s=float(batch_size / times.mean()),
        uncertainty=float(speeds.std() / np.sqrt(len(speeds))),
        jitter=1.4826 * median(np.abs(speeds - median(speeds.tolist())).tolist()),
    )


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the narrowest symmetric interval of order statistics that holds the median with 95 % confidence.

    The k-th smallest and k-th largest of n hold it with probability 1 − 2·Σ_{i<k} C(n, i) / 2ⁿ, whatever the
    distribution (David and Nagaraja, Order Statistics, section 7.1). None for fewer than 6 values, whose extremes do
    not reach 95 %.
    """
    ordered, k = sorted(values), _outermost(len(values))
    return (ordered[k - 1], ordered[-k]) if k else None


@cache
def _outermost(count: int) -> int:
    """Return the k of `median_interval` for so many values, or 0."""
    k, outside = 0, 0
    while 1 - 2 * (outside + comb(count, k)) / 2**count >= CONFIDENCE:
        outside += comb(count, k)
        k += 1
    return k


def can_differ(first: int, second: int) -> bool:
    """Return whether samples of these sizes can differ significantly at all.

    The least two-sided p of the exact Mann–Whitney test is 2 / C(n + m, n): 0.029 for 4 and 4, 0.0079 for 5 and 5.
    """
    return 2 / comb(first + second, first) <= SIGNIFICANCE


def differ(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return whether two samples differ in location: Mann and Whitney's test (1947).

    It is exact where one sample has eight values at most and nothing is tied, and its normal approximation elsewhere.
    Samples that do not overlap are as far apart as can be.
    """
    if max(first) < min(second) or max(second) < min(first):
        return can_differ(len(first), len(second))
    places = {value: place for place, value in enumerate(sorted({*first, *second}))}
    return _ordered_apart(*(tuple(sorted(places[value] for value in values)) for values in (first, second)))


@cache
def _ordered_apart(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Return what the test says of samples by the places of their values, which are all that it looks at."""
    from scipy import stats  # takes a second to load, and few commands come to it

    return bool(stats.mannwhitneyu(first, second).pvalue <= SIGNIFICANCE)


def ratio_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of median(first) / median(second), by the percentile bootstrap (Efron 1979).

    Both are drawn anew by themselves, always with the same stream, so that a table comes out the same again.
    """
    medians = [
        np.sort(np.asarray(values, np.float64))[middle].mean(axis=0)
        for values, middle in zip((first, second), _middles(len(first), len(second)), strict=True)
    ]
    low, high = np.quantile(medians[0] / medians[1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


@cache
def _middles(*counts: int) -> list[NDArray[np.int64]]:
    """Return the two middle places of each resample of so many ordered values, sample by sample; shape 2 × RESAMPLES.

    A resample's median is the mean of the values there, whatever they are, and tables ask for few pairs of sizes.
    """
    stream = np.random.RandomState(0)
    drawn = [np.sort(stream.randint(0, count, (RESAMPLES, count)), axis=1) for count in counts]
    return [places.T[[(places.shape[1] - 1) // 2, places.shape[1] // 2]] for places in drawn]


def shared_ranks(ordered: Sequence[str], differing: Callable[[str, str], bool]) -> dict[str, str]:
    """Return letters for names in the order of a table: two names share a letter if and only if they do not differ.

    Piepho's insert-and-absorb algorithm (2004): all start in one group; each pair that differs splits the groups it is
    in; groups within others go.
    """
    groups = [frozenset(ordered)]
    for one, other in combinations(ordered, 2):
        if not differing(one, other):
            continue
        split = [part for group in groups for part in _without_pair(group, one, other)]
        groups = [group for group in dict.fromkeys(split) if not any(group < larger for larger in split)]
    groups.sort(key=lambda group: sorted(map(ordered.index, group)))
    return {
        name: "".join(letter for letter, group in zip(_letters(len(groups)), groups, strict=True) if name in group)
        for name in ordered
    }


def _without_pair(group: frozenset[str], one: str, other: str) -> Iterable[frozenset[str]]:
    return (group - {one}, group - {other}) if {one, other} <= group else (group,)


def _letters(count: int) -> list[str]:
    """Return a, b, …, z, a2, b2, …"""
    return [ascii_lowercase[i % 26] + (str(i // 26 + 1) if i >= 26 else "") for i in range(count)]
