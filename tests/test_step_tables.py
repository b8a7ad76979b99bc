"""Made-up steps against the tables they must give, to the letter."""

import random
from pathlib import Path
from typing import Any

from harness.audit import no_verdict
from harness.plan import Steps
from harness.records import Record
from harness.step_tables import STEP_EXPLANATION
from harness.tables import render_markdown
from tests.helpers import make_cell, make_content, make_step_cell, make_step_content
from workloads import make_workload

GOLDEN = Path(__file__).parent / "golden" / "step_tables.md"
UNPROVEN = {**no_verdict(""), "level": "S2", "reason": "logits are off"}


def records_of_every_kind() -> list[dict[str, Any]]:
    """Two kinds of steps by several tools, with repeats, a cut, failures, a floor; calls; ranks; no GPU; epochs."""
    six = Steps(warmup=1, timed=6)
    forward = {"measure": "forward", "steps": six}
    train = {"measure": "train", "steps": six}
    no_gpu = {"status": "unavailable", "reason": "no NVIDIA GPU here (test)"}
    calls = make_workload("mnist-cnn", {})
    four = {"workload": calls, "steps": Steps(warmup=2, timed=2)}
    return [
        make_content(make_cell("torch"), [2.0, 1.0]),
        make_step_content(make_step_cell("tensorflow", **forward), [9.0, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]),
        make_step_content(make_step_cell("torch", **forward), [9.0, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3]),
        make_step_content(make_step_cell("tensorflow", **train), [9.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]),
        make_step_content(make_step_cell("torch", **train), [9.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
        make_step_content(make_step_cell("torch", repeat=1, **train), [9.0, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]),
        make_step_content(make_step_cell("jax", **train), [9.0, 0.8, 1.6]),
        make_step_content(make_step_cell("mxnet", **train), [9.0, 0.1], status="diverged", reason="it is nan"),
        make_step_content(make_step_cell("keras-torch", **train), [9.0] + [0.2] * 6, verdict=UNPROVEN),
        make_step_content(make_step_cell("null", **train), [0.001] * 7),
        make_step_content(make_step_cell("torch", device="gpu", **forward), [1.0]) | no_gpu | {"steps": []},
        make_step_content(make_step_cell("torch", device="gpu", **train), [1.0]) | no_gpu | {"steps": []},
        make_step_content(make_step_cell("torch", **four), [3.0, 1.0, 1.0, 1.0]),
        make_step_content(make_step_cell("torch", repeat=1, **four), [4.0, 1.5, 1.5, 1.0]),
        make_step_content(make_step_cell("jax", **four), [8.0, 3.0, 2.0]),
        *(ranked(tool, repeat) for tool in ("torch", "jax") for repeat in range(5)),
    ]


def ranked(tool: str, repeat: int) -> dict[str, Any]:
    """One of five runs, of which every one of jax takes longer than any of torch, with energy and a price."""
    workload, step_s = make_workload("digits-mlp", {}), (0.5 if tool == "torch" else 1.0) + repeat / 20
    cell = make_step_cell(tool, workload=workload, repeat=repeat, steps=Steps(warmup=1, timed=6), price_per_hour=3.6)
    content = make_step_content(cell, [9.0, *[step_s] * 5, 2 * step_s])
    content["utilisation"]["package_energy_j"] = 96.0
    return content


def render(contents: list[dict[str, Any]]) -> str:
    return render_markdown([Record(content=content) for content in contents])


def test_the_tables_are_the_golden_ones() -> None:
    assert render(records_of_every_kind()) == GOLDEN.read_text()


def test_the_order_of_the_records_changes_nothing() -> None:
    contents = records_of_every_kind()
    expected = render(contents)
    random.Random(1).shuffle(contents)
    assert render(contents) == expected


def test_without_steps_nothing_is_said_of_them() -> None:
    text = render([make_content(make_cell("torch"), [2.0, 1.0])])
    assert STEP_EXPLANATION[0] not in text


def test_other_numbers_of_steps_are_other_tables() -> None:
    cells = [make_step_cell("torch", steps=Steps(warmup=1, timed=timed)) for timed in (5, 6)]
    text = render([make_step_content(cell, [1.0] * (1 + cell.steps.timed)) for cell in cells if cell.steps])
    assert text.count("| torch ") == 2
