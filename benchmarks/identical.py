"""Measures one tool under two names and says how often the two share a rank: `python -m benchmarks.identical torch`.

Each measurement has as many runs of both names as a rank takes, in rounds of drawn order, as a session has.
"""

import argparse
import sys

import numpy as np

from frameworks import TOOLS
from harness.data import prepare
from harness.environments import ensure_environment, python_of, requirements_of
from harness.host import available_cores
from harness.launch import launch_worker
from harness.plan import Cell
from harness.ranking import RANKED_REPEATS, Comparison
from harness.recording import time_ledger
from harness.self_cost import small_cell

NAMES = ("first", "second")
EPOCHS = 60


def train_s(cell: Cell, python: str) -> float:
    """Run a cell and return its seconds of training. Raises RuntimeError if it does not end well."""
    outcome = launch_worker(cell, len(available_cores()), python, prepare(cell.workload.data)[0], lambda event: None)
    seconds = time_ledger(outcome)["train_s"]
    if outcome.status != "ok" or seconds is None:
        raise RuntimeError(f"{cell.label}: {outcome.status}, {outcome.reason}")
    return seconds


def main() -> None:
    """Print the ranks of every measurement and how many of them are shared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("--measurements", type=int, default=10)
    chosen = parser.parse_args()
    requirements = requirements_of(chosen.tool, "cpu")
    python = str(ensure_environment(requirements, python_of(chosen.tool), print)) if requirements else sys.executable
    cell = small_cell(chosen.tool, epochs=EPOCHS)
    stream, shared = np.random.RandomState(0), 0
    for number in range(1, chosen.measurements + 1):
        times: dict[str, list[float]] = {name: [] for name in NAMES}
        for _ in range(RANKED_REPEATS):
            for name in stream.permutation(NAMES):
                times[str(name)].append(train_s(cell, python))
        comparison = Comparison(times)
        ranks = [comparison.rank(name) for name in NAMES]
        shared += ranks[0] == ranks[1]
        shown = "; ".join(f"{name} {comparison.versus_best(name)}, rank {comparison.rank(name)}" for name in NAMES)
        print(f"measurement {number}: {shown}", flush=True)
    print(f"{chosen.tool}: {shared} of {chosen.measurements} measurements share a rank")


if __name__ == "__main__":
    main()
