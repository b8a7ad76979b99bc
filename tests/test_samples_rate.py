"""Rates of samples, and what share of a machine's peak they are: known answers of made-up runs."""

from typing import Any

import pytest

from harness.frames import to_frame
from harness.records import Record
from harness.speed import median_peak_pct, peak_pct, samples_of, speed_of
from tests.helpers import make_cell, make_content, make_step_cell, make_step_content
from workloads.shapes import forward_flops, train_flops

NETWORK = make_cell().workload.network
FORWARD, TRAIN = forward_flops(NETWORK), train_flops(NETWORK)


def rows_of(*contents: dict[str, Any]) -> dict[str, Any]:
    """Rows by tool."""
    rows = to_frame(Record(content=content) for content in contents).to_dict("records")
    return {row["tool"]: row for row in rows}


def probed(content: dict[str, Any], peak_gflops: float) -> dict[str, Any]:
    """The record with a probe that reached a peak."""
    precision = content["cell"]["precision"]
    return content | {"probe": {"precision": precision, "peak_gflops": peak_gflops}}


def test_rates_are_of_what_was_timed() -> None:
    """20 samples in two epochs of 1 s and 4 s; three timed steps of 0.1 s with 32 samples each."""
    epochs = rows_of(make_content(make_cell("torch"), [1.0, 4.0]))["torch"]
    steps = rows_of(make_step_content(make_step_cell("jax"), [9.0, 0.1, 0.1, 0.1]))["jax"]
    assert (samples_of(epochs["runs"][0], epochs), speed_of(epochs["runs"][0], epochs)) == (20, 4.0)
    assert samples_of(steps["runs"][0], steps) == 96
    assert speed_of(steps["runs"][0], steps) == pytest.approx(320)


@pytest.mark.parametrize(("measure", "flops"), [("forward", FORWARD), ("gradients", TRAIN), ("train", TRAIN)])
def test_a_share_of_the_peak_by_hand(measure: Any, flops: int) -> None:
    """320 samples a second against a canary of 100 and a probe of 400 · 10⁹ operations a second."""
    content = make_step_content(make_step_cell("torch", measure), [9.0, 0.1, 0.1, 0.1])
    row = rows_of(probed(content, 400.0))["torch"]
    assert peak_pct(row["runs"][0], row) == pytest.approx(100 * 320 * flops / 400e9)


def test_the_peak_is_the_machines_and_not_a_slow_tools_own() -> None:
    steps = [9.0, 0.1, 0.1, 0.1]
    cells = {tool: make_step_cell(tool, precision="bfloat16") for tool in ("torch", "jax", "null")}
    contents = {tool: make_step_content(cell, steps) for tool, cell in cells.items()}
    rows = rows_of(probed(contents["torch"], 800.0), probed(contents["jax"], 50.0), contents["null"])
    share = 100 * 320 * TRAIN / 800e9
    assert [median_peak_pct(rows[tool]) for tool in ("torch", "jax")] == pytest.approx([share, share])
    assert median_peak_pct(rows["null"]) != median_peak_pct(rows["null"])


def test_the_peak_of_another_session_is_another() -> None:
    steps = [9.0, 0.1, 0.1, 0.1]
    cells = {tool: make_step_cell(tool, precision="bfloat16") for tool in ("torch", "jax")}
    contents = {tool: probed(make_step_content(cell, steps), 800.0) for tool, cell in cells.items()}
    rows = rows_of(contents["torch"], probed(contents["jax"], 50.0) | {"session": "another"})
    assert [median_peak_pct(rows[tool]) for tool in ("torch", "jax")] == pytest.approx(
        [100 * 320 * TRAIN / peak for peak in (800e9, 50e9)]
    )


def test_the_canarys_float32_is_no_peak_of_another_precision_or_of_a_gpu() -> None:
    steps = [9.0, 0.1, 0.1, 0.1]
    short = make_step_content(make_step_cell("torch", precision="bfloat16"), steps)
    gpu = make_step_content(make_step_cell("jax", device="gpu"), steps)
    for row in rows_of(short, gpu).values():
        assert peak_pct(row["runs"][0], row) is None
