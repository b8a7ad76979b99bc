"""From what a worker sent, and what was seen of it, to a record and its ledger of time."""

import contextlib
import json
import math
import re
import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.audit import Verdict
from harness.canary import Canary
from harness.launch import Outcome
from harness.places import PROJECT, samenet_home
from harness.record_shape import LEDGER, PARTS
from harness.records import SCHEMA, SUITE, Planned, adapter_fingerprint, describe_cell, environment_fingerprint
from workloads.spec import fingerprint

EPOCH_PARTS = ("wall_s", "process_s", "samples", "loss", "validation")
CHECK_PARTS = ("epoch", "error_rate", "wall_s", "process_s")
STEP_PARTS = ("wall_s", "process_s", "warmup", "loss")


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What a record holds besides what the worker did: the session, the machine, the proof, the canary, the data.

    `packages` are those of the worker's interpreter, and its `python`, where the worker did not come to tell them.
    """

    session: str
    host: dict[str, Any]
    verdict: Verdict
    canary: Canary
    data: dict[str, Any]
    packages: Mapping[str, str] | None = None


def make_record(item: Planned, outcome: Outcome, around: Circumstances) -> dict[str, Any]:
    """Put together a record from what a worker sent and what was around it. Parts that were not measured are None."""
    named = {event["event"]: event for event in outcome.events}
    result = named.get("result") or _told_beside(around.packages)
    content = {
        "key": item.key,
        "schema": SCHEMA,
        "suite": SUITE,
        "session": around.session,
        "finished_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "cell": describe_cell(item.cell, item.cores)
        | {"time_limit_s": item.cell.time_limit_s, "price_per_hour": item.cell.price_per_hour},
        "status": outcome.status,
        "reason": outcome.reason and without_folders(outcome.reason),
        "canary": asdict(around.canary),
        "time": time_ledger(outcome),
        "epochs": _parts(outcome, "epoch", EPOCH_PARTS),
        "checks": _parts(outcome, "check", CHECK_PARTS),
        "steps": _parts(outcome, "step", STEP_PARTS),
        "error_rate": result.get("error_rate"),
        "test_loss": result.get("loss"),
        "probe": result.get("probe") or {"precision": None, "peak_gflops": None},
        "utilisation": utilisation(outcome, item.cores, 1 if item.cell.device == "gpu" else 0),
        "sameness": json.loads(without_folders(json.dumps(around.verdict))),
        "host": around.host,
        "versions": {name: result.get(name) for name in ("python", "packages", "libraries")},
        "fingerprints": {
            "spec": fingerprint(item.cell.workload),
            "adapter": adapter_fingerprint(item.cell.tool),
            "environment": environment_fingerprint(item.cell.tool, item.cell.device, item.cell.environment),
            "data": around.data.get("fingerprint"),
            "data_unverified": around.data.get("unverified"),
            "weights": result.get("weights_fingerprint"),
            "order": result.get("order_fingerprint"),
        },
    }
    assert set(content) == set(PARTS)
    return content if outcome.status == "ok" else content | {"log": [without_folders(line) for line in outcome.log]}


def _told_beside(packages: Mapping[str, str] | None) -> dict[str, Any]:
    """Return what of a worker's result is known where it sent none: what is installed."""
    if packages is None:
        return {}
    return {
        "python": packages["python"],
        "packages": {name: version for name, version in packages.items() if name != "python"},
    }


def _parts(outcome: Outcome, event: str, names: Iterable[str]) -> list[dict[str, Any]]:
    """Return what is kept of every event of a kind."""
    found = [one for one in outcome.events if one["event"] == event]
    return [{name: _finite(one[name]) for name in names if name in one} for one in found]


def _finite(value: Any) -> Any:
    """Return a value of JSON with None for what is no number, such as the loss of a run that diverged."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def without_folders(text: str) -> str:
    """Take the folders of this machine's user out of a text."""
    named = {samenet_home(): "SAMENET_HOME", PROJECT: "."}
    with contextlib.suppress(OSError):  # no folder is fit for temporary files
        named[Path(tempfile.gettempdir())] = "TMPDIR"
    with contextlib.suppress(RuntimeError):  # this user has no home
        named[Path.home()] = "~"
    for folder, name in named.items():
        if folder != Path("/"):
            text = re.sub(rf"(?<![\w./-]){re.escape(str(folder))}(?![\w-])", name, text)
    return text


STAGES = ("import", "device", "data", "weights", "build", "evaluate", "probe")


def time_ledger(outcome: Outcome) -> dict[str, float | None]:
    """Return where a worker's wall time went, in seconds: the parts of LEDGER add up to `total_s`.

    `start_s` is from the launch to the worker's first stage, `end_s` from its last measurement to its exit; `train_s`
    is all epochs with the first step, or all steps with those of the warm-up; `checks_s` are the looks at the error
    rate between epochs; `other_s` is what nobody accounts for. Within `train_s` lie `first_step_s` and
    `steady_epoch_s`, the median epoch without the first. `probe_s`, which no user pays, is not in `total_s`.
    `process_s` is CPU time of the process up to it.
    """
    walls: dict[str, list[float]] = {}
    for event in outcome.events:
        if "wall_s" in event:
            walls.setdefault(str(event.get("stage", event["event"])), []).append(event["wall_s"])
    ledger = {f"{name}_s": sum(walls[name]) if name in walls else None for name in (*STAGES, "first_step")}
    trained = walls.get("epoch") or walls.get("step")
    ledger["train_s"] = sum(trained) if trained else None
    ledger["steady_epoch_s"] = statistics.median(walls["epoch"][1:]) if len(walls.get("epoch", [])) > 1 else None
    ledger["checks_s"] = sum(walls["check"]) if "check" in walls else None
    ledger |= _ends(outcome)
    known = sum(ledger[name] or 0.0 for name in LEDGER if name != "other_s")
    total_s = None if outcome.total_s is None else outcome.total_s - (ledger["probe_s"] or 0.0)
    ledger |= {"other_s": None if total_s is None else total_s - known, "total_s": total_s}
    ledger["process_s"] = next((event["process_s"] for event in outcome.events if event["event"] == "result"), None)
    return ledger


def _ends(outcome: Outcome) -> dict[str, float | None]:
    """Return the time before a worker's first measurement and, if it came to a result, after its last."""
    measured = [event for event in outcome.events if "wall_s" in event]
    ends: dict[str, float | None] = {"start_s": None, "end_s": None}
    if measured:
        ends["start_s"] = measured[0]["at"] - measured[0]["wall_s"] - outcome.started
        if outcome.total_s is not None and outcome.events[-1]["event"] == "result":
            ends["end_s"] = outcome.started + outcome.total_s - measured[-1]["at"]
    return ends


WATCHED = ("cpu_pct", "busiest_core_pct", "others_pct", "rss_mib", "package_energy_j", "gpu_strangers")
BEFORE = ("others_pct", "gpu_strangers")
"""What is kept of the time before training."""
OF_GPUS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "gpu_pct": statistics.fmean,
    "gpu_memory_mib": sum,
    "gpu_power_w": sum,
    "energy_j": sum,
    "sm_clock_mhz": statistics.fmean,
    "temperature_c": max,
}
"""What is kept of GPUs, and how several become one number."""


def utilisation(outcome: Outcome, cores: int, gpus: int) -> dict[str, Any]:
    """Return how busy cores and GPUs were over training, and over its `steady` part.

    `cpu_pct` is of the cores given, for the worker and its children; `others_pct` is what others took of these cores,
    and `before` training as well. `rss_mib` and `gpu_memory_mib` are the largest samples, `framework_memory_mib` is the
    peak that the framework itself knows of. `missing` says why a number is None.
    """
    result = next((event for event in outcome.events if event["event"] == "result"), {})
    memory = result.get("peak_memory_bytes")
    before = _of_window(outcome.utilisation.get("before", {}))
    return {
        "cpus": cores,
        "gpus": gpus,
        **_of_window(outcome.utilisation.get("training", {})),
        "steady": _of_window(outcome.utilisation.get("steady", {})),
        "before": {name: before[name] for name in BEFORE}
        | {"missing": {name: reason for name, reason in before["missing"].items() if name in BEFORE}},
        "framework_memory_mib": None if memory is None else memory / 2**20,
        "series": outcome.utilisation.get("series", {}),
    }


def _of_window(seen: Mapping[str, Any]) -> dict[str, Any]:
    each = seen.get("gpus", [])
    numbers = {name: [gpu[name] for gpu in each] for name in OF_GPUS}
    throttle = [gpu["throttle"] for gpu in each]
    return {
        **{name: seen.get(name) for name in WATCHED},
        **{name: OF_GPUS[name](values) if _all_known(values) else None for name, values in numbers.items()},
        "throttle": sorted({reason for reasons in throttle for reason in reasons}) if _all_known(throttle) else None,
        "missing": seen.get("reasons", {}),
    }


def _all_known(values: Sequence[Any]) -> bool:
    return bool(values) and None not in values
