"""What is expected of the cells that are left, against matrices whose times are made up."""

import pytest

from harness.forecast import Countdown, Forecast, about, fit_products, place_of
from harness.plan import Cell
from harness.records import Planned, Record
from tests.helpers import make_cell, make_content
from workloads import make_workload

MODELS = ("digits-cnn", "digits-mlp", "mnist-cnn")


def cell_of(tool: str, model: int = 0, **changes: object) -> Cell:
    """A cell of the n-th model."""
    return make_cell(tool, workload=make_workload(MODELS[model], {}), **{"time_limit_s": 3600, **changes})


def learn(seconds: dict[tuple[str, int], float]) -> Forecast:
    """What is known once each tool has taken so long on each model."""
    forecast = Forecast()
    for (tool, model), took_s in seconds.items():
        forecast.learn(cell_of(tool, model), took_s)
    return forecast


def planned(*cells: Cell) -> list[Planned]:
    return [Planned(cell=cell, key="k", cores=2, done=None) for cell in cells]


def test_another_repeat_is_expected_to_take_the_median_of_those_before() -> None:
    forecast = learn({("jax", 0): 500.0})
    for took_s in (9.0, 1.0, 2.0):
        forecast.learn(cell_of("torch"), took_s)
    assert forecast.expect_s([cell_of("torch", repeat=3), cell_of("torch", repeat=4)]) == 4.0


@pytest.mark.parametrize(
    ("known", "tool", "model", "expected_s"),
    [
        ({("torch", 0): 10, ("jax", 0): 20, ("torch", 1): 100}, "jax", 1, 200.0),
        ({("torch", 0): 10, ("jax", 0): 30}, "torch", 1, 10.0),
        ({("torch", 0): 10, ("torch", 1): 40}, "jax", 1, 40.0),
        ({("torch", 0): 10, ("jax", 0): 30, ("torch", 1): 10}, "mxnet", 1, 20.0),
        ({("torch", 0): 10, ("jax", 0): 30}, "mxnet", 1, 20.0),
    ],
    ids=["by tool and model", "by tool", "by model", "by model, run by a quick tool", "the mean of all"],
)
def test_a_cell_that_was_never_run_is_expected_to_be_like_its_row_and_its_column(
    known: dict[tuple[str, int], float], tool: str, model: int, expected_s: float
) -> None:
    assert learn(known).expect_s([cell_of(tool, model)]) == pytest.approx(expected_s, rel=0.001)


def test_products_add_up_to_what_each_tool_and_each_place_took() -> None:
    places = [place_of(cell_of("torch", model)) for model in range(3)]
    known = {("torch", places[0]): 3.0, ("torch", places[1]): 8.0, ("jax", places[1]): 2.0, ("jax", places[2]): 7.0}
    known["mxnet", places[0]] = 5.0
    known["mxnet", places[1]] = 1.0
    factors, places_s = fit_products(known)
    products = {(tool, place): factors[tool] * places_s[place] for tool, place in known}
    for axis in (0, 1):
        for name in {names[axis] for names in known}:
            sums = [sum(values[names] for names in known if names[axis] == name) for values in (products, known)]
            assert sums[0] == pytest.approx(sums[1], rel=0.01)


def test_no_cell_is_expected_to_take_longer_than_its_time_limit() -> None:
    assert learn({("torch", 0): 1000.0}).expect_s([cell_of("jax", time_limit_s=60)]) == 60.0


def test_nothing_is_expected_while_nothing_is_known() -> None:
    assert Forecast().expect_s([cell_of("torch")]) is None


def test_a_cell_is_left_until_its_record_is_there_and_time_goes_by_meanwhile() -> None:
    cells = [cell_of("torch", repeat=repeat) for repeat in range(3)]
    countdown = Countdown()
    countdown.add(planned(*cells))
    countdown.begin(cells[0], 100.0)
    assert countdown.words(130.0) == "3 cells left"
    countdown.end(cells[0], 140.0)
    assert countdown.words(140.0) == "2 cells left, about 1 min"
    countdown.begin(cells[1], 140.0)
    assert countdown.words(160.0) == "2 cells left, about 1 min"
    assert countdown.words(175.0) == "2 cells left, about 45 s"
    assert countdown.words(999.0) == "2 cells left, about 40 s"
    countdown.end(cells[1], 180.0)
    countdown.begin(cells[2], 180.0)
    countdown.end(cells[2], 181.0)
    assert countdown.words(181.0) == ""


def test_records_that_are_there_already_teach() -> None:
    """A made-up record of 3 s of training is of 8 s in all."""
    done, left = cell_of("torch"), cell_of("torch", repeat=1)
    countdown = Countdown()
    record = Record(content=make_content(done, [2.0, 1.0]))
    countdown.add([Planned(cell=done, key="k", cores=2, done=record), *planned(left)])
    assert countdown.words(0.0) == "1 cell left, about 10 s"


def test_a_cell_that_only_needs_a_record_is_left_takes_no_time_and_teaches_nothing() -> None:
    measured, absent = cell_of("torch"), cell_of("torch", repeat=1, not_run=("unavailable", "no GPU"))
    countdown = Countdown()
    countdown.add(planned(measured, absent))
    countdown.begin(absent, 0.0)
    countdown.end(absent, 50.0)
    assert countdown.words(50.0) == "1 cell left"
    countdown.add(planned(absent))
    countdown.begin(measured, 50.0)
    countdown.end(measured, 75.0)
    assert countdown.words(75.0) == "1 cell left"


def test_a_cell_that_is_left_out_on_the_way_is_the_one_that_was_planned() -> None:
    cell = cell_of("torch")
    skipped = cell_of("torch", not_run=("skipped", "out of memory at batch 32"))
    countdown = Countdown()
    countdown.add(planned(cell))
    countdown.begin(skipped, 0.0)
    countdown.end(skipped, 1.0)
    assert countdown.words(1.0) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "about 5 s"),
        (43.0, "about 45 s"),
        (58.0, "about 1 min"),
        (200.0, "about 3 min"),
        (1300.0, "about 20 min"),
        (7900.0, "about 2 h 10 min"),
        (35990.0, "about 10 h"),
        (100_000.0, "about 28 h"),
    ],
)
def test_times_are_said_roughly(seconds: float, words: str) -> None:
    assert about(seconds) == words
