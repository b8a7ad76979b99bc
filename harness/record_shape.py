"""What a record must hold so that everybody can read it: which names, values of which kind, and what if it is `ok`."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from types import NoneType
from typing import Any

from workloads import TARGET


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of JSON value: the Python types it is read as, and how to call it."""

    words: str
    types: frozenset[type]

    def or_nothing(self) -> "Kind":
        """Return the kind of a value that may be null."""
        return Kind(words=f"{self.words}, or null", types=self.types | {NoneType})


TEXT = Kind(words="a text", types=frozenset({str}))
WHOLE = Kind(words="a whole number", types=frozenset({int}))
NUMBER = Kind(words="a number", types=frozenset({int, float}))
FLAG = Kind(words="true or false", types=frozenset({bool}))
LIST = Kind(words="a list", types=frozenset({list}))
OBJECT = Kind(words="an object", types=frozenset({dict}))
MAYBE_TEXT, MAYBE_WHOLE, MAYBE_NUMBER, MAYBE_OBJECT = (kind.or_nothing() for kind in (TEXT, WHOLE, NUMBER, OBJECT))

LEDGER = (
    "start_s", "import_s", "device_s", "data_s", "weights_s", "build_s", "train_s", "checks_s", "evaluate_s", "end_s",
    "other_s",
)  # fmt: skip
"""The parts of `time` that add up to `total_s`."""
SHAPE: Mapping[str, Mapping[str, Kind]] = {
    "": {
        "key": TEXT, "schema": WHOLE, "suite": TEXT, "session": MAYBE_TEXT, "finished_at": TEXT, "cell": OBJECT,
        "status": TEXT, "reason": MAYBE_TEXT, "canary": OBJECT, "time": OBJECT, "epochs": LIST, "checks": LIST,
        "steps": LIST, "error_rate": MAYBE_NUMBER, "test_loss": MAYBE_NUMBER, "probe": OBJECT, "utilisation": OBJECT,
        "sameness": OBJECT, "host": OBJECT, "versions": OBJECT, "fingerprints": OBJECT,
    },
    "cell": {
        "tool": TEXT, "device": TEXT, "cores": WHOLE, "gpus": WHOLE, "model": TEXT, "batch_size": WHOLE,
        "precision": TEXT, "measure": TEXT, "epochs": WHOLE, "seed": WHOLE, "repeat": WHOLE, "time_limit_s": NUMBER,
        "price_per_hour": MAYBE_NUMBER, "workload": OBJECT,
    },
    "cell.workload": {"name": MAYBE_TEXT, "parameters": OBJECT},
    "probe": {"precision": MAYBE_TEXT, "peak_gflops": MAYBE_NUMBER},
    "canary": {"gflops": MAYBE_NUMBER, "others_pct": MAYBE_NUMBER, "reason": MAYBE_TEXT},
    "time": dict.fromkeys((*LEDGER, "first_step_s", "steady_epoch_s", "probe_s", "total_s"), MAYBE_NUMBER),
    "utilisation": {
        "gpu_pct": MAYBE_NUMBER, "cpu_pct": MAYBE_NUMBER, "others_pct": MAYBE_NUMBER, "gpu_strangers": MAYBE_WHOLE,
        "energy_j": MAYBE_NUMBER, "package_energy_j": MAYBE_NUMBER, "throttle": LIST.or_nothing(), "before": OBJECT,
    },
    "utilisation.before": {"others_pct": MAYBE_NUMBER, "gpu_strangers": MAYBE_WHOLE},
    "sameness": {"level": MAYBE_TEXT, "reason": MAYBE_TEXT, "findings": LIST},
    "versions": {"python": MAYBE_TEXT, "packages": OBJECT.or_nothing()},
    "host": {"machine": TEXT, "cpu": TEXT, "cores": WHOLE, "memory_gib": NUMBER, "gpus": LIST},
    "fingerprints": {
        "spec": TEXT, "adapter": TEXT, "environment": TEXT, "data": MAYBE_TEXT, "data_unverified": LIST.or_nothing(),
    },
}  # fmt: skip
"""What is needed of a record and of the parts within it, by their paths. A record may hold more."""
PARTS = tuple(SHAPE[""])
"""The parts of every record."""
LISTED: Mapping[str, Mapping[str, Kind]] = {
    "host.gpus": {"name": TEXT},
    "epochs": {"wall_s": NUMBER, "samples": WHOLE, "loss": MAYBE_NUMBER},
    "checks": {"epoch": WHOLE, "error_rate": NUMBER},
    "steps": {"wall_s": NUMBER, "process_s": NUMBER, "warmup": FLAG, "loss": MAYBE_NUMBER},
    "sameness.findings": {
        "level": TEXT, "what": TEXT, "worst": MAYBE_NUMBER, "where": TEXT, "precision": TEXT, "holds": FLAG,
        "fault": FLAG, "note": MAYBE_TEXT,
    },
}  # fmt: skip
"""What is needed of each entry of the parts that are lists."""
OPTIONAL: Mapping[str, Mapping[str, Kind]] = {
    "utilisation": {
        "busiest_core_pct": MAYBE_NUMBER, "rss_mib": MAYBE_NUMBER, "gpu_memory_mib": MAYBE_NUMBER,
        "gpu_power_w": MAYBE_NUMBER, "sm_clock_mhz": MAYBE_NUMBER, "temperature_c": MAYBE_NUMBER,
        "framework_memory_mib": MAYBE_NUMBER, "cpus": MAYBE_WHOLE, "series": MAYBE_OBJECT,
    },
    "host": {"system": MAYBE_TEXT, "git": MAYBE_OBJECT},
    "host.git": {"commit": MAYBE_TEXT},
    "versions": {"libraries": MAYBE_OBJECT},
    "epochs": {"validation": MAYBE_OBJECT},
    "epochs.validation": {"error_rate": MAYBE_NUMBER},
    "sameness.findings": {"tolerance": MAYBE_NUMBER},
}  # fmt: skip
"""What may be missing of these parts, or of each entry of those that are lists, and is read where it is there."""
TEXTS = (("utilisation", "throttle"), ("fingerprints", "data_unverified"), ("versions", "packages"))
"""The lists and objects that hold nothing but texts."""


def find_problem(content: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a record, in words that name where; None if everybody can read it."""
    if not _fits(content):
        if missing := list(_missing(content)):
            return f"it lacks {', '.join(missing)}"
        return next(_wrong(content))
    return next(_contradictions(content), None)


def _types(names: Mapping[str, Kind]) -> list[tuple[str, frozenset[type]]]:
    return [(name, kind.types) for name, kind in names.items()]


_OF_PARTS = [
    (path.split(".") if path else [], _types(names), _types(OPTIONAL.get(path, {}))) for path, names in SHAPE.items()
]
_OF_ENTRIES = [
    (path.split("."), [(itemgetter(name), types) for name, types in _types(names)], _types(OPTIONAL.get(path, {})))
    for path, names in LISTED.items()
]
_WITHIN = [
    (*path.rpartition(".")[::2], _types(names)) for path, names in OPTIONAL.items() if path not in {**SHAPE, **LISTED}
]
"""SHAPE, LISTED and OPTIONAL as `_fits` goes through them, which it does for each of very many records."""


def _fits(content: Mapping[str, Any]) -> bool:
    """Whether all that is needed is there, and all that is known is of its kind; says no more, and is quick."""
    try:
        for outer, needed, known in _OF_PARTS:
            part: Any = content
            for name in outer:
                part = part[name]
            for name, accepted in needed:
                if type(part[name]) not in accepted:
                    return False
            for name, accepted in known:
                if name in part and type(part[name]) not in accepted:
                    return False
        for outer, getters, known in _OF_ENTRIES:
            entries: Any = content
            for name in outer:
                entries = entries[name]
            for get, accepted in getters:
                if not accepted.issuperset(map(type, map(get, entries))):
                    return False
            for name, accepted in known:
                for entry in entries:
                    if name in entry and type(entry[name]) not in accepted:
                        return False
        for around, inner, known in _WITHIN:
            for holder in content[around] if around in LISTED else (content[around],):
                if inner in holder and (part := holder[inner]) is not None:
                    for name, accepted in known:
                        if name in part and type(part[name]) not in accepted:
                            return False
    except (KeyError, TypeError):
        return False
    return True


def _part(content: Any, path: str) -> Any:
    for name in path.split(".") if path else ():
        content = content.get(name) if isinstance(content, dict) else None
    return content


def _missing(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths that are needed and not there; of a record that lacks whole parts only these."""
    if lacking := [name for name in PARTS if name not in content]:
        yield from lacking
        return
    for path, names in SHAPE.items():
        part = _part(content, path)
        yield from (f"{path}.{name}" for name in names if path and not (isinstance(part, dict) and name in part))
    for path, names in LISTED.items():
        entries = _part(content, path)
        if not isinstance(entries, list):
            yield f"a list of {path}"
            continue
        lacking = [name for name in names if any(not isinstance(one, dict) or name not in one for one in entries)]
        yield from (f"{path}.{name}" for name in lacking)


def _wrong(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what has a value of another kind, in a record that lacks nothing."""
    for path, names in (*SHAPE.items(), *LISTED.items(), *OPTIONAL.items()):
        for where, part in _objects(content, path):
            for name, kind in names.items():
                if type(part.get(name)) not in kind.types:
                    yield _got(f"{where}{name}", part.get(name), kind.words)


def _objects(content: Mapping[str, Any], path: str) -> list[tuple[str, Any]]:
    """Return the objects at a path, of a list each of its entries, with the words that stand before their names."""
    found: list[tuple[str, Any]] = [("", content)]
    for name in path.split(".") if path else ():
        inner = [(f"{where}{name}", part.get(name)) for where, part in found]
        entries = [(f"{where}[{i}]", one) for where, part in inner if type(part) is list for i, one in enumerate(part)]
        found = [(f"{where}.", part) for where, part in (*inner, *entries) if type(part) is dict]
    return found


def _got(where: str, value: Any, accepted: str) -> str:
    shown = json.dumps(value)
    return f"{where} is {shown if len(shown) <= 60 else shown[:57] + '...'}; accepted: {accepted}"


def _contradictions(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what no reader can make sense of, in a record whose values are all of their kind."""
    if not _is_moment(content["finished_at"]):
        yield _got("finished_at", content["finished_at"], "a moment with its offset, 2026-01-01T00:00:00.000+00:00")
    cell = content["cell"]
    for name in ("batch_size", "cores"):
        if cell[name] < 1:
            yield _got(f"cell.{name}", cell[name], "1 or more")
    if not cell["model"].strip():
        yield _got("cell.model", cell["model"], "a name")
    target = cell["workload"]["parameters"].get(TARGET, 0.0)
    if type(target) not in NUMBER.types:
        yield _got(f"cell.workload.parameters.{TARGET}", target, NUMBER.words)
    steps = cell.get("steps", {"warmup": 0, "timed": 0} if cell["measure"] == "epochs" else None)
    if not isinstance(steps, dict) or {type(steps.get("warmup")), type(steps.get("timed"))} != WHOLE.types:
        yield _got("cell.steps", steps, "whole numbers of warmup and timed steps")
    for part, name in TEXTS:
        held = content[part][name]
        if held and not TEXT.types.issuperset(map(type, held.values() if isinstance(held, dict) else held)):
            yield _got(f"{part}.{name}", held, "nothing but texts in it")
    if content["utilisation"].get("series"):
        yield from _torn_series(content["utilisation"])
    if content["status"] == "ok":
        yield from _unmeasured_epochs(content) if cell["measure"] == "epochs" else _unmeasured_steps(content)


def _is_moment(text: str) -> bool:
    try:
        moment = datetime.fromisoformat(text)
        return moment.tzinfo is not None and bool(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return False


def _torn_series(seen: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps samples over time from being read: lists with no value for each moment, or no count of CPUs."""
    if not seen.get("cpus") or seen["cpus"] < 1:
        yield _got("utilisation.cpus", seen.get("cpus"), "1 or more where there is a series")
    series = seen["series"]
    moments, gpus = series.get("at_s"), series.get("gpus")
    if type(moments) is not list or not NUMBER.types.issuperset(map(type, moments)):
        yield _got("utilisation.series.at_s", moments, "a list of numbers")
        return
    if type(gpus) is not list or not OBJECT.types.issuperset(map(type, gpus)):
        yield _got("utilisation.series.gpus", gpus, "a list of objects")
        return
    lists = [(name, series.get(name)) for name in ("cpu_s", "rss_mib")]
    lists += [(f"gpus[{place}].gpu_pct", gpu.get("gpu_pct")) for place, gpu in enumerate(gpus)]
    for name, values in lists:
        if type(values) is not list or not MAYBE_NUMBER.types.issuperset(map(type, values)):
            yield _got(f"utilisation.series.{name}", values, "a list of numbers, or null where one was not read")
        elif len(values) != len(moments):
            yield f"utilisation.series.{name} has {len(values)} entries; accepted: as many as at_s, {len(moments)}"


def _unmeasured_epochs(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an `ok` record of epochs must have measured and has not."""
    epochs, count, train_s = content["epochs"], content["cell"]["epochs"], content["time"]["train_s"]
    if train_s is None or train_s <= 0:
        yield _got("time.train_s", train_s, "more than 0 s where the status is ok")
    if content["steps"]:
        yield _got("steps", content["steps"], "none where epochs are measured")
    if not 0 < count == len(epochs):
        yield f"epochs has {len(epochs)} entries; accepted: at least one, and as many as cell.epochs, {count}"
    for place, epoch in enumerate(epochs):
        if epoch["loss"] is None:
            yield _got(f"epochs[{place}].loss", None, "a number where the status is ok")
        if epoch["samples"] < 1:
            yield _got(f"epochs[{place}].samples", epoch["samples"], "1 or more")


def _unmeasured_steps(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an `ok` record of steps must have measured and has not."""
    if all(step["warmup"] for step in content["steps"]):
        yield _got("steps", content["steps"], "at least one that is no warm-up where the status is ok")
    for place, step in enumerate(content["steps"]):
        if step["wall_s"] <= 0:
            yield _got(f"steps[{place}].wall_s", step["wall_s"], "more than 0 s")
