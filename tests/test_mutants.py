"""The proof against planted mistakes: each must be caught at its level, and what is the same function must pass."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from frameworks.proof import LEVELS
from harness.environments import ensure_environment, python_of, requirements_of
from harness.host import available_cores
from harness.launch import child_environment
from harness.places import PROJECT

pytestmark = pytest.mark.conformance
Verdicts = dict[tuple[str, str], dict[str, Any]]
"""What the proof says of each mutant, by its name and the setting's."""
SETTINGS = ("both precisions", "float32 alone", "float32 alone, as a big net")
"""Those of tests/mutants.py."""
CAUGHT = {
    "the founding MXNet script: pool stride 1": "S0",
    "missing bias": "S0",
    "pool stride 1 where no weight shows it": "S1",
    "symmetric padding for TensorFlow's": "S2",
    "symmetric padding of a depthwise convolution": "S2",
    "depthwise kernels with height and width exchanged": "S2",
    "crop at the other end": "S2",
    "half squared sum averaged over the batch": "S3",
    "flatten in C, H, W order": "S2",
    "batch-norm epsilon 1e-5 for 1e-3": "S2",
    "batch-norm epsilon 1e-3 for 1e-5": "S2",
    "dropout left on at inference": "S2",
    "ReLU overwrites what another node reads": "S2",
    "average pool that counts padding": "S2",
    "response normalisation's alpha divided by the window": "S2",
    "learning-rate decay read as weight decay": "S3",
    "weight decay decoupled": "S3",
    "weight decay forgotten on biases": "S3",
    "momentum as 1 - momentum": "S3",
    "Nesterov for heavy ball": "S3",
    "heavy ball for Nesterov": "S3",
    "Adam's epsilon inside the bias correction": "S3",
    "Adam's epsilon outside the bias correction": "S3",
    "batch-norm momentum turned round": "S3",
    "batch norm in inference mode while training": "S3",
    "moving variance biased, undeclared": "S3",
    "softmax applied twice": "S3",
    "loss summed instead of averaged": "S3",
    "last partial batch dropped": "S3",
    "residual without its gradient": "S3",
    "dropout not inverted": "S3",
    "dropout rate as keep probability": "S3",
    "one dropout mask for all samples": "S3",
    "the same dropout in every layer": "S3",
    "training mode lost after a prediction": "S3",
    "gates in another order: i and f exchanged": "S2",
    "gates in another order: g and o exchanged": "S2",
    "LSTM without its bias": "S2",
    "LSTM with two biases that are trained": "S3",
    "1 added to the forget gate": "S2",
    "dropout between the states of an LSTM": "S3",
    "gradients through the last places alone": "S3",
    "first state for the last": "S2",
    "attention without its scale": "S2",
    "attention that sees a place ahead": "S2",
    "attention that does not see its own place": "S2",
    "attention to all places": "S2",
    "heads of every second column": "S2",
    "GELU by tanh for erf": "S2",
    "GELU by erf for tanh": "S2",
    "layer norm after the sum": "S2",
    "layer-norm epsilon 1e-3 for 1e-5": "S2",
    "layer-norm epsilon 1e-6 for 1e-5": "S2",
    "layer norm by the unbiased standard deviation": "S2",
    "positions forgotten": "S2",
    "logits by the table of embeddings": "S2",
    "token 0 taken for padding": "S3",
    "rows that a batch lacks left alone": "S3",
    "loss summed over places": "S3",
    "gradients of a scaled loss taken for the loss's": "S3",
    "weights no longer than what is multiplied": "S3",
    "float32 under another label": "S2",
}
"""The level at which each mutant of tests/mutants.py must be caught: all below hold, this one does not."""
ONLY_IN_THE_UPDATE = (
    "learning-rate decay read as weight decay", "weight decay decoupled", "momentum as 1 - momentum",
    "Nesterov for heavy ball", "Adam's epsilon inside the bias correction", "LSTM with two biases that are trained",
    "rows that a batch lacks left alone",
)  # fmt: skip
EQUIVALENT = (
    "pool and ReLU exchanged", "same padding spelt out", "Nesterov without momentum",
    "gradients added up in another order", "nothing", "nothing, in the other net",
    "nothing, in a net that is not trained", "nothing, in a recurrent net", "nothing, in a net of attention",
    "a scaled loss", "nothing, in bfloat16", "nothing, in a recurrent net in bfloat16",
    "nothing, in a net of attention in bfloat16", "LSTM written out", "attention written out", "keys without bias",
    "GELU written out", "layer norm written out",
)  # fmt: skip


@pytest.fixture(scope="session")
def verdicts() -> Verdicts:
    """What the proof says of each mutant, all run in one process of PyTorch's environment."""
    requirements = requirements_of("torch", "cpu")
    assert requirements is not None
    python = ensure_environment(requirements, python_of("torch"), print)
    with tempfile.TemporaryDirectory() as scratch:
        environment = child_environment("torch", "cpu", len(available_cores()), Path(scratch))
        finished = subprocess.run(
            [python, "-m", "tests.mutants"], cwd=PROJECT, env=environment, capture_output=True, text=True
        )
    assert finished.returncode == 0, finished.stderr[-4000:]
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    return {(line["mutant"], line["setting"]): line for line in lines}


def test_every_mutant_has_an_expectation(verdicts: Verdicts) -> None:
    assert sorted(verdicts) == sorted((mutant, setting) for mutant in (*CAUGHT, *EQUIVALENT) for setting in SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("mutant", CAUGHT)
def test_a_mutant_is_caught_at_its_level(mutant: str, setting: str, verdicts: Verdicts) -> None:
    """Also by a proof in float32 alone, which is all that some tools have, and by that of a big net."""
    below = [None, *LEVELS][LEVELS.index(CAUGHT[mutant])]
    assert verdicts[mutant, setting]["reached"] == below, verdicts[mutant, setting]


@pytest.mark.parametrize("mutant", ONLY_IN_THE_UPDATE)
def test_what_is_wrong_in_the_update_alone_is_seen_there(mutant: str, verdicts: Verdicts) -> None:
    for setting in SETTINGS:
        failures = verdicts[mutant, setting]["failures"]
        assert "S3 float32 weights after updates" in failures, setting
        assert not any(name.endswith(("loss", "gradients")) and "training" not in name for name in failures), failures


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("mutant", EQUIVALENT)
def test_the_same_function_in_other_words_passes(mutant: str, setting: str, verdicts: Verdicts) -> None:
    assert verdicts[mutant, setting]["reached"] == "S3", verdicts[mutant, setting]
