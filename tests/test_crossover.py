"""Known answers for the size at which two lines cross."""

import pytest

from harness.crossover import Crossing, crossover


def test_lines_that_are_straight_in_logarithms_cross_where_they_are_equal() -> None:
    """1·n and 100·n^0 are equal at 100, halfway between 10 and 1,000 in logarithms."""
    (found,) = crossover([10, 1000], [10.0, 1000.0], [100.0, 100.0])
    assert found.size == pytest.approx(100.0)
    assert (found.below, found.above, found.one_is_faster_above) == (10, 1000, False)


def test_the_nearer_side_is_the_one_with_the_smaller_gap() -> None:
    """The ratio is 2 at 1 and 1/8 at 16: log 2 of log 16 is a quarter of the way, at 2."""
    (found,) = crossover([1, 16], [2.0, 1.0], [1.0, 8.0])
    assert found.size == pytest.approx(2.0)
    assert found.one_is_faster_above


def test_no_change_of_order_is_no_crossing() -> None:
    assert crossover([1, 2, 3], [1.0, 2.0, 3.0], [2.0, 2.5, 3.5]) == []
    assert crossover([1, 2], [1.0, 2.0], [1.0, 2.0]) == []
    assert crossover([1], [1.0], [2.0]) == []


def test_equal_times_at_measured_sizes_are_the_crossing() -> None:
    (found,) = crossover([1, 4, 9], [1.0, 2.0, 9.0], [2.0, 2.0, 5.0])
    assert found == Crossing(size=4.0, below=1, above=9, one_is_faster_above=False)
    (found,) = crossover([1, 4, 9, 10], [1.0, 2.0, 3.0, 9.0], [2.0, 2.0, 3.0, 5.0])
    assert found.size == pytest.approx(6.0)


def test_lines_that_only_touch_do_not_cross() -> None:
    assert crossover([1, 2, 3], [1.0, 2.0, 1.0], [2.0, 2.0, 2.0]) == []


def test_each_change_of_order_is_a_crossing() -> None:
    found = crossover([1, 2, 3], [1.0, 3.0, 1.0], [2.0, 2.0, 2.0])
    assert [(one.below, one.above, one.one_is_faster_above) for one in found] == [(1, 2, False), (2, 3, True)]
