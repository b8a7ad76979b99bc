"""Where the order of two lines changes: from which size on another tool, or a GPU, takes less time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """A size at which two lines cross, and the measured sizes around it, at which one of the two takes less time.

    `one_is_faster_above` says which of the two takes less from there on.
    """

    size: float
    below: float
    above: float
    one_is_faster_above: bool


def crossover(sizes: Sequence[float], one_s: Sequence[float], other_s: Sequence[float]) -> list[Crossing]:
    """Return where the order of two tools' positive seconds at positive rising sizes changes.

    Between neighbouring sizes both lines are taken as straight in log(size) and log(seconds), so they cross where
    log(one / other), which is then straight too, is zero. Where both take the same at measured sizes, the crossing is
    there, at the geometric mean of these; lines that touch and keep their order do not cross.
    """
    gaps = [math.log(one / other) for one, other in zip(one_s, other_s, strict=True)]
    apart = [place for place, gap in enumerate(gaps) if gap]
    return [
        Crossing(
            size=_zero(sizes, gaps, before, after),
            below=sizes[before],
            above=sizes[after],
            one_is_faster_above=gaps[after] < 0,
        )
        for before, after in pairwise(apart)
        if (gaps[before] < 0) != (gaps[after] < 0)
    ]


def _zero(sizes: Sequence[float], gaps: Sequence[float], before: int, after: int) -> float:
    """Return the size at which the gap is zero, which at `before` and `after` is not, and has another sign."""
    if after > before + 1:
        return math.sqrt(sizes[before + 1] * sizes[after - 1])
    share = gaps[before] / (gaps[before] - gaps[after])
    return math.exp((1 - share) * math.log(sizes[before]) + share * math.log(sizes[after]))
