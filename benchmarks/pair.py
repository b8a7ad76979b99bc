"""One tool and one net: the adapter and the code by hand, epoch by epoch or step by step in turn, in one process.

Runs inside the tool's environment; benchmarks/speed.py starts it. Standard library and NumPy besides the framework.
"""

import argparse
import importlib
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.nets import NETS, Net
from frameworks import TOOLS
from frameworks.worker import load_adapter, take_step
from workloads.datasets import Split, load_split
from workloads.initial import epoch_order, initial_weights, step_labels

WARMUP_ROUNDS = 2
Run = Callable[[np.ndarray], object]
"""An epoch, which takes the order of the samples, or a step, which takes its labels; it returns when all is done."""


def adapter_runs(tool: str, net: Net, data: Split, cores: int) -> dict[str, Run]:
    """Return what the adapter does, by measure."""
    adapter = load_adapter(tool)(device="cpu", cores=cores, **TOOLS[tool].options)
    model = adapter.build(net.workload, initial_weights(net.workload.network, 0), 0, "float32")

    def train(order: np.ndarray) -> None:
        model.train_batches(data.train_images, data.train_labels, order)
        model.synchronize()

    def step(measure: str, placed: Any, labels: np.ndarray) -> None:
        take_step(model, measure, placed, labels)
        model.synchronize()

    if net.measures == ("epochs",):
        return {"epochs": train}
    placed = model.place(data.train_images)
    return {measure: partial(step, measure, placed) for measure in net.measures}


def native_runs(tool: str, name: str, data: Split) -> dict[str, Run]:
    """Return what is written by hand, by measure."""
    framework = TOOLS[tool].adapter.partition("_")[0]
    options = {name: value for name, value in TOOLS[tool].options.items() if name != "backend"}
    if NETS[name].measures == ("epochs",):
        native = importlib.import_module(f"benchmarks.native.{framework}_loop")
        return {"epochs": native.make_loop(name, data.train_images, data.train_labels, **options)}
    kind = "steps" if len(NETS[name].workload.network.input_shape) == 3 else "sequences"
    native = importlib.import_module(f"benchmarks.native.{framework}_{kind}")
    steps: dict[str, Run] = native.make_steps(name, data.train_images, **options)
    return steps


def make_input(net: Net, data: Split, number: int) -> np.ndarray:
    """Return what both sides take in a round: the order of an epoch or the labels of a step."""
    if net.measures == ("epochs",):
        return epoch_order(len(data.train_labels), 0, number)
    noise, size = net.workload.data.noise, net.workload.batch_size
    return step_labels(noise.labels, size, 0, number) if noise else data.train_labels[:size]


def time_run(run: Run, taken: np.ndarray) -> float:
    """Seconds of one epoch or step."""
    start = time.perf_counter()
    run(taken)
    return time.perf_counter() - start


def main() -> None:
    """Print the seconds of every timed round as JSON, by measure and side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("net", choices=NETS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    arguments = parser.parse_args()
    net = NETS[arguments.net]
    data = load_split(arguments.data, net.workload.data)
    sides = {
        "adapter": adapter_runs(arguments.tool, net, data, arguments.cores),
        "native": native_runs(arguments.tool, arguments.net, data),
    }
    seconds: dict[str, dict[str, list[float]]] = {measure: {side: [] for side in sides} for measure in net.measures}
    for measure, times in seconds.items():
        for number in range(WARMUP_ROUNDS + arguments.rounds):
            taken = make_input(net, data, number)
            for side in sorted(sides, reverse=bool(number % 2)):
                times[side].append(time_run(sides[side][measure], taken))
        for side in sides:
            del times[side][:WARMUP_ROUNDS]
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
