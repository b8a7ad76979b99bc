"""Cells, records and misbehaving interpreters for the tests of the harness."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.canary import Canary
from harness.ending import Event
from harness.launch import Outcome
from harness.plan import Cell, Measure, Steps
from harness.recording import OF_GPUS, Circumstances, make_record
from harness.records import Planned, read_records
from harness.session import drifted_cells, plan_session, run_session
from harness.telemetry import Sample, Watch
from workloads import make_workload
from workloads.spec import DataSet, Noise

HOST = {
    "machine": "0123456789ab",
    "cpu": "Testium 9000",
    "cores": 4,
    "memory_gib": 16.0,
    "system": "Linux 6 x86_64",
    "gpus": [],
    "no_gpu": "no NVIDIA GPU here (test)",
}

OWN = 100
"""The process group of made-up watches."""


def noisy(data: DataSet) -> DataSet:
    """The same shape of data as noise, with labels from 0 to 6."""
    noise = Noise(mean=0.0, stddev=1.0, truncated=False, labels=7)
    return replace(data, source="synthetic", scaling="none", noise=noise)


def make_cell(tool: str = "null", **changes: Any) -> Cell:
    """A cell of the null tool on two epochs of digits, or with changes."""
    cell = Cell(
        tool=tool,
        device="cpu",
        cores=None,
        workload=make_workload("digits-cnn", {"epochs": 2}),
        precision="float32",
        measure="epochs",
        steps=None,
        repeat=0,
        seed=0,
        time_limit_s=60,
        environment="managed",
    )
    return replace(cell, **changes)


def make_step_cell(tool: str = "null", measure: Measure = "train", **changes: Any) -> Cell:
    """A cell that measures one warm-up and three timed steps, or with changes."""
    return make_cell(tool, measure=measure, **{"steps": Steps(warmup=1, timed=3), **changes})


def make_content(cell: Cell, epochs_s: list[float], *, error_rate: float = 0.01, **changes: Any) -> dict:
    """A record of a made-up run.

    0.5 s start, 1 s import, 0.5 s device, 0.25 s each data, weights, build and other, the epochs, 1 s evaluation, 1 s
    end. `checks` are error rates after the epochs, 0.125 s each.
    """
    measured: list[Event] = [{"event": "stage", "stage": "first_step", "wall_s": epochs_s[0] / 2, "process_s": 1.0}]
    checks = changes.pop("checks", [])
    for i, s in enumerate(epochs_s):
        measured.append({"event": "epoch", "epoch": i, "samples": 10, "loss": 1.0, "wall_s": s, "process_s": 1.5 * s})
        if checks:
            check = {"event": "check", "epoch": i, "error_rate": checks[i], "wall_s": 0.125, "process_s": 0.25}
            measured.append(check)
    measured.append({"event": "stage", "stage": "evaluate", "wall_s": 1.0, "process_s": 1.0})
    return _make_content(cell, measured, {"error_rate": error_rate, "loss": 0.1}, **changes)


def make_step_content(cell: Cell, steps_s: list[float], **changes: Any) -> dict:
    """A record of made-up steps, the first of them warm-ups as the cell says, each with two CPU seconds a second."""
    warmup = cell.steps.warmup if cell.steps else 0
    measured: list[Event] = [{"event": "stage", "stage": "first_step", "wall_s": steps_s[0], "process_s": 1.0}]
    measured += [
        {"event": "step", "step": i, "warmup": i < warmup, "loss": 2.0, "wall_s": s, "process_s": 2 * s}
        for i, s in enumerate(steps_s)
    ]
    return _make_content(cell, measured, {"error_rate": None, "loss": None}, **changes)


def _make_content(cell: Cell, measured: list[Event], result: dict, **changes: Any) -> dict:
    stages = {"import": 1.0, "device": 0.5, "data": 0.25, "weights": 0.25, "build": 0.25}
    events: list[Event] = [{"event": "started", "at": 100.5}]
    events += [{"event": "stage", "stage": name, "wall_s": s, "process_s": s} for name, s in stages.items()]
    events += [{"event": "training"}, *measured]
    result |= {"probe": None, "peak_memory_bytes": None, "process_s": 9.0, "libraries": {}}
    events.append({"event": "result", "python": "3.11.7", "packages": {"numpy": "2"}, **result})
    now = 100.5
    for event in events:
        within = event.get("stage") == "first_step"
        now += 0.25 if event["event"] == "training" else 0.0 if within else event.get("wall_s", 0.0)
        event["at"] = now
    total_s = now + 1.0 - 100.0
    outcome = Outcome(
        status="ok",
        reason=None,
        events=events,
        log=[],
        started=100.0,
        total_s=total_s,
        utilisation={"training": _seen(measured, changes.pop("gpu_pct", None))},
    )
    planned = Planned(cell=cell, key=changes.pop("key", cell.label), cores=2, done=None)
    verdict = changes.pop("verdict", {"level": "S3", "reason": None, "supported": True, "findings": []})
    around = Circumstances(
        session="made-up",
        host=HOST,
        verdict=verdict,
        canary=Canary(gflops=100.0, others_pct=0.0, reason=None),
        data={"fingerprint": "d" * 64, "unverified": []},
    )
    content = make_record(planned, outcome, around)
    return content | {"finished_at": "2026-01-01T00:00:00+00:00"} | changes


def _seen(measured: list[Event], gpu_pct: float | None) -> dict[str, Any]:
    """What a watch would have seen of made-up epochs or timed steps on two cores, and on one GPU if it was busy."""
    timed = [event for event in measured if event["event"] in ("epoch", "step") and not event.get("warmup")]
    wall_s = sum(event["wall_s"] for event in timed)
    cpu_pct = 100 * sum(event["process_s"] for event in timed) / (2 * wall_s) if timed else None
    gpu = dict.fromkeys((*OF_GPUS, "throttle")) | {"gpu_pct": gpu_pct}
    return {"cpu_pct": cpu_pct, "rss_mib": 1024.0, "gpus": [] if gpu_pct is None else [gpu]}


def make_sample(at: float, **changes: Any) -> Sample:
    """A group that keeps one of its two cores busy, half of which it shares with others, and uses no GPU."""
    seen = {
        "cpu_s": 0.5 * at,
        "rss_mib": 100.0,
        "core_s": (at, 0.25 * at),
        "package_j": 40.0 * at,
        "gpus": (),
        "gpu_pids": frozenset(),
    }
    return Sample(at=at, **seen | changes)


def make_watch(samples: list[Sample], gpus: int = 0) -> Watch:
    """A watch that has seen these samples."""
    watch = Watch(OWN, [0, 1], [str(number) for number in range(gpus)])
    watch.samples = samples
    return watch


class Silent:
    """A view that shows nothing and knows which cells were begun, and the watches of workers."""

    def __init__(self) -> None:
        self.begun: list[Cell] = []
        self.watches: list[Watch] = []

    def phase(self, text: str) -> None: ...

    def line(self, text: str) -> None: ...

    def begin(self, cell: Cell) -> None:
        self.begun.append(cell)

    def watch(self, watch: Watch) -> None:
        self.watches.append(watch)

    def event(self, cell: Cell, event: Event) -> None: ...

    def end(self, cell: Cell, record: dict[str, Any]) -> None: ...


def run(cells: list[Cell], results: Path, **options: bool) -> tuple[list[dict[str, Any]], Silent]:
    """Run a whole session; return the records in its order, those of a second run after them, and its view."""
    view = Silent()
    planned = plan_session(cells, HOST, read_records(results), fresh=options.get("fresh", False))
    contents = list(run_session(planned, HOST, results, view, "s"))
    done = [(item, content) for item, content in zip(planned, contents, strict=True) if item.done is None]
    return [*contents, *run_session(drifted_cells(done), HOST, results, view, "s")], view


def write_interpreter(folder: Path, body: str) -> str:
    """Write an executable that takes a worker's arguments and runs `body` in their place; `fd` is the events pipe."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\nfd = int(sys.argv[3])\n{body}\n")
    path.chmod(0o755)
    return str(path)


def write_patched_worker(folder: Path, patch: str) -> str:
    """Write an interpreter that runs the real worker after `patch`, statements that change its modules."""
    return write_interpreter(
        folder,
        f"""
sys.argv = [sys.argv[0], sys.argv[3]]
sys.path.insert(0, os.getcwd())
from frameworks import base, null_adapter, worker
{patch}
sys.exit(worker.main())
""",
    )


def write_broken_tool(folder: Path, method: str, body: str) -> str:
    """Write an interpreter that runs the real worker with one method of the null model replaced by `body`."""
    patch = f"def broken(self, *arguments):\n    {body}\nnull_adapter.NullModel.{method} = broken"
    return write_patched_worker(folder, patch)
