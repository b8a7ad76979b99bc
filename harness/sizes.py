"""Which cells differ in the size of their net alone, by a parameter of their workload that was swept."""

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.frames import Row, group_rows, most_steps
from harness.net_size import net_size_of
from workloads import WORKLOADS

SAME = ["workload", "batch_size", "precision", "measure", "epochs", "seed"]
"""What the cells of a sweep agree in besides the parameters that are not swept."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Cells of one workload in which one parameter has several values, each a net of another size.

    `values` are the parameter's by the count of trainable parameters, rising; `cells` are those of each count.
    """

    parameter: str
    values: Mapping[int, Any]
    cells: Mapping[int, Sequence[Row]]


def count_parameters(rows: Iterable[Row]) -> dict[str, int]:
    """Return the trainable parameters of each spec, by its fingerprint, of which the workload is still known."""
    return {row["spec"]: size.parameters for row in rows if (size := net_size_of(row))}


def find_sweeps(rows: Iterable[Row], counts: Mapping[str, int]) -> list[Sweep]:
    """Return the sweeps among cells of one machine."""
    known = [row for row in most_steps(rows) if row["spec"] in counts and row["workload"] in WORKLOADS]
    sweeps = []
    for (workload, *_), cells in group_rows(known, SAME):
        chosen = {name for row in cells for name in row["parameters"]}
        for name, parameter in inspect.signature(WORKLOADS[workload]).parameters.items():
            sweeps += _sweeps_of(name, parameter.default, cells, counts) if name in chosen else []
    return sweeps


def _sweeps_of(parameter: str, default: Any, cells: Iterable[Row], counts: Mapping[str, int]) -> list[Sweep]:
    """Return the sweeps of one parameter: cells that agree in all others, and are of several sizes."""
    alike: dict[str, dict[int, list[Row]]] = {}
    values: dict[int, Any] = {}
    for row in cells:
        others = {name: value for name, value in row["parameters"].items() if name != parameter}
        count = counts[row["spec"]]
        alike.setdefault(json.dumps(others, sort_keys=True), {}).setdefault(count, []).append(row)
        values[count] = row["parameters"].get(parameter, default)
    return [
        Sweep(parameter=parameter, values={count: values[count] for count in sorted(sizes)}, cells=sizes)
        for sizes in alike.values()
        if len(sizes) > 1
    ]
