"""Cells, records and misbehaving interpreters for the tests of the harness."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.launch import Outcome
from harness.plan import Cell
from harness.session import Planned, make_record
from workloads import make_workload

HOST = {
    "machine": "0123456789ab",
    "cpu": "Testium 9000",
    "cores": 4,
    "memory_gib": 16.0,
    "system": "Linux 6 x86_64",
    "gpus": [],
    "no_gpu": "no NVIDIA GPU here (test)",
}


def make_cell(tool: str = "null", **changes: Any) -> Cell:
    """A cell of the null tool on two epochs of digits, or with changes."""
    cell = Cell(
        tool=tool,
        device="cpu",
        cores=None,
        workload=make_workload("digits-cnn", {"epochs": 2}),
        precision="float32",
        repeat=0,
        seed=0,
        time_limit_s=60,
        environment="managed",
    )
    return replace(cell, **changes)


def make_content(cell: Cell, epochs_s: list[float], *, error_rate: float = 0.01, key: str = "", **changes: Any) -> dict:
    """A record of a made-up run: 1 s import, 0.5 s device, 0.25 s data, 0.25 s build, the epochs, 1 s evaluation."""
    stages = {"import": 1.0, "device": 0.5, "data": 0.25, "build": 0.25, "first_step": epochs_s[0] / 2, "evaluate": 1.0}
    events = [{"event": "stage", "at": 0.0, "stage": name, "wall_s": s, "process_s": s} for name, s in stages.items()]
    events += [
        {"event": "epoch", "at": 0.0, "epoch": i, "samples": 10, "loss": 1.0, "wall_s": s, "process_s": 1.5 * s}
        for i, s in enumerate(epochs_s)
    ]
    result = {"error_rate": error_rate, "loss": 0.1, "rss_bytes": 2**30, "peak_memory_bytes": None, "process_s": 9.0}
    events.append({"event": "result", "at": 0.0, "python": "3.11.7", "packages": {"numpy": "2"}, **result})
    outcome = Outcome(
        status="ok",
        reason=None,
        events=events,
        log=[],
        total_s=sum(epochs_s) + 5.0,
        gpu_pct=changes.pop("gpu_pct", None),
    )
    planned = Planned(cell=cell, key=key or cell.label, cores=2, done=None)
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
