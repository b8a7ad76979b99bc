"""Made-up records against the rows of charts that they must give."""

from typing import Any

import pytest

from harness.audit import no_verdict
from harness.chart_rows import bar_rows, curve_rows, part_rows, series_rows, step_rows
from harness.chart_sizes import crossings, make_plots, size_rows
from harness.frames import Row, to_frame
from harness.net_size import net_size_of
from harness.plan import Steps
from harness.records import Record
from tests.helpers import make_cell, make_content, make_step_cell, make_step_content
from workloads import make_workload
from workloads.shapes import parameter_count

PLACE = "CPU, 2 cores"


def rows_of(contents: list[dict[str, Any]]) -> list[Row]:
    """Made-up records as rows that hold what charts need."""
    return to_frame((Record(content=one) for one in contents), also=("utilisation",)).to_dict("records")


def test_bars_stand_in_the_order_of_a_table_with_their_intervals():
    contents = [make_content(make_cell("torch", repeat=run), [2.0, 1.0 + run]) for run in range(3)]
    contents.append(make_content(make_cell("jax"), [1.0, 1.0]))
    unproven = no_verdict("the proof's process ended")
    contents.append(make_content(make_cell("mxnet"), [0.5, 0.5], verdict=unproven))
    contents.append(make_content(make_cell("keras-jax"), [1.0], status="timeout", reason="too slow"))
    contents.append(make_content(make_cell("null"), [0.001, 0.001]))
    bars = bar_rows(rows_of(contents))
    assert [(bar["tool"], bar["value"], bar["low"], bar["high"], bar["ranked"]) for bar in bars] == [
        ("jax", 2.0, None, None, True),
        ("torch", 4.0, 3.0, 5.0, True),
        ("mxnet", 1.0, None, None, False),
        ("keras-jax", None, None, None, False),
        ("null", 0.002, None, None, False),
    ]
    assert [(bar["status"], bar["note"]) for bar in bars[3:]] == [("timeout", "too slow"), ("ok", None)]
    assert {bar["place"] for bar in bars} == {PLACE}


def test_bars_of_steps_are_medians_in_milliseconds():
    contents = [make_step_content(make_step_cell("torch"), [9.0, 0.1, 0.2, 0.4])]
    (bar,) = bar_rows(rows_of(contents), 1000)
    assert bar["value"] == 200


def test_bars_with_runs_enough_carry_the_letters_of_their_rank():
    contents = [make_content(make_cell(tool, repeat=run), [late + run / 10]) for run in range(5) for tool, late in
                {"torch": 1.0, "jax": 1.1, "mxnet": 9.0}.items()]  # fmt: skip
    assert [(bar["tool"], bar["rank"]) for bar in bar_rows(rows_of(contents))] == [
        ("torch", "a"),
        ("jax", "a"),
        ("mxnet", "b"),
    ]


UNITS = (8, 32, 128)


def swept(
    times: dict[str, list[float]], *, units: tuple[int, ...] = UNITS, device: str = "cpu"
) -> list[dict[str, Any]]:
    """Records of tools that trained mnist-mlp with so many units in so many seconds."""
    sizes = [make_workload("mnist-mlp", {"units": count}) for count in units]
    return [
        make_content(make_cell(tool, device=device, workload=size), [seconds])
        for tool, all_s in times.items()
        for size, seconds in zip(sizes, all_s, strict=True)
    ]


def test_sizes_are_parameters_of_the_net():
    rows = size_rows(rows_of(swept({"torch": [1.0, 2.0, 4.0]})))
    counts = [parameter_count(make_workload("mnist-mlp", {"units": units}).network) for units in UNITS]
    assert [(row["line"], row["parameters"], row["seconds"]) for row in rows] == [
        (f"torch · {PLACE}", count, seconds) for count, seconds in zip(counts, [1.0, 2.0, 4.0], strict=True)
    ]


def test_a_net_that_this_version_cannot_build_has_no_size():
    content = make_content(make_cell("torch"), [1.0])
    content["cell"]["workload"] = {"name": "lenet", "parameters": {"units": [1]}}
    (row,) = rows_of([content])
    assert net_size_of(row) is None
    assert size_rows([row]) == []


def test_a_crossing_is_interpolated_between_logarithms():
    """From 1 : 4 to 4 : 1 two lines cross in the middle of the way, at the geometric mean of sizes and of times."""
    rows = size_rows(rows_of(swept({"torch": [1.0, 1.0, 4.0], "jax": [4.0, 4.0, 1.0]})))
    (found,) = crossings(rows)
    sizes = [row["parameters"] for row in rows if row["tool"] == "jax"]
    assert found["parameters"] == pytest.approx((sizes[1] * sizes[2]) ** 0.5)
    assert found["seconds"] == pytest.approx(2.0)
    assert found["label"] == f"jax from {found['parameters'] / 1000:.3g} k (may be noise)"


@pytest.mark.parametrize(
    ("runs", "jitter_s", "is_sure"), [((5, 5), 0.01, True), ((4, 6), 0.01, False), ((5, 5), 3.0, False)]
)
def test_a_crossing_says_that_it_may_be_noise_unless_the_lines_differ_on_both_sides(runs, jitter_s, is_sure):
    contents = [
        make_content(make_cell(tool, repeat=run, workload=make_workload("mnist-mlp", {"units": units})), [s])
        for (tool, times), count in zip({"torch": (1.0, 4.0), "jax": (2.0, 1.0)}.items(), runs, strict=True)
        for units, least_s in zip(UNITS, times, strict=False)
        for run in range(count)
        for s in [least_s + jitter_s * run]
    ]
    (found,) = crossings(size_rows(rows_of(contents)))
    assert found["label"].endswith("(may be noise)") is not is_sure


def test_only_nets_that_differ_in_one_parameter_are_in_one_plot():
    sizes = [{"units": 8}, {"units": 32}, {"units": 128, "train_samples": 1280}, {"units": 64, "train_samples": 640}]
    contents = [
        make_content(make_cell("torch", workload=make_workload("mnist-mlp", chosen)), [1.0]) for chosen in sizes
    ]
    (plot,) = make_plots(rows_of(contents))
    assert [plot.sweep.values[row["parameters"]] for row in plot.rows] == [8, 32]


def test_a_plot_takes_in_places_with_other_numbers_of_steps():
    contents = [
        make_step_content(
            make_step_cell("torch", device=device, steps=steps, workload=make_workload("mnist-mlp", {"units": units})),
            [0.1] * (steps.warmup + steps.timed),
        )
        for device, steps in (("cpu", Steps(warmup=1, timed=2)), ("gpu", Steps(warmup=2, timed=4)))
        for units in UNITS
    ]
    (plot,) = make_plots(rows_of(contents))
    assert len({row["place"] for row in plot.rows}) == 2


def test_what_is_not_compared_makes_no_plot():
    contents = swept({"torch": [1.0, 2.0]}, units=UNITS[:2])
    assert len(list(make_plots(rows_of(contents)))) == 1
    assert list(make_plots(rows_of([contents[0], contents[1] | {"status": "crashed", "reason": "gone"}]))) == []


def test_lines_that_begin_at_one_point_do_not_cross() -> None:
    rows = size_rows(rows_of(swept({"torch": [1.0, 2.0], "jax": [1.0, 1.5]}, units=UNITS[:2])))
    assert crossings(rows) == []


def test_only_the_least_line_is_followed_where_there_is_one_place():
    rows = size_rows(rows_of(swept({"torch": [1.0, 1.0, 1.0], "jax": [2.0, 3.0, 4.0], "mxnet": [4.0, 3.5, 3.0]})))
    assert crossings(rows) == []


def test_with_several_places_each_tool_is_compared_with_itself():
    contents = swept({"torch": [1.0, 2.0, 8.0], "jax": [9.0, 9.0, 9.0]})
    contents += swept({"torch": [2.0, 2.5, 3.0], "jax": [8.0, 8.0, 8.0]}, device="gpu")
    (found,) = crossings(size_rows(rows_of(contents)))
    assert found["label"].startswith("torch: GPU from ")


def test_curves_are_those_of_the_run_of_median_time():
    contents = [
        make_content(make_cell("torch", repeat=run), [1.0 + run, 1.0], checks=[0.5, run / 10]) for run in range(3)
    ]
    contents.append(make_content(make_cell("null"), [0.1, 0.1]))
    rows = rows_of(contents)
    points = [(row["line"], row["x"], row["y"]) for row in curve_rows(rows, "error_pct", "seconds")]
    assert points == [("torch", 2.0, 50.0), ("torch", 3.0, 10.0)]
    assert [(row["x"], row["y"]) for row in curve_rows(rows, "loss", "epochs")] == [(1, 1.0), (2, 1.0)]


def test_a_curve_leaves_out_what_was_not_looked_at():
    assert curve_rows(rows_of([make_content(make_cell("torch"), [1.0])]), "error_pct", "epochs") == []


def test_parts_add_up_to_the_run_and_the_floor_comes_last():
    contents = [make_content(make_cell("null"), [0.001]), make_content(make_cell("torch"), [4.0, 2.0])]
    contents.append(make_content(make_cell("jax"), [1.0], status="crashed", reason="gone"))
    parts = part_rows(rows_of(contents))
    assert list(dict.fromkeys(part["tool"] for part in parts)) == ["torch", "null"]
    mine = {part["part"]: part["seconds"] for part in parts if part["tool"] == "torch"}
    assert sum(mine.values()) == pytest.approx(contents[1]["time"]["total_s"])
    assert (mine["first step"], mine["train"]) == (2.0, 4.0)
    assert "checks" not in mine


def test_cpu_is_counted_over_windows_that_are_long_enough():
    content = make_content(make_cell("torch"), [1.0])
    content["utilisation"]["series"] = {
        "at_s": [0.0, 0.5, 0.51, 1.0, 1.5],
        "cpu_s": [0.0, 0.5, 0.6, 1.5, None],
        "rss_mib": [1.0, 2.0, 3.0, 4.0, None],
        "gpus": [{"gpu_pct": [None, 10.0, 20.0, 30.0, None]}, {"gpu_pct": [None, 30.0, 20.0, 10.0, None]}],
    }
    rows = rows_of([content])
    assert [(row["at_s"], row["value"]) for row in series_rows(rows, "CPU %")] == [(0.5, 50.0), (1.0, 100.0)]
    assert [row["value"] for row in series_rows(rows, "GPU %")] == [20.0, 20.0, 20.0]
    assert [row["value"] for row in series_rows(rows, "memory MiB")] == [1.0, 2.0, 3.0, 4.0]


def test_steps_are_numbered_from_one_with_their_warm_up():
    contents = [make_step_content(make_step_cell("torch", steps=Steps(warmup=1, timed=2)), [9.0, 0.1, 0.2])]
    assert [(row["step"], row["ms"], row["warmup"]) for row in step_rows(rows_of(contents))] == [
        (1, 9000.0, True),
        (2, 100.0, False),
        (3, 200.0, False),
    ]
