"""How large the net of a record is, by its spec, where this version still knows that."""

from dataclasses import dataclass, replace
from functools import cache

import orjson

from harness.frames import Row
from workloads import make_workload
from workloads.errors import UserError
from workloads.shapes import forward_flops, parameter_count, train_flops
from workloads.spec import fingerprint


@dataclass(frozen=True, kw_only=True)
class NetSize:
    """Trainable parameters of a net, and floating-point operations of one sample, forward and in training."""

    parameters: int
    forward_flops: int
    train_flops: int


@cache
def find_net_size(workload: str | None, parameters: str, batch_size: int, spec: str) -> NetSize | None:
    """Return the size of a net by its workload's name, its parameters as JSON, and the fingerprint of its spec.

    None for a workload that this version does not know, or knows otherwise, or that an old record does not name.
    """
    if workload is None:
        return None
    try:
        known = make_workload(workload, orjson.loads(parameters))
    except UserError:
        return None
    if fingerprint(replace(known, batch_size=batch_size)) != spec:
        return None
    return NetSize(
        parameters=parameter_count(known.network),
        forward_flops=forward_flops(known.network),
        train_flops=train_flops(known.network),
    )


def net_size_of(row: Row) -> NetSize | None:
    """Return the size of a cell's net, if this version knows it."""
    return find_net_size(row["workload"], dump_parameters(row["parameters"]), row["batch_size"], row["spec"])


def dump_parameters(parameters: object) -> str:
    """Return the chosen parameters of a workload as JSON, the same for the same choice."""
    return orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS).decode()
