"""Made-up steps of several nets and batch sizes against the table they must give, to the letter."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.audit import no_verdict
from harness.batch_tables import render_batches
from harness.frames import Row, to_frame
from harness.markdown import render_sections
from harness.records import Record
from tests.helpers import make_step_cell, make_step_content
from workloads import make_workload

GOLDEN = Path(__file__).parent / "golden" / "batch_tables.md"
UNPROVEN = {**no_verdict(""), "level": "S2", "reason": "logits are off"}


def steps_of(tool: str, net: str, batch: int, step_s: float, **changes: Any) -> dict[str, Any]:
    workload = replace(make_workload(net, {}), batch_size=batch)
    cell = make_step_cell(tool, workload=workload, device=changes.pop("device", "cpu"))
    return make_step_content(cell, [9.0, step_s, step_s, step_s], **changes)


def rows_of(*contents: dict[str, Any]) -> list[Row]:
    return to_frame(Record(content=content) for content in contents).to_dict("records")


def every_kind() -> list[Row]:
    """Two nets, of which one has three batch sizes; a cell out of memory, one not proven, the floor."""
    return rows_of(
        *(steps_of("torch", "digits-cnn", batch, batch / 100) for batch in (16, 32, 64)),
        *(steps_of("tensorflow", "digits-cnn", batch, batch / 80) for batch in (16, 32)),
        steps_of("tensorflow", "digits-cnn", 64, 1.0, status="out-of-memory", reason="no room"),
        steps_of("torch", "digits-mlp", 16, 0.01), steps_of("jax", "digits-mlp", 16, 0.01, verdict=UNPROVEN),
        steps_of("null", "digits-mlp", 16, 0.0001),
    )  # fmt: skip


def test_the_table_is_the_golden_one() -> None:
    assert "\n".join(render_sections(render_batches(every_kind()))) == GOLDEN.read_text()


def test_one_net_of_one_batch_size_has_no_such_table() -> None:
    assert render_batches(rows_of(*(steps_of(tool, "digits-cnn", 16, 0.1) for tool in ("torch", "jax")))) == []


def test_devices_have_tables_of_their_own() -> None:
    both = [steps_of("torch", "digits-cnn", batch, 0.1, device=d) for batch in (16, 32) for d in ("cpu", "gpu")]
    assert [section.title.split(",")[0] for section in render_batches(rows_of(*both))] == [
        "Samples/s by net and batch size: CPU",
        "Samples/s by net and batch size: GPU",
    ]


def test_only_updates_count() -> None:
    forward = [steps_of("torch", "digits-cnn", batch, 0.1) for batch in (16, 32)]
    for content in forward:
        content["cell"]["measure"] = "forward"
    assert render_batches(rows_of(*forward)) == []
