"""Step statistics against numbers worked out by hand."""

import pytest

from harness.statistics import median_interval, summarize_steps


def test_three_steps_by_hand() -> None:
    """Times 1, 2, 4 s at batch 8 are 8, 4, 2 images/s: their mean is 14/3 and their variance 84/3 − (14/3)² = 56/9."""
    summary = summarize_steps([1.0, 4.0, 2.0], 8)
    assert summary.mean_s == pytest.approx(7 / 3)
    assert summary.deviation_s == pytest.approx((21 / 3 - (7 / 3) ** 2) ** 0.5)
    assert summary.median_s == 2.0
    assert summary.median_interval_s is None
    assert summary.images_per_s == pytest.approx(24 / 7)
    assert summary.uncertainty == pytest.approx((56 / 9) ** 0.5 / 3**0.5)
    assert summary.jitter == pytest.approx(1.4826 * 2)


def test_equal_steps_neither_scatter_nor_jitter() -> None:
    summary = summarize_steps([0.25] * 4, 16)
    assert (summary.mean_s, summary.deviation_s, summary.images_per_s) == (0.25, 0.0, 64.0)
    assert (summary.uncertainty, summary.jitter) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("count", "interval"),
    [
        (1, None),
        (5, None),
        (6, (1, 6)),
        (8, (1, 8)),
        (9, (2, 8)),
        (10, (2, 9)),
        (20, (6, 15)),
        (100, (40, 61)),
    ],
)
def test_the_median_lies_between_these_of_so_many(count: int, interval: tuple[int, int] | None) -> None:
    """Of 6 the extremes cover 1 − 2/64 = 96.9 %, of 5 only 93.8 %; of 9 the second ones 1 − 2·10/512 = 96.1 %."""
    assert median_interval(list(range(count, 0, -1))) == interval
