"""Step statistics against numbers worked out by hand."""

import numpy as np
import pytest

from harness.statistics import can_differ, differ, median_interval, ratio_interval, shared_ranks, summarize_steps


def test_three_steps_by_hand() -> None:
    """Times 1, 2, 4 s at batch 8 are 8, 4, 2 samples/s: their mean is 14/3 and their variance 84/3 − (14/3)² = 56/9."""
    summary = summarize_steps([1.0, 4.0, 2.0], 8)
    assert summary.mean_s == pytest.approx(7 / 3)
    assert summary.deviation_s == pytest.approx((21 / 3 - (7 / 3) ** 2) ** 0.5)
    assert summary.median_s == 2.0
    assert summary.median_interval_s is None
    assert summary.samples_per_s == pytest.approx(24 / 7)
    assert summary.uncertainty == pytest.approx((56 / 9) ** 0.5 / 3**0.5)
    assert summary.jitter == pytest.approx(1.4826 * 2)


def test_equal_steps_neither_scatter_nor_jitter() -> None:
    summary = summarize_steps([0.25] * 4, 16)
    assert (summary.mean_s, summary.deviation_s, summary.samples_per_s) == (0.25, 0.0, 64.0)
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


def test_four_repeats_cannot_differ_and_five_can() -> None:
    assert [n for n in range(1, 8) if can_differ(n, n)] == [5, 6, 7]


def test_samples_that_do_not_overlap_differ() -> None:
    assert differ([1.0, 1.1, 1.2, 1.3, 1.4], [2.0, 2.1, 2.2, 2.3, 2.4])
    assert not differ([1.0, 2.1, 1.2, 1.3, 1.4], [2.0, 1.1, 2.2, 2.3, 2.4])
    assert not differ([1.0, 1.1, 1.2, 1.3], [2.0, 2.1, 2.2, 2.3])


def test_ties_within_samples_that_do_not_overlap_take_nothing_from_their_difference() -> None:
    """The normal approximation, which is for ties between samples, would say p = 0.0117."""
    assert differ([2.0, 2.0, 2.1, 2.2, 2.3], [1.0, 1.0, 1.1, 1.2, 1.3])


def test_the_interval_of_a_ratio_holds_it() -> None:
    low, high = ratio_interval([2.0, 2.1, 1.9, 2.05, 1.95], [1.0, 1.05, 0.95, 1.02, 0.98])
    assert 1.8 < low < 2.0 < high < 2.25
    assert ratio_interval([2.0] * 5, [1.0] * 5) == (2.0, 2.0)


def test_one_tool_under_two_names_differs_in_one_draw_of_a_hundred() -> None:
    stream = np.random.RandomState(1)
    different = sum(differ(*stream.lognormal(0, 0.05, (2, 5))) for _ in range(1000))
    assert 0 < different <= 10


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], {"p": "a", "q": "a", "r": "a"}),
        (["pq", "pr", "qr"], {"p": "a", "q": "b", "r": "c"}),
        (["pr"], {"p": "a", "q": "ab", "r": "b"}),
        (["pq"], {"p": "a", "q": "b", "r": "ab"}),
    ],
)
def test_names_share_a_letter_if_and_only_if_they_do_not_differ(pairs: list[str], expected: dict[str, str]) -> None:
    assert shared_ranks("pqr", lambda one, other: one + other in pairs) == expected
