"""One tool and one net: the adapter and the hand-written loop, epoch by epoch in turn, in one process.

Runs inside the tool's environment; benchmarks/speed.py starts it. Standard library and NumPy besides the framework.
"""

import argparse
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.nets import NETS
from frameworks import TOOLS
from frameworks.worker import load_adapter
from workloads import make_workload
from workloads.datasets import load_split
from workloads.initial import epoch_order, initial_weights

Epoch = Callable[[np.ndarray], object]


def time_epoch(epoch: Epoch, order: np.ndarray) -> float:
    """Seconds of one epoch."""
    start = time.perf_counter()
    epoch(order)
    return time.perf_counter() - start


def main() -> None:
    """Print the seconds of every epoch of both sides as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("net", choices=NETS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    arguments = parser.parse_args()
    workload = make_workload(*NETS[arguments.net])
    data = load_split(arguments.data, workload.data)
    tool = TOOLS[arguments.tool]
    adapter = load_adapter(arguments.tool)(device="cpu", cores=arguments.cores, **tool.options)
    model = adapter.build(workload, initial_weights(workload.network, 0), 0, "float32")
    native = importlib.import_module(f"benchmarks.native.{tool.adapter.partition('_')[0]}_loop")
    options = {name: value for name, value in tool.options.items() if name != "backend"}
    loop = native.make_loop(arguments.net, data.train_images, data.train_labels, **options)

    def train(order: np.ndarray) -> None:
        model.train_batches(data.train_images, data.train_labels, order)
        model.synchronize()

    sides: dict[str, Epoch] = {"adapter": train, "native": loop}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(arguments.rounds + 1):
        order = epoch_order(len(data.train_labels), 0, number)
        for name in sorted(sides, reverse=bool(number % 2)):
            seconds[name].append(time_epoch(sides[name], order))
    print(json.dumps({name: times[1:] for name, times in seconds.items()}))


if __name__ == "__main__":
    main()
