"""How the harness bears many records and many cells: `report` on 10,000 records, a plan of 100,000 cells.

    python -m benchmarks.scale [--records N] [--cells N]

Prints wall and CPU seconds, and for `report` the peak of its memory. The records are made up, in a temporary folder,
and as large as real ones.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

from frameworks import FLOOR, TOOLS
from harness.canary import Canary
from harness.host import describe_host
from harness.launch import Outcome, without_worker
from harness.places import PROJECT
from harness.plan import Cell, load_matrix, mark_unavailable, repeat_cells, select, shuffle_cells
from harness.ranking import RANKED_REPEATS
from harness.recording import Circumstances, make_record
from harness.records import Planned, Record, write_record
from harness.session import plan_session

PACKAGES = {f"nvidia-package-{number}-cu12": f"12.{number}.70" for number in range(100)}
FINDINGS = [
    {
        "level": f"S{number // 4}", "what": f"weights after {number} updates", "worst": 3.1e-7 * number,
        "where": "conv2d_1/kernel", "tolerance": 1e-4, "precision": "float32", "note": None, "fault": False,
        "holds": True,
    }
    for number in range(15)
]  # fmt: skip
SERIES_POINTS = 60
GPU = {"gpu_pct": 71.2, "gpu_power_w": 203.1, "sm_clock_mhz": 1410.0, "gpu_memory_mib": 2048.0, "temperature_c": 61.0}
SEEN = {
    "cpu_pct": 87.6, "busiest_core_pct": 93.1, "others_pct": 0.4, "rss_mib": 697.0, "package_energy_j": None,
    "gpu_strangers": 0,
}  # fmt: skip
EPOCHS, STEPS = 50, 100
MEASURES = ("", f"measure: steps\nsteps: {{of: [forward, train], timed: {STEPS - 10}}}\n")
Result = TypeVar("Result")


def write_matrix(folder: Path, cells: int, repeats: int, measure: str) -> Path:
    """Write a matrix of at least so many cells: every tool on CPU and GPU, as many nets as it takes."""
    kinds = 2 if measure else 1
    widths = range(8, 8 + ceil(cells / (repeats * kinds * 2 * len(TOOLS) * 2)))
    path = folder / "matrix.yaml"
    path.write_text(
        f"tools: {json.dumps(list(TOOLS))}\ndevices: [cpu, gpu]\nbatch_sizes: [64, 128]\nrepeats: {repeats}\n{measure}"
        f"models: [{{model: mnist-mlp, epochs: {EPOCHS}, units: {list(widths)}}}]\n"
    )
    return path


def make_series(stream: random.Random) -> list[float]:
    """Make up what was sampled over a run, rising as time does."""
    return sorted(round(stream.uniform(0, 100), 2) for _ in range(SERIES_POINTS))


def make_outcome(cell: Cell, stream: random.Random) -> Outcome:
    """Make up how a worker ended, each tool with a speed of its own."""
    if cell.not_run:
        return without_worker(*cell.not_run)
    now, events = 1.0, []

    def add(kind: str, wall_s: float, **more: Any) -> None:
        nonlocal now
        now += wall_s
        events.append({"event": kind, "at": now, "wall_s": wall_s, "process_s": 1.9 * wall_s, **more})

    for stage in ("import", "device", "data", "weights", "build", "first_step"):
        add("stage", stream.uniform(0.5, 2.0), stage=stage)
    usual_s = stream.gauss(1.0 + 0.02 * list(TOOLS).index(cell.tool), 0.02)
    for number in range(STEPS if cell.steps else EPOCHS):
        wall_s, loss = usual_s * stream.gauss(1.0, 0.01), stream.gauss(1.0, 0.001) / (1 + number)
        if cell.steps:
            add("step", wall_s, step=number, warmup=number < cell.steps.warmup, loss=loss)
        else:
            add("epoch", wall_s, epoch=number, samples=54_000, loss=loss, validation={"loss": loss, "error_rate": 0.02})
    add("stage", 1.0, stage="evaluate")
    result = {"error_rate": 0.02, "loss": 0.07, "peak_memory_bytes": None, "python": "3.11.7", "packages": PACKAGES}
    events.append({"event": "result", "at": now, "process_s": 2 * now, **result})
    gpus = [{**GPU, "energy_j": 200 * now, "throttle": []}] if cell.device == "gpu" else []
    series: dict[str, Any] = {name: make_series(stream) for name in ("at_s", "cpu_s", "rss_mib")}
    series["gpus"] = [{name: make_series(stream) for name in ("gpu_pct", "gpu_power_w")} for _ in gpus]
    seen = {"training": {**SEEN, "gpus": gpus}, "steady": {**SEEN, "gpus": gpus}, "series": series, "reasons": {}}
    return Outcome(status="ok", reason=None, events=events, log=[], started=0.0, total_s=now + 1.0, utilisation=seen)


def make_content(item: Planned, host: dict[str, Any], stream: random.Random) -> dict[str, Any]:
    """Make up the record of a cell."""
    proven = {"level": None if item.cell.tool == FLOOR else "S3", "reason": None, "supported": True}
    around = Circumstances(
        session=f"session-{item.cell.repeat}",
        host=host,
        verdict={**proven, "findings": FINDINGS},
        canary=Canary(gflops=stream.gauss(100.0, 2.0), others_pct=0.4, reason=None),
        data={"fingerprint": "d" * 64, "unverified": []},
    )
    return make_record(item, make_outcome(item.cell, stream), around)


def write_records(folder: Path, count: int) -> None:
    """Write so many records, half of them of epochs and half of steps, each cell as often as it takes to be ranked."""
    host, stream = describe_host(), random.Random(0)
    for measure in MEASURES:
        cells = load_matrix(write_matrix(folder, count // 2, RANKED_REPEATS, measure))
        for item in plan_session(cells[: count // 2], host, [], fresh=True):
            write_record(folder / "results", make_content(item, host, stream))


def time_report(results: Path) -> str:
    """Run `report` in a process of its own and say what it took."""
    began = time.monotonic()
    subprocess.run([sys.executable, "runner.py", "report", "--results", str(results)], cwd=PROJECT, check=True)
    wall_s = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return f"{wall_s:.1f} s, CPU {used.ru_utime + used.ru_stime:.1f} s, at most {used.ru_maxrss / 1024:.0f} MiB"


def timed(name: str, step: Callable[[], Result]) -> Result:
    """Do a step and print what it took."""
    wall_s, cpu_s = time.monotonic(), time.process_time()
    result = step()
    print(f"{name}: {time.monotonic() - wall_s:.1f} s, CPU {time.process_time() - cpu_s:.1f} s", flush=True)
    return result


def plan(path: Path, records: Iterator[Record]) -> list[Planned]:
    """Plan a matrix as the runner does."""
    cells = repeat_cells(select(load_matrix(path), ["device=cpu,gpu"]), RANKED_REPEATS, "--repeats")
    cells = mark_unavailable(cells, cores=1, no_gpu=None)
    return plan_session(shuffle_cells(cells), describe_host(), records, fresh=False)


def main() -> None:
    """Print what the report and the plan take."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--cells", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if arguments.records:
            timed("records made", lambda: write_records(folder, arguments.records))
            files = list((folder / "results").glob("*/*.json"))
            mean_kib = sum(file.stat().st_size for file in files) / len(files) / 1024
            print(f"report of {len(files)} records of {mean_kib:.0f} KiB: {time_report(folder / 'results')}")
        if arguments.cells:
            path = write_matrix(folder, arguments.cells, RANKED_REPEATS, MEASURES[0])
            planned = timed("planned, nothing done", lambda: plan(path, iter(())))
            host = describe_host()
            template = make_content(planned[0], host, random.Random(0))
            done = [Record(content={**template, "key": item.key}) for item in planned]
            again = timed("planned, all done", lambda: plan(path, iter(done)))
            print(f"{len(planned)} cells, of which {sum(item.done is not None for item in again)} are done")


if __name__ == "__main__":
    main()
