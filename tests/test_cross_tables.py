"""Made-up records of several places against the tables they must give, to the letter."""

from pathlib import Path
from typing import Any

import pytest

from harness.audit import no_verdict
from harness.batch_tables import render_batches
from harness.cross_tables import cores_table, render_cores, render_devices, render_machines, render_precisions
from harness.frames import Row, most_steps, to_frame
from harness.markdown import Notes, Section, render_sections
from harness.plan import Steps
from harness.records import Record
from harness.sizes import count_parameters, find_sweeps
from tests.helpers import HOST, make_cell, make_content, make_step_cell, make_step_content
from workloads import make_workload

GOLDEN = Path(__file__).parent / "golden" / "cross_tables.md"
UNPROVEN = {**no_verdict(""), "level": "S2", "reason": "logits are off"}
FAILED = {"status": "crashed", "reason": "ended by SIGSEGV"}
OTHER = {**HOST, "machine": "ffffffffffff", "cpu": "Othium", "gpus": [{"name": "Testla A2"}]}
WITH_GPU = {**HOST, "gpus": [{"name": "Testla H1"}]}


def rows_of(*contents: dict[str, Any]) -> list[Row]:
    return to_frame(Record(content=content) for content in contents).to_dict("records")


def on_cores(cores: int, tool: str, train_s: float, **changes: Any) -> dict[str, Any]:
    content = make_content(make_cell(tool), [train_s], **changes)
    content["cell"]["cores"] = cores
    return content


def five_runs(tool: str, device: str, train_s: float, host: dict[str, Any] = WITH_GPU) -> list[dict[str, Any]]:
    return [
        make_content(make_cell(tool, device=device, repeat=run), [train_s + run / 10], host=host) for run in range(5)
    ]


def cells_of(section: Section) -> list[str]:
    """Return the last line of a section's table."""
    return [cell.strip() for cell in section.lines[0].splitlines()[-1].split("|")[1:-1]]


def several_cores() -> list[Row]:
    """Three core counts, of which one tool failed on one, one was not run on one, and one is not proven."""
    return rows_of(
        *(on_cores(cores, "torch", s) for cores, s in ((1, 8.0), (2, 5.0), (4, 4.0))),
        *(on_cores(cores, "jax", s) for cores, s in ((1, 6.0), (2, 3.0))),
        on_cores(4, "jax", 1.0, **FAILED),
        *(on_cores(cores, "keras-jax", s, verdict=UNPROVEN) for cores, s in ((1, 2.0), (4, 1.0))),
        *(on_cores(cores, "null", 0.01) for cores in (1, 2, 4)),
    )


def cpu_and_gpu() -> list[Row]:
    """Repeats on both, and a failure and a refusal of single runs."""
    return rows_of(
        *five_runs("torch", "cpu", 9.0), *five_runs("torch", "gpu", 3.0), *five_runs("jax", "cpu", 5.0),
        make_content(make_cell("jax", device="gpu"), [1.0], host=WITH_GPU, **FAILED),
        make_content(make_cell("mxnet", device="gpu"), [1.0], host=WITH_GPU, status="unsupported", reason="retired"),
    )  # fmt: skip


def two_precisions() -> list[Row]:
    """Steps of two tools in two precisions, one of which failed in one; what is in one, and what is not to be had."""
    short = {"precision": "bfloat16"}
    return rows_of(
        make_step_content(make_step_cell("torch"), [9.0, 0.4, 0.4, 0.4]),
        make_step_content(make_step_cell("torch", **short), [9.0, 0.1, 0.1, 0.1]),
        make_step_content(make_step_cell("jax"), [9.0, 0.3, 0.3, 0.3]),
        make_step_content(make_step_cell("jax", **short), [9.0, 0.3, 0.3, 0.3], **FAILED),
        make_step_content(make_step_cell("mxnet", **short), [9.0], status="unsupported", reason="float32 alone"),
        make_step_content(make_step_cell("torch", precision="tf32"), [9.0], status="unsupported", reason="no GPU"),
        make_content(make_cell("torch"), [1.0]),
    )


def two_machines() -> list[Row]:
    """Two GPUs of two machines; what is of another suite or on a CPU stands beside nothing."""
    return rows_of(
        *five_runs("torch", "gpu", 3.0), *five_runs("jax", "gpu", 2.0),
        make_content(make_cell("torch", device="gpu"), [7.0], host=OTHER),
        make_content(make_cell("keras-torch", device="gpu"), [7.0], host=OTHER, **FAILED),
        make_content(make_cell("jax", device="gpu"), [9.0], host=OTHER, suite="1"),
        make_content(make_cell("jax"), [11.0], host=OTHER),
    )  # fmt: skip


def test_the_tables_are_the_golden_ones() -> None:
    sections = [
        *render_cores(several_cores()), *render_devices(cpu_and_gpu()), *render_precisions(two_precisions()),
        *render_machines(two_machines()),
    ]  # fmt: skip
    assert "\n".join(render_sections(sections)) == GOLDEN.read_text()


def test_speedup_and_efficiency_of_made_up_times() -> None:
    """8 s on one core and 4 on four: twice as fast, half as well as four could be."""
    table = cores_table(several_cores(), [1, 2, 4], Notes()).set_index("Tool")
    assert table.loc["torch", ["Speedup, 4 cores", "Efficiency, 4 cores"]].tolist() == ["2.00", "50 %"]
    assert table.loc["jax", ["Speedup, 2 cores", "Efficiency, 2 cores"]].tolist() == ["2.00", "100 %"]
    assert table.loc["keras-jax", "Speedup, 4 cores"] == "–"
    from_two = cores_table(several_cores(), [2, 4], Notes()).set_index("Tool")
    assert from_two.loc["torch", ["Speedup, 4 cores", "Efficiency, 4 cores"]].tolist() == ["1.25", "62 %"]


def test_the_gpu_is_compared_with_the_cpu_of_most_cores() -> None:
    gpu = make_content(make_cell("torch", device="gpu"), [1.0])
    (section,) = render_devices(rows_of(on_cores(1, "torch", 8.0), on_cores(2, "torch", 5.0), gpu))
    assert cells_of(section) == ["torch", "5.00", "1.00", "5.00"]


def test_a_shorter_precision_is_compared_with_float32() -> None:
    (section,) = render_precisions(two_precisions())
    (table,) = section.parts
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.lines[0].splitlines()[2:]]
    assert rows[0] == ["torch", "400.00", "100.00", "4.00"]
    assert [(row[0], row[1], row[3]) for row in rows[1:]] == [("jax", "300.00", "–"), ("mxnet", "–", "–")]


def test_one_place_alone_has_no_table() -> None:
    alone = rows_of(on_cores(1, "torch", 8.0))
    assert [*render_cores(alone), *render_devices(alone), *render_precisions(alone), *render_machines(alone)] == []
    absent = make_content(make_cell("torch", device="gpu"), [1.0]) | {"status": "unavailable", "reason": "no GPU"}
    assert render_devices(rows_of(on_cores(1, "torch", 8.0), absent)) == []


@pytest.mark.parametrize("changed", ["suite", "precision", "spec"])
def test_what_is_measured_otherwise_stands_in_no_common_table(changed: str) -> None:
    here, there = (make_content(make_cell("torch", device="gpu"), [1.0], host=host) for host in (WITH_GPU, OTHER))
    assert len(render_machines(rows_of(here, there))) == 1
    match changed:
        case "suite":
            there["suite"] = "1"
        case "precision":
            there["cell"]["precision"] = "float16"
        case "spec":
            there["fingerprints"]["spec"] = "another"
    assert render_machines(rows_of(here, there)) == []


def test_steps_are_compared_by_their_median_in_milliseconds() -> None:
    few, many = Steps(warmup=1, timed=3), Steps(warmup=1, timed=4)
    contents = [
        make_step_content(make_step_cell("torch", steps=few), [9.0, 0.4, 0.5, 0.6]),
        make_step_content(make_step_cell("torch", steps=many, device="gpu"), [9.0, 0.1, 0.1, 0.1, 0.1]),
        make_step_content(make_step_cell("torch", steps=few, device="gpu"), [9.0, 0.3, 0.3, 0.3]),
    ]
    (section,) = render_devices(rows_of(*contents))
    assert cells_of(section) == ["torch", "500.00", "100.00", "5.00"]


def test_of_several_measurements_by_step_the_one_with_most_steps_is_shown() -> None:
    contents = []
    for units in (4, 64):
        for timed in (5, 3):
            workload = make_workload("mnist-mlp", {"units": units})
            cell = make_step_cell("torch", steps=Steps(warmup=1, timed=timed), workload=workload)
            contents.append(make_step_content(cell, [9.0, *[0.1 * timed] * timed]))
    rows = rows_of(*contents)
    assert [row["timed"] for row in [*most_steps(rows), *most_steps(reversed(rows))]] == [5] * 4
    (sweep,) = find_sweeps(rows, count_parameters(rows))
    assert [row["timed"] for here in sweep.cells.values() for row in here] == [5, 5]
    (section,) = render_batches([*rows, *({**row, "batch_size": 64} for row in rows)])
    shown = "".join(section.lines)
    assert "128.0" in shown  # 64 images in 0.5 s
    assert "213.3" not in shown
