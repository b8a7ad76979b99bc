"""The conformance suite: what every adapter must do, run inside its own environment by `python -m tests.conformance`.

Standard library and NumPy only, so that no tool's environment needs a test runner; tests/test_conformance.py starts it
and shows each check as a test. By hand, in an interpreter that has the tool:

    python -m tests.conformance torch gpu
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from frameworks import TOOLS
from frameworks.base import Adapter, Device, Model
from frameworks.reference import Optimizer, forward, softmax_cross_entropy
from frameworks.worker import load_adapter
from workloads import make_workload
from workloads.datasets import load_split, made_up
from workloads.initial import Weights, epoch_order, initial_weights
from workloads.keras_form import conv, dense
from workloads.shapes import weight_shapes
from workloads.spec import SGD, Adam, Conv2D, Dropout, Flatten, GlorotUniform, MaxPool2D, Network, ReLU, Workload

SEED = 7
LOSS_SEEDS = (0, 1, 5, 6, 7, 8, 10, 29)
LOSS_STEPS = 20
LOGIT_TOLERANCE = 1e-5
"""Largest difference of logits, relative to the largest logit; float32 rounding through these nets is about 1e-6."""
STEP = 1e-7
"""Step of central differences: small enough that no ReLU or pool of these nets changes sides on the way (at 1e-6 some
of cifar10-cnn do), large enough that float64 rounding of the loss, 2e-16 / 1e-7, stays far below the tolerance."""
GRADIENT_TOLERANCE = 2e-5
"""Largest difference of a slope, relative to its typical size; the worst measured, in PyTorch, is 2e-6."""
WEIGHT_TOLERANCE = 2e-6
"""Largest difference of weights after a few updates; weights are below 1, where float32 resolves 6e-8."""

WORKLOADS = {
    "digits-cnn": make_workload("digits-cnn", {"data": "synthetic"}),
    "digits-mlp": make_workload("digits-mlp", {"data": "synthetic"}),
    "mnist-cnn": make_workload("mnist-cnn", {"data": "synthetic"}),
    "mnist-mlp": make_workload("mnist-mlp", {"data": "synthetic", "units": 64}),
    "cifar10-cnn": make_workload("cifar10-cnn", {"data": "synthetic"}),
}


def _uneven() -> Workload:
    """A net of everything that paddings and strides make hard: even sizes, strides, uneven and missing padding."""
    bare = Conv2D(
        filters=5,
        kernel_size=(2, 3),
        strides=(1, 2),
        padding=((1, 0), (0, 2)),
        use_bias=False,
        kernel_initializer=GlorotUniform(),
    )
    layers = (
        conv(filters=6, kernel_size=(3, 3), strides=(2, 2), padding="same"),
        ReLU(),
        MaxPool2D(pool_size=(3, 3), strides=(2, 2), padding="same"),
        bare,
        ReLU(),
        MaxPool2D(pool_size=(2, 2), strides=(1, 1), padding=((0, 1), (1, 0))),
        Flatten(),
        dense(units=10),
    )
    mnist = WORKLOADS["mnist-cnn"]
    return replace(mnist, name="uneven", network=Network(input_shape=mnist.data.image_shape, layers=layers))


NETS = {**WORKLOADS, "uneven": _uneven()}


def without_dropout(workload: Workload) -> Workload:
    """Return the workload with every dropout rate at zero."""
    layers = tuple(Dropout(rate=0.0) if isinstance(x, Dropout) else x for x in workload.network.layers)
    return replace(workload, network=replace(workload.network, layers=layers))


def draw_batch(workload: Workload, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw learnable synthetic images (N, H, W, C) and their labels."""
    data = replace(workload.data, train_samples=samples, validation_samples=0, test_samples=1)
    arrays = made_up(data)
    return arrays["train_images"], arrays["train_labels"].astype(np.int32)


def build(adapter: Adapter, workload: Workload, seed: int = SEED) -> tuple[Model, Weights]:
    """Build a model from drawn weights; biases are drawn too, so that a lost one shows."""
    weights = initial_weights(workload.network, SEED)
    stream = np.random.RandomState(SEED)
    for name in weights:
        if name.endswith("/bias"):
            weights[name] = stream.uniform(-0.1, 0.1, weights[name].shape).astype(np.float32)
    return adapter.build(workload, weights, seed), weights


def assert_close(got: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> None:
    """Fail unless the largest difference is within `tolerance` times the largest expected value."""
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    worst = float(np.max(np.abs(got - expected)))
    limit = tolerance * float(np.max(np.abs(expected)))
    assert worst <= limit, f"{what}: differs by {worst:.3g}, allowed {limit:.3g}"


def check_weights_out_are_the_weights_in(adapter: Adapter, workload: Workload) -> None:
    """Every parameter by name, shape and value, and nothing else."""
    model, weights = build(adapter, workload)
    got = model.weights()
    assert {name: weight.shape for name, weight in got.items()} == weight_shapes(workload.network)
    for name, weight in weights.items():
        assert got[name].dtype == np.float32
        assert np.array_equal(got[name], weight), name


def check_forward_is_the_oracles(adapter: Adapter, workload: Workload) -> None:
    """Logits of several batches and a rest, dropout off, float32."""
    model, weights = build(adapter, workload)
    images, _ = draw_batch(workload, 2 * workload.batch_size + 3)
    got = model.forward(images)
    assert got.dtype == np.float32
    assert_close(got, forward(workload.network, weights, images), LOGIT_TOLERANCE, "logits")
    assert_close(model.forward(images[:1]), got[:1].astype(np.float64), LOGIT_TOLERANCE, "logits of one image")


def check_gradients_belong_to_the_oracles_loss(adapter: Adapter, workload: Workload) -> None:
    """The loss is the oracle's, each gradient is its slope, and asking for them changes no weight.

    The slope is a central difference of the float64 loss along a random direction of each weight.
    """
    workload = without_dropout(workload)
    model, weights = build(adapter, workload)
    images, labels = draw_batch(workload, 8)
    loss, gradients = model.gradients(images, labels)
    stream = np.random.RandomState(SEED)
    for name, weight in weights.items():
        direction = stream.standard_normal(weight.shape)
        step = STEP * direction
        ahead, behind = (
            softmax_cross_entropy(forward(workload.network, {**weights, name: weight + s}, images), labels)
            for s in (step, -step)
        )
        slope, got = (ahead - behind) / (2 * STEP), float(np.sum(gradients[name] * direction))
        scale = float(np.linalg.norm(gradients[name]) * np.linalg.norm(direction) / np.sqrt(weight.size))
        assert abs(got - slope) <= GRADIENT_TOLERANCE * scale, (name, got, slope, scale)
    expected = softmax_cross_entropy(forward(workload.network, weights, images), labels)
    assert abs(loss - expected) <= LOGIT_TOLERANCE * expected, (loss, expected)
    assert {name: gradient.shape for name, gradient in gradients.items()} == weight_shapes(workload.network)
    assert all(np.array_equal(weight, weights[name]) for name, weight in model.weights().items())


def check_updates_follow_the_optimizers_formula(adapter: Adapter, workload: Workload) -> None:
    """Four updates against the oracle's, with constants large enough that every one of them shows."""
    optimizers = (
        SGD(learning_rate=0.05, momentum=0.9, decay=0.5),
        SGD(learning_rate=0.05, momentum=0.0, decay=0.0),
        Adam(learning_rate=1e-3, beta_1=0.8, beta_2=0.95, epsilon=1e-3),
    )
    for optimizer in optimizers:
        exaggerated = replace(without_dropout(workload), optimizer=optimizer)
        model, weights = build(adapter, exaggerated)
        oracle = Optimizer(exaggerated, weights)
        images, labels = draw_batch(exaggerated, 4 * exaggerated.batch_size)
        for batch in np.arange(len(images)).reshape(4, -1):
            oracle.update(model.gradients(images[batch], labels[batch])[1])
            model.train_batches(images, labels, batch)
        for name, weight in model.weights().items():
            assert_close(weight, oracle.weights[name], WEIGHT_TOLERANCE, f"{optimizer}: {name}")


def check_training_continues_across_calls_and_keeps_the_rest(adapter: Adapter, workload: Workload) -> None:
    """Batches are consecutive, the last partial one is trained on, and the mean loss is over samples."""
    workload = without_dropout(workload)
    samples = 2 * workload.batch_size + 5
    images, labels = draw_batch(workload, samples)
    order = np.random.RandomState(SEED).permutation(samples)
    whole, cut = build(adapter, workload)[0], build(adapter, workload)[0]
    before = whole.weights()
    mean = whole.train_batches(images, labels, order)
    parts = np.split(order, [workload.batch_size, 2 * workload.batch_size])
    losses = [cut.train_batches(images, labels, part) for part in parts]
    expected = np.average(losses, weights=[len(part) for part in parts])
    assert abs(mean - expected) <= 1e-6 * expected, (mean, expected)
    for name, weight in cut.weights().items():
        assert_close(whole.weights()[name], weight.astype(np.float64), WEIGHT_TOLERANCE, name)
        assert not np.array_equal(before[name], weight), f"{name} was not copied, or training left it as it was"


def check_the_seed_decides_dropout(adapter: Adapter, workload: Workload) -> None:
    """The same seed repeats the run, another seed does not, and inference is without dropout."""
    images, labels = draw_batch(workload, 3 * workload.batch_size)
    order = np.arange(len(labels))

    def train(seed: int) -> float:
        model = build(adapter, workload, seed)[0]
        return model.train_batches(images, labels, order) + model.train_batches(images, labels, order)

    first, again, other = train(1), train(1), train(2)
    assert abs(first - again) <= 1e-5 * abs(first), (first, again)
    assert abs(first - other) > 1e-4 * abs(first), (first, other)


def check_the_loss_falls(adapter: Adapter, workload: Workload) -> None:
    """Within twenty passes over a few batches the loss falls to half of what it was in the first."""
    model, _ = build(adapter, without_dropout(workload))
    images, labels = draw_batch(workload, 8 * workload.batch_size)
    losses = [model.train_batches(images, labels, epoch_order(len(labels), SEED, epoch)) for epoch in range(20)]
    assert min(losses) < losses[0] / 2, losses


def check_memory_and_synchronisation_answer(adapter: Adapter, workload: Workload) -> None:
    """On a device with memory of its own the peak is above the weights; synchronize returns."""
    model, weights = build(adapter, workload)
    model.forward(draw_batch(workload, workload.batch_size)[0])
    model.synchronize()
    peak = model.peak_memory_bytes()
    assert peak is None or peak >= sum(weight.nbytes for weight in weights.values())


Check = Callable[[Adapter, Workload], None]
EVERY_NET: tuple[Check, ...] = (
    check_weights_out_are_the_weights_in,
    check_forward_is_the_oracles,
    check_gradients_belong_to_the_oracles_loss,
)
ONE_NET: tuple[Check, ...] = (
    check_the_loss_falls,
    check_updates_follow_the_optimizers_formula,
    check_training_continues_across_calls_and_keeps_the_rest,
    check_the_seed_decides_dropout,
    check_memory_and_synchronisation_answer,
)
CASES: dict[str, tuple[Check, Workload]] = {
    f"{check.__name__.removeprefix('check_')}[{name}]": (check, NETS[name])
    for checks, names in ((EVERY_NET, NETS), (ONE_NET, ["digits-cnn"]))
    for check in checks
    for name in names
}


def first_losses(adapter: Adapter, workload: Workload, folder: Path, seed: int, steps: int) -> list[float]:
    """Train the first `steps` batches without dropout, from the shared weights in the shared order."""
    workload = without_dropout(workload)
    data = load_split(folder, workload.data)
    model = adapter.build(workload, initial_weights(workload.network, seed), seed)
    order = epoch_order(len(data.train_labels), seed, 0)
    size = workload.batch_size
    return [
        model.train_batches(data.train_images, data.train_labels, order[start : start + size])
        for start in range(0, steps * size, size)
    ]


def run_case(adapter: Adapter, check: Check, workload: Workload) -> str | None:
    """Return None if the check holds, or how it failed."""
    try:
        check(adapter, workload)
    except Exception:
        return traceback.format_exc()
    return None


def run(tool: str, device: Device, cores: int, prepared: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the outcome of every check, then the first losses of each model on its prepared data."""
    adapter = load_adapter(tool)(device=device, cores=cores, **TOOLS[tool].options)
    for name, (check, workload) in CASES.items():
        yield {"case": name, "failure": run_case(adapter, check, workload)}
    for model, folder in prepared.items():
        for seed in LOSS_SEEDS:
            losses = first_losses(adapter, make_workload(model, {}), Path(folder), seed, LOSS_STEPS)
            yield {"losses": model, "seed": seed, "values": losses}


def main() -> int:
    """Write each outcome as a line of JSON to --output, and say what failed; exit code 1 if anything did."""
    parser = argparse.ArgumentParser(description="Check one tool's adapter against the contract.")
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("device", choices=("cpu", "gpu"))
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path(os.devnull))
    parser.add_argument("--losses", action="append", default=[], metavar="MODEL=FOLDER", help="prepared data")
    arguments = parser.parse_args()
    prepared = dict(item.split("=", 1) for item in arguments.losses)
    failures = 0
    with arguments.output.open("w") as output:
        for outcome in run(arguments.tool, arguments.device, arguments.cores, prepared):
            output.write(json.dumps(outcome) + "\n")
            output.flush()
            failures += bool(outcome.get("failure"))
            print(outcome.get("failure") or f"ok {outcome}", flush=True)
    print(f"{len(CASES) - failures} passed, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
