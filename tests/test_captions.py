"""What stands below a table, from made-up records."""

from typing import Any

from harness.captions import describe_table
from harness.frames import to_frame
from harness.records import Record
from tests.helpers import HOST, make_cell, make_content, make_step_cell, make_step_content

TORCH = {"torch": "2.13.0", "numpy": "2"}


def caption(*contents: dict[str, Any]) -> str:
    return describe_table(to_frame(Record(content=content) for content in contents).to_dict("records"))


def content(tool: str, repeat: int = 0, **packages: str) -> dict[str, Any]:
    made = make_content(make_cell(tool, repeat=repeat), [2.0, 1.0])
    return made | {"versions": {"python": "3.11.7", "packages": packages}}


def test_a_caption_says_machine_versions_runs_day_and_what_time_is() -> None:
    keras = content("keras-torch", keras="3.15.1", torch="2.13.0", absl_py="1")
    tensorflow = content("tensorflow", tensorflow_cpu="2.21.0")
    assert caption(content("torch", **TORCH), keras, tensorflow, content("null", numpy="2")) == (
        "Testium 9000 with 16 GiB, no GPU. Python 3.11.7, keras 3.15.1, tensorflow-cpu 2.21.0, torch 2.13.0. "
        "1 run a cell, on 2026-01-01 (UTC). Time is training alone: all epochs with the first step and its "
        "compilation, and with validation where the workload has it."
    )


def test_runs_and_days_are_a_range() -> None:
    later = {**content("torch", repeat=1, **TORCH), "finished_at": "2026-01-03T00:00:00+00:00"}
    assert "1 to 2 runs a cell, from 2026-01-01 to 2026-01-03 (UTC)." in caption(
        content("torch", **TORCH), later, content("jax")
    )
    assert "2 runs a cell," in caption(content("torch", **TORCH), later)


def test_a_run_that_failed_early_tells_no_versions() -> None:
    failed = make_content(make_cell("torch"), [1.0], status="crashed", reason="x")
    failed["versions"] = {"python": None, "packages": None, "libraries": None}
    assert caption(failed).startswith("Testium 9000 with 16 GiB, no GPU. 1 run a cell, on 2026-01-01 (UTC).")
    assert "Python 3.11.7, torch 2.13.0." in caption(failed, content("torch", repeat=1, **TORCH))


def test_runs_of_one_tool_with_different_versions_are_told() -> None:
    words = caption(content("torch", **TORCH), content("torch", repeat=1, torch="2.14.0"))
    assert "torch 2.13.0 (torch) and 2.14.0 (torch). Runs of one tool are of different versions." in words
    two_tools = caption(content("torch", **TORCH), content("keras-torch", torch="2.14.0"))
    assert "torch 2.13.0 (torch) and 2.14.0 (keras-torch)." in two_tools
    assert "of different versions" not in two_tools


def test_cells_that_were_never_run_have_no_runs() -> None:
    absent = make_content(make_cell("torch", device="gpu"), [1.0]) | {"status": "unavailable", "reason": "no GPU"}
    assert "a cell" not in caption(absent)


def test_each_kind_of_step_and_each_machine_is_named() -> None:
    gpu = {**HOST, "gpus": [{"name": "Testla H1"}], "machine": "ffffffffffff"}
    forward = make_step_content(make_step_cell("torch", measure="forward"), [1.0] * 4)
    words = caption(forward, make_step_content(make_step_cell("torch"), [1.0] * 4, host=gpu))
    assert "no GPU; Testium 9000 with 16 GiB, Testla H1." in words
    assert "A `forward` step is" in words
    assert "A `train` step is" in words
