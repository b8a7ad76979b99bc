"""Every adapter against the contract, in its own environment; and all tools against one another."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frameworks import FLOOR, TOOLS
from harness.data import find_files, prepare
from harness.environments import EnvironmentFailedError, ensure_environment, python_of, requirements_of
from harness.host import available_cores
from harness.launch import child_environment
from harness.places import PROJECT
from tests.conformance import CASES, LOSS_SEEDS, LOSS_STEPS
from workloads import make_workload

pytestmark = pytest.mark.conformance
LEARNING = [tool for tool in TOOLS if tool != FLOOR]
LEARNED_CASES = (
    "a_precision",
    "the_loss_falls",
    "the_loss_of_many",
    "the_net_is",
    "the_seed_decides",
    "training_continues",
)
LOSS_MODELS = ("mnist-cnn", "cifar10-cnn")
LOSS_TOLERANCE = 1e-4
"""Relative difference allowed in the first 20 training losses of two tools in float32."""


@pytest.fixture(scope="session")
def prepared() -> dict[str, Path]:
    """Real data where it is here, synthetic data of the same shape elsewhere."""
    sources = {"mnist-cnn": "mnist", "cifar10-cnn": "cifar10"}
    chosen = {model: {} if find_files(source) else {"data": "synthetic"} for model, source in sources.items()}
    return {model: prepare(make_workload(model, chosen[model]).data)[0] for model in LOSS_MODELS}


@pytest.fixture(scope="session")
def suite(prepared: dict[str, Path]) -> Callable[[str], dict[str, Any]]:
    """Run the suite once a tool, in its environment, and return its outcomes by case and its losses by model."""
    finished: dict[str, dict[str, Any]] = {}

    def run(tool: str) -> dict[str, Any]:
        if tool not in finished:
            finished[tool] = _run_suite(tool, prepared)
        return finished[tool]

    return run


def _run_suite(tool: str, prepared: dict[str, Path]) -> dict[str, Any]:
    requirements = requirements_of(tool, "cpu")
    try:
        python = ensure_environment(requirements, python_of(tool), print) if requirements else Path(sys.executable)
    except EnvironmentFailedError as error:
        return {"trouble": str(error), "cases": {}, "unsupported": {}, "losses": {}}
    cores = len(available_cores())
    losses = [f"--losses={model}={folder}" for model, folder in prepared.items()]
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "outcomes"
        command = [python, "-m", "tests.conformance", tool, "cpu", f"--cores={cores}", f"--output={output}", *losses]
        environment = child_environment(tool, "cpu", cores, Path(scratch))
        finished = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
        lines = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    return {
        "trouble": f"exit code {finished.returncode}\n{finished.stdout[-2000:]}\n{finished.stderr[-4000:]}",
        "cases": {line["case"]: line["failure"] for line in lines if "case" in line},
        "unsupported": {line["case"]: line["unsupported"] for line in lines if line.get("unsupported")},
        "losses": {(line["losses"], line["seed"]): line["values"] for line in lines if "losses" in line},
    }


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("tool", TOOLS)
def test_adapter_keeps_the_contract(tool: str, case: str, suite: Callable[[str], dict[str, Any]]) -> None:
    outcome = suite(tool)
    assert case in outcome["cases"], f"{tool} did not come so far: {outcome['trouble']}"
    if case in outcome["unsupported"]:
        pytest.skip(outcome["unsupported"][case])
    failure = outcome["cases"][case]
    if tool == FLOOR and case.startswith(LEARNED_CASES):
        assert failure, "the tool that learns nothing passed a check of learning"
    else:
        assert failure is None, failure


@pytest.mark.parametrize("model", LOSS_MODELS)
@pytest.mark.parametrize("tool", LEARNING)
def test_first_losses_are_the_same_in_every_tool(tool: str, model: str, suite: Callable[[str], dict[str, Any]]) -> None:
    """Without dropout the first 20 losses of any two tools agree, from the same weights on the same batches.

    Float32 rounding alone keeps two tools within 1e-6. But where two values of a pool's window, or a ReLU's input and
    zero, are closer than rounding, tools may differ in the gradient's path; from there on a run separates by itself,
    and another seed must be looked at. A net, batch or optimiser that differs separates with every seed.
    """
    mine = _losses(suite(tool), model, tool)
    for other in LEARNING:
        theirs = _losses(suite(other), model, other)
        apart = {seed: _difference(mine[seed], theirs[seed]) for seed in LOSS_SEEDS}
        assert min(apart.values()) <= LOSS_TOLERANCE, (other, apart)
        first = max(_difference(mine[seed][:2], theirs[seed][:2]) for seed in LOSS_SEEDS)
        assert first <= LOSS_TOLERANCE, (other, first)


def _losses(outcome: dict[str, Any], model: str, tool: str) -> dict[int, list[float]]:
    """Return a tool's losses by seed, all of them there and moving."""
    missing = [seed for seed in LOSS_SEEDS if (model, seed) not in outcome["losses"]]
    assert not missing, f"{tool} did not come so far: {outcome['trouble']}"
    losses = {seed: outcome["losses"][model, seed] for seed in LOSS_SEEDS}
    assert all(len(set(values)) == LOSS_STEPS for values in losses.values()), "losses that do not move prove nothing"
    return losses


def _difference(mine: list[float], theirs: list[float]) -> float:
    """Return the largest relative difference."""
    return max(abs(a - b) / abs(b) for a, b in zip(mine, theirs, strict=True))
