"""SameNet against what is written by hand: is a slow row the framework's fault or ours?

    python -m benchmarks.speed [--only TOOL ...] [--net NET ...] [--rounds N]

Prints a Markdown table of median steady epochs and steps, and of the ratio adapter / native with its quartiles over
paired rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.nets import NETS
from frameworks import TOOLS
from harness.data import prepare
from harness.environments import ensure_environment, python_of, requirements_of
from harness.host import available_cores
from harness.launch import child_environment
from harness.places import PROJECT

LEARNING = [tool for tool in TOOLS if tool != "null"]


def measure(tool: str, net: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of every timed round of both sides, by what was timed."""
    folder, _ = prepare(NETS[net].workload.data)
    requirements = requirements_of(tool, "cpu")
    assert requirements is not None
    python = ensure_environment(requirements, python_of(tool), lambda line: print(line, file=sys.stderr))
    cores = len(available_cores())
    with tempfile.TemporaryDirectory() as scratch:
        command = [python, "-m", "benchmarks.pair", tool, net, folder, f"--cores={cores}", f"--rounds={rounds}"]
        environment = child_environment(tool, "cpu", cores, Path(scratch))
        finished = subprocess.run(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds: dict[str, dict[str, list[float]]] = json.loads(finished.stdout.splitlines()[-1])
    return seconds


def main() -> None:
    """Print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=LEARNING, choices=LEARNING, metavar="TOOL")
    parser.add_argument("--net", nargs="+", default=list(NETS), choices=NETS, metavar="NET")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    print("| Tool | Net | Measure | adapter (s) | native (s) | ratio | quartiles |")
    print("|:--|:--|:--|--:|--:|--:|--:|")
    for tool in arguments.only:
        for net in arguments.net:
            for kind, seconds in measure(tool, net, arguments.rounds).items():
                adapter, native = (statistics.median(seconds[side]) for side in ("adapter", "native"))
                paired = [a / n for a, n in zip(seconds["adapter"], seconds["native"], strict=True)]
                low, middle, high = statistics.quantiles(paired, n=4)
                times = f"{adapter:.3f} | {native:.3f} | {middle:.3f} | {low:.3f} – {high:.3f}"
                print(f"| {tool} | {net} | {kind} | {times} |", flush=True)


if __name__ == "__main__":
    main()
