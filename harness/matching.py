"""Which records are of a matrix: those of the cells that it plans, whatever else lies in the results folder."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from harness.frames import NO_STEPS
from harness.plan import Cell
from harness.records import Record, describe_cell

NAMES = ("tool", "device", "model", "batch_size", "precision", "measure", "epochs", "seed")
"""What a record's cell and a planned one share, besides the cores and the numbers of steps."""
ALL_CORES = 0


def records_of(cells: Iterable[Cell], records: Iterable[Record]) -> Iterator[Record]:
    """Yield the records that were made of these cells: of any repeat, on any machine.

    A cell that names no cores is one on all cores of whichever machine it was run on.
    """
    wanted = {_place(describe_cell(cell, cell.cores or ALL_CORES)) for cell in cells}
    return (record for record in records if not wanted.isdisjoint(_places(record.content)))


def _places(content: Mapping[str, Any]) -> list[Hashable]:
    """Return the places of a matrix at which a record may stand."""
    cell = content["cell"]
    on_all = cell["cores"] == content["host"]["cores"]
    return [_place(cell), _place(cell | {"cores": ALL_CORES})] if on_all else [_place(cell)]


def _place(cell: Mapping[str, Any]) -> Hashable:
    steps = cell.get("steps", NO_STEPS)
    return *(cell[name] for name in (*NAMES, "cores")), *(steps[name] for name in NO_STEPS)
