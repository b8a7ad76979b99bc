"""Known answers for what is derived from a record's times, energy and price."""

import pytest

from harness.ledger import (
    JobTime,
    job_time,
    measured_s,
    overtaking_epoch,
    run_cost,
    samples_trained,
    time_to_target,
    training_energy_j,
)
from tests.helpers import make_cell, make_content, make_step_cell, make_step_content


def test_a_job_is_a_fixed_part_and_steady_epochs() -> None:
    """14 s in all: 5 s around training, epochs of 4, 2 and 3 s; 2.5 s is steady, so the first has 1.5 s more."""
    content = make_content(make_cell(), [4.0, 2.0, 3.0])
    assert content["time"]["total_s"] == 14.0
    assert job_time(content) == JobTime(fixed_s=6.5, epoch_s=2.5)


def test_looks_at_the_error_rate_are_no_part_of_a_job() -> None:
    plain, checked = (make_content(make_cell(), [4.0, 2.0], checks=checks) for checks in ([], [0.5, 0.4]))
    assert checked["time"]["total_s"] == plain["time"]["total_s"] + 0.25
    assert job_time(checked) == job_time(plain)


def test_one_epoch_tells_nothing_of_a_long_job() -> None:
    assert job_time(make_content(make_cell(), [4.0])) is None


@pytest.mark.parametrize(("fixed_s", "epoch"), [(2.5, 2), (9.0, 9), (9.5, 9), (10.0, 10), (0.5, None)])
def test_a_tool_that_starts_late_overtakes(fixed_s: float, epoch: int | None) -> None:
    """The early one takes 1 + 2n, the late one fixed + n; with 0.5 it is never behind."""
    late, early = JobTime(fixed_s=fixed_s, epoch_s=1.0), JobTime(fixed_s=1.0, epoch_s=2.0)
    found = overtaking_epoch(late, early)
    assert found == epoch
    if found:
        times = [(fixed_s + n, 1.0 + 2 * n) for n in (found - 1, found)]
        assert [mine < other for mine, other in times] == [False, True]


def test_a_tool_that_is_slower_in_the_long_run_never_overtakes() -> None:
    slow, fast = JobTime(fixed_s=1.0, epoch_s=2.0), JobTime(fixed_s=1.0, epoch_s=1.0)
    assert overtaking_epoch(slow, fast) is None
    assert overtaking_epoch(fast, fast) is None


def test_the_time_to_a_target_counts_the_epochs_up_to_it() -> None:
    """Before training are 0.5 + 1 + 0.5 + 3 × 0.25 s; the first two epochs take 6 s, and 2.5 s each in the long run."""
    content = make_content(make_cell(), [4.0, 2.0, 3.0], checks=[0.3, 0.05, 0.06])
    reached = time_to_target(content, 0.05)
    assert reached is not None
    assert (reached.epoch, reached.steady_s, reached.all_in_s) == (2, 5.0, 8.75)
    assert time_to_target(content, 0.04) is None


def test_a_target_reached_in_a_single_epoch_has_no_steady_time() -> None:
    reached = time_to_target(make_content(make_cell(), [4.0], checks=[0.01]), 0.05)
    assert reached is not None
    assert (reached.epoch, reached.steady_s) == (1, None)


def test_energy_is_of_gpus_and_packages_and_unknown_where_neither_is_read() -> None:
    assert training_energy_j({"energy_j": 30.0, "package_energy_j": 12.5}) == 42.5
    assert training_energy_j({"energy_j": None, "package_energy_j": 12.5}) == 12.5
    assert training_energy_j({"energy_j": None, "package_energy_j": None}) is None


def test_cost_and_samples() -> None:
    assert run_cost(900.0, 4.0) == 1.0
    assert samples_trained([{"samples": 10}, {"samples": 7}]) == 17


def test_cells_are_compared_by_training_or_by_the_median_timed_step() -> None:
    assert measured_s(make_content(make_cell(), [4.0, 2.0])) == 6.0
    assert measured_s(make_step_content(make_step_cell(), [9.0, 1.0, 3.0, 2.0])) == 2.0
    assert measured_s(make_content(make_cell(), [4.0], status="failed", reason="x")) is None
