"""Records are found for a matrix by what its cells are, and by nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from harness.matching import records_of
from harness.plan import Cell, Steps
from harness.records import Record
from tests.helpers import HOST, make_cell, make_content
from workloads import make_workload

OTHERS = {
    "tool": "torch",
    "device": "gpu",
    "workload": make_workload("digits-mlp", {"epochs": 2}),
    "precision": "bfloat16",
    "measure": "train",
    "seed": 8,
}


def made(cell: Cell, **host: Any) -> Record:
    """A record of a cell on the two cores of its machine, or of another."""
    return Record(content=make_content(cell, [2.0, 1.0], host={**HOST, "cores": 2, **host}))


def test_records_of_any_repeat_and_machine_are_found() -> None:
    cell = make_cell("jax")
    records = [made(cell), made(replace(cell, repeat=4)), made(cell, machine="another")]
    assert list(records_of([cell], records)) == records


@pytest.mark.parametrize("name", OTHERS)
def test_a_record_of_another_cell_is_not_found(name: str) -> None:
    cell = make_cell("jax")
    assert list(records_of([replace(cell, **{name: OTHERS[name]})], [made(cell)])) == []


def test_numbers_of_steps_tell_cells_apart() -> None:
    few, many = (
        replace(make_cell("jax"), measure="train", steps=Steps(warmup=1, timed=timed, at_most_s=9)) for timed in (3, 5)
    )
    record = made(few)
    assert list(records_of([few], [record])) == [record]
    assert list(records_of([many], [record])) == []


def test_a_cell_on_all_cores_is_one_on_all_cores_of_any_machine() -> None:
    cell = make_cell("jax")
    on_all, on_two_of_eight = made(cell), made(cell, cores=8)
    assert list(records_of([cell], [on_all, on_two_of_eight])) == [on_all]
    assert list(records_of([replace(cell, cores=2)], [on_all, on_two_of_eight])) == [on_all, on_two_of_eight]
    assert list(records_of([replace(cell, cores=1)], [on_all, on_two_of_eight])) == []
