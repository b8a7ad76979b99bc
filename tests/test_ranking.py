"""Which tools share a rank, and what a table says where runs are too few to tell."""

import numpy as np
import pytest

from harness.ranking import RANKED_REPEATS, Comparison, interval_text

SLOW, FAST = [2.0, 2.1, 2.2, 2.3, 2.4], [1.0, 1.1, 1.2, 1.3, 1.4]


def test_five_runs_are_enough_and_four_are_not() -> None:
    assert RANKED_REPEATS == 5
    assert [Comparison({"p": SLOW, "q": FAST}).rank(tool) for tool in "pq"] == ["b", "a"]
    assert [Comparison({"p": SLOW[:4], "q": FAST[:4]}).rank(tool) for tool in "pq"] == ["–", "–"]


def test_a_tool_with_too_few_runs_has_no_rank_beside_those_that_have() -> None:
    comparison = Comparison({"p": SLOW, "q": FAST, "r": [1.2]})
    assert [comparison.rank(tool) for tool in "pqr"] == ["b", "a", "–"]


def test_a_tool_alone_has_no_rank() -> None:
    assert Comparison({"p": SLOW}).rank("p") == "–"


def test_the_ratio_to_the_best_has_an_interval_where_runs_are_enough() -> None:
    comparison = Comparison({"p": [2.0] * 5, "q": [1.0] * 5, "r": [3.0]})
    assert [comparison.versus_best(tool) for tool in "pqr"] == ["2.00 (2.00 – 2.00)", "1.00", "3.00"]


@pytest.mark.parametrize("spread", [0.002, 0.05, 0.3])
def test_one_tool_under_two_names_shares_a_rank_in_95_of_100_draws(spread: float) -> None:
    stream = np.random.RandomState(2)
    shared = 0
    for _ in range(1000):
        one, other = stream.lognormal(0, spread, (2, 5)).tolist()
        comparison = Comparison({"torch": one, "torch again": other})
        shared += comparison.rank("torch") == comparison.rank("torch again") == "a"
    assert shared >= 950


def test_tools_ten_per_cent_apart_are_told_apart_where_runs_scatter_little() -> None:
    stream = np.random.RandomState(3)
    apart = 0
    for _ in range(100):
        one, other = stream.lognormal(0, 0.02, (2, 5))
        comparison = Comparison({"p": one.tolist(), "q": (1.1 * other).tolist()})
        apart += (comparison.rank("p"), comparison.rank("q")) == ("a", "b")
    assert apart >= 90


def test_a_median_stands_with_its_interval_or_with_the_least_and_the_most() -> None:
    assert interval_text([2.0], ".2f") == "2.00"
    assert interval_text([1.0, 3.0, 2.0], ".1f") == "2.0 (1.0 – 3.0)"
    assert interval_text([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], ".0f", 10) == "50 (20 – 80)"
