"""Cells, records and misbehaving interpreters for the tests of the harness."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.launch import Event, Outcome
from harness.plan import Cell, Measure, Steps
from harness.session import Planned, make_record
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
    """A record of a made-up run: 1 s import, 0.5 s device, 0.25 s data, 0.25 s build, the epochs, 1 s evaluation."""
    epochs = [
        {"event": "epoch", "at": 0.0, "epoch": i, "samples": 10, "loss": 1.0, "wall_s": s, "process_s": 1.5 * s}
        for i, s in enumerate(epochs_s)
    ]
    evaluate = {"event": "stage", "at": 0.0, "stage": "evaluate", "wall_s": 1.0, "process_s": 1.0}
    result = {"error_rate": error_rate, "loss": 0.1}
    return _make_content(cell, epochs_s[0] / 2, [*epochs, evaluate], result, sum(epochs_s) + 5.0, **changes)


def make_step_content(cell: Cell, steps_s: list[float], **changes: Any) -> dict:
    """A record of made-up steps, the first of them warm-ups as the cell says, each with two CPU seconds a second."""
    warmup = cell.steps.warmup if cell.steps else 0
    steps = [
        {"event": "step", "at": 0.0, "step": i, "warmup": i < warmup, "loss": 2.0, "wall_s": s, "process_s": 2 * s}
        for i, s in enumerate(steps_s)
    ]
    result = {"error_rate": None, "loss": None}
    return _make_content(cell, steps_s[0], steps, result, sum(steps_s) + 4.0, **changes)


def _make_content(
    cell: Cell, first_step_s: float, measured: list[Event], result: dict, total_s: float, **changes: Any
) -> dict:
    stages = {"import": 1.0, "device": 0.5, "data": 0.25, "build": 0.25, "first_step": first_step_s}
    events = [{"event": "stage", "at": 0.0, "stage": name, "wall_s": s, "process_s": s} for name, s in stages.items()]
    events += measured
    result |= {"rss_bytes": 2**30, "peak_memory_bytes": None, "process_s": 9.0}
    events.append({"event": "result", "at": 0.0, "python": "3.11.7", "packages": {"numpy": "2"}, **result})
    outcome = Outcome(
        status="ok",
        reason=None,
        events=events,
        log=[],
        total_s=total_s,
        gpu_pct=changes.pop("gpu_pct", None),
    )
    planned = Planned(cell=cell, key=changes.pop("key", cell.label), cores=2, done=None)
    verdict = changes.pop("verdict", {"level": "S3", "reason": None, "supported": True, "findings": []})
    content = make_record(planned, HOST, outcome, verdict, {"fingerprint": "d" * 64, "unverified": []})
    return content | {"finished_at": "2026-01-01T00:00:00+00:00"} | changes


def write_interpreter(folder: Path, body: str) -> str:
    """Write an executable that takes a worker's arguments and runs `body` in their place; `fd` is the events pipe."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\nfd = int(sys.argv[3])\n{body}\n")
    path.chmod(0o755)
    return str(path)


def write_broken_tool(folder: Path, method: str, body: str) -> str:
    """Write an interpreter that runs the real worker with one method of the null model replaced by `body`."""
    return write_interpreter(
        folder,
        f"""
sys.argv = [sys.argv[0], sys.argv[3]]
sys.path.insert(0, os.getcwd())
from frameworks import null_adapter, worker
def broken(self, *arguments):
    {body}
null_adapter.NullModel.{method} = broken
sys.exit(worker.main())
""",
    )
