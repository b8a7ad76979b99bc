"""The conformance suite: what every adapter must do, run inside its own environment by `python -m tests.conformance`.

Standard library and NumPy only, so that no tool's environment needs a test runner; tests/test_conformance.py starts it
and shows each check as a test. By hand, in an interpreter that has the tool:

    python -m tests.conformance torch gpu
"""

import argparse
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from frameworks import TOOLS
from frameworks.base import Adapter, Device, Model
from frameworks.probe import find_precision
from frameworks.proof import UNITS, level_reached, probe_weights, prove, without_dropout
from frameworks.reference import objective
from frameworks.worker import StoppedError, load_adapter, probe_model
from workloads import make_workload
from workloads.datasets import load_split, made_up
from workloads.initial import Weights, epoch_order, initial_weights
from workloads.keras_form import KERAS_ADAM, conv, dense
from workloads.sequences import ECHO_TOKENS, REVIEW_TOKENS
from workloads.shapes import moving_shapes, output_shapes, weight_shapes
from workloads.spec import (
    GELU,
    INPUT,
    L2,
    LSTM,
    Add,
    AveragePool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Crop2D,
    DepthwiseConv2D,
    Embedding,
    Flatten,
    GlobalAveragePool2D,
    GlorotUniform,
    Graph,
    LayerNorm,
    LocalResponseNorm,
    MaxPool2D,
    MultiHeadAttention,
    Network,
    PositionEmbedding,
    ReLU,
    Workload,
    sequential,
)

SEED = 7
LOSS_SEEDS = (0, 1, 5, 6, 7, 8, 10, 29)
LOSS_STEPS = 20
LOGIT_TOLERANCE = 1e-5
"""Largest difference of logits, relative to the largest logit; float32 rounding through these nets is about 1e-6."""
WEIGHT_TOLERANCE = 2e-6
"""Largest difference of weights after a few updates; weights are below 1, where float32 resolves 6e-8."""

LOSS_ROUNDING = 1e-6
"""Relative difference of two losses of the same batch in float32."""

LOSS_ROUNDING_OF_MANY = 2e-6
"""Relative difference of a loss that is the sum of the squares of four million weights, most of all."""

WITHOUT_EFFECT = "/key_bias"
"""The ending of what changes all scores of a place alike, so that its gradient is rounding alone."""

WORKLOADS = {
    "digits-cnn": make_workload("digits-cnn", {"data": "synthetic"}),
    "digits-mlp": make_workload("digits-mlp", {"data": "synthetic"}),
    "mnist-cnn": make_workload("mnist-cnn", {"data": "synthetic"}),
    "mnist-mlp": make_workload("mnist-mlp", {"data": "synthetic", "units": 64}),
    "cifar10-cnn": make_workload("cifar10-cnn", {"data": "synthetic"}),
    "alexnet-owt": make_workload("alexnet-owt", {"image_size": 67}),
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
    return replace(mnist, name="uneven", network=sequential(mnist.data.image_shape, layers))


def _graph() -> Workload:
    """A net of every other layer: normalisations, average pools, a residual, branches side by side; Adam and L2."""
    graph = Graph()
    norms = [
        BatchNorm(momentum=0.9, epsilon=1e-3, scale=scale, center=center)
        for scale, center in ((True, True), (False, True), (True, False), (False, False))
    ]
    stem = graph.chain(INPUT, conv(filters=8, kernel_size=(3, 3), padding="same"), norms[0], ReLU())
    branch = graph.chain(stem, conv(filters=8, kernel_size=(3, 3), padding="same"), norms[1])
    merged = graph.chain(graph.add(Add(), stem, branch), ReLU())
    normed = graph.add(LocalResponseNorm(radius=2, bias=1.0, alpha=0.1, beta=0.75), merged)
    pools = [
        AveragePool2D(pool_size=(3, 3), strides=(2, 2), padding="same"),
        AveragePool2D(pool_size=(3, 2), strides=(2, 2), padding=((0, 1), (1, 0))),
        MaxPool2D(pool_size=(3, 3), strides=(2, 2), padding="same"),
    ]
    beside = graph.add(Concatenate(), *(graph.add(pool, normed) for pool in pools[:2]), graph.add(pools[2], merged))
    pooled = graph.chain(beside, norms[2], GlobalAveragePool2D())
    graph.chain(pooled, dense(units=16), norms[3], ReLU(), dense(units=10))
    return replace(
        WORKLOADS["digits-cnn"],
        name="graph",
        network=graph.network((8, 8, 1)),
        optimizer=KERAS_ADAM,
        l2=L2(rate=1.0, kinds=("kernel", "bias")),
    )


def _separable() -> Workload:
    """A net of depthwise convolutions that ends in images: strides, uneven padding, a crop, and the other loss."""
    depthwise = partial(DepthwiseConv2D, kernel_initializer=GlorotUniform())
    layers = (
        depthwise(kernel_size=(3, 3), strides=(2, 2), padding="same", use_bias=False),
        conv(filters=6, kernel_size=(1, 1), padding="same"),
        ReLU(),
        Crop2D(cropping=((1, 0), (2, 1))),
        depthwise(kernel_size=(2, 3), strides=(1, 1), padding=((1, 0), (0, 2)), use_bias=True),
        BatchNorm(momentum=0.9, epsilon=1e-3, scale=False, center=True),
        ReLU(),
        depthwise(kernel_size=(5, 5), strides=(2, 2), padding="same", use_bias=True),
        conv(filters=4, kernel_size=(1, 1), padding="same"),
    )
    cifar10 = WORKLOADS["cifar10-cnn"]
    return replace(
        cifar10,
        name="separable",
        network=sequential(cifar10.data.image_shape, layers),
        loss="half-squared-sum",
        l2=L2(rate=1.0, kinds=("kernel", "bias")),
    )


def _wide() -> Workload:
    """A net with so many weights in one tensor that the sum of their squares needs care in float32."""
    digits = WORKLOADS["digits-mlp"]
    layers = (Flatten(), dense(units=2048), ReLU(), dense(units=2048), ReLU(), dense(units=digits.data.classes))
    network = sequential(digits.data.image_shape, layers)
    return replace(digits, name="wide", network=network, l2=L2(rate=1.0, kinds=("kernel", "bias")))


def _lstm() -> Workload:
    """A net of recurrent layers, all states of the first and the last state of the second, and others around each."""
    recurrent = partial(LSTM, kernel_initializer=GlorotUniform(), recurrent_initializer=GlorotUniform())
    layers = (
        Embedding(input_dim=REVIEW_TOKENS, output_dim=7, embeddings_initializer=GlorotUniform()),
        recurrent(units=6, return_sequences=True, forget_bias=1.0),
        dense(units=4),
        recurrent(units=5, return_sequences=False, forget_bias=0.0),
        dense(units=2),
    )
    return _on_tokens("imdb-lstm", "lstm", sequential((9,), layers))


def _transformer() -> Workload:
    """Attention with and without a mask and biases, GELU in both forms, logits for each place."""
    graph, columns, norm = Graph(), 12, LayerNorm(epsilon=1e-5)
    attention = partial(MultiHeadAttention, heads=3, kernel_initializer=GlorotUniform())
    table = Embedding(input_dim=ECHO_TOKENS, output_dim=columns, embeddings_initializer=GlorotUniform())
    last = graph.chain(INPUT, table, PositionEmbedding(embeddings_initializer=GlorotUniform()))
    wide, narrow = dense(units=2 * columns), dense(units=columns)
    for layers in (
        (attention(causal=True, use_bias=True),),
        (wide, GELU(form="erf"), wide, GELU(form="tanh"), narrow),
        (attention(causal=False, use_bias=False),),
    ):
        last = graph.add(Add(), last, graph.chain(last, norm, *layers))
    graph.chain(last, norm, replace(dense(units=ECHO_TOKENS), use_bias=False))
    return _on_tokens("gpt-nano", "transformer", graph.network((11,)))


def _on_tokens(base: str, name: str, network: Network) -> Workload:
    """Return a workload of sequences with a smaller net, which learns by gradient descent."""
    workload = make_workload(base, {})
    data = replace(workload.data, image_shape=network.input_shape)
    optimizer = WORKLOADS["digits-cnn"].optimizer
    return replace(workload, name=name, data=data, network=network, optimizer=optimizer)


SEQUENCES = {"lstm": _lstm(), "transformer": _transformer()}
PROVEN = {**WORKLOADS, "uneven": _uneven()}
PROVEN_IN_ALL = {"graph": _graph(), "separable": _separable(), **SEQUENCES}
NETS = {**PROVEN, **PROVEN_IN_ALL, "wide": _wide()}


def draw_batch(workload: Workload, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw learnable synthetic images (N, H, W, C) or tokens (N, T), and their labels."""
    data = replace(workload.data, train_samples=samples, validation_samples=0, test_samples=1)
    arrays = made_up(data)
    return arrays["train_images"], arrays["train_labels"].astype(np.int32)


def build(adapter: Adapter, workload: Workload, seed: int = SEED) -> tuple[Model, Weights]:
    """Build a model from weights that show everything."""
    weights = probe_weights(workload.network)
    return adapter.build(workload, weights, seed, "float32"), weights


def assert_close(got: np.ndarray, expected: np.ndarray, tolerance: float, what: str, size: float = 0.0) -> None:
    """Fail unless the largest difference is within `tolerance` times the largest expected value, or `size`."""
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    worst = float(np.max(np.abs(got - expected)))
    limit = tolerance * max(float(np.max(np.abs(expected))), size)
    assert worst <= limit, f"{what}: differs by {worst:.3g}, allowed {limit:.3g}"


def assert_close_losses(got: float, expected: float) -> None:
    """Fail unless two losses of the same batch are the same within float32 rounding."""
    assert abs(got - expected) <= LOSS_ROUNDING * abs(expected), (got, expected)


def check_weights_out_are_the_weights_in(adapter: Adapter, workload: Workload) -> None:
    """Every parameter by name, shape and value, and nothing else; asking for gradients changes none."""
    model, weights = build(adapter, workload)
    expected = {**weight_shapes(workload.network), **moving_shapes(workload.network)}
    images, labels = draw_batch(workload, 8)
    for _ in range(2):
        got = model.weights()
        assert {name: weight.shape for name, weight in got.items()} == expected
        for name, weight in weights.items():
            assert got[name].dtype == np.float32
            assert np.array_equal(got[name], weight), name
        model.gradients(images, labels)


def check_the_net_is_the_oracles(adapter: Adapter, workload: Workload) -> None:
    """The same-net proof reaches its highest level in float32, and in float64 if the adapter has it."""
    findings = prove(adapter, workload, "float32")
    assert level_reached(findings) == "S3", [finding for finding in findings if not finding.holds]


def check_the_net_is_the_oracles_in_every_precision(adapter: Adapter, workload: Workload) -> None:
    """A proof in a short precision holds what one in float32 does; an adapter may have no other."""
    short = [precision for precision in adapter.precisions if UNITS[precision] > UNITS["float32"]]
    for precision in short or ("float32",):
        findings = prove(adapter, workload, precision)
        assert level_reached(findings) == "S3", [finding for finding in findings if not finding.holds]


def check_inference_goes_batch_by_batch(adapter: Adapter, workload: Workload) -> None:
    """Several batches and a rest give what one sample by itself gives, in float32."""
    model, _ = build(adapter, workload)
    images, _ = draw_batch(workload, 2 * workload.batch_size + 3)
    got = model.forward(images)
    shape = output_shapes(workload.network)[workload.network.nodes[-1].name]
    assert (got.dtype, got.shape) == (np.float32, (len(images), *shape))
    for place in (0, len(images) - 1):
        alone = model.forward(images[place : place + 1])
        assert_close(alone[0], got[place].astype(np.float64), LOGIT_TOLERANCE, f"logits of sample {place}")


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
    assert_close_losses(mean, float(expected))
    for name, weight in cut.weights().items():
        assert_close(whole.weights()[name], weight.astype(np.float64), WEIGHT_TOLERANCE, name)
        trained = name.endswith(WITHOUT_EFFECT) or not np.array_equal(before[name], weight)
        assert trained, f"{name} was not copied, or training left it as it was"


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


def check_steps_on_a_placed_batch_are_those_of_training(adapter: Adapter, workload: Workload) -> None:
    """The same losses and weights, step by step, whatever inference comes between."""
    # Adam turns the rounding of a gradient that is nearly zero into an update of full size.
    workload = replace(without_dropout(workload), optimizer=WORKLOADS["digits-cnn"].optimizer)
    images, labels = draw_batch(workload, workload.batch_size)
    batch = np.arange(len(labels))
    stepped, trained = build(adapter, workload)[0], build(adapter, workload)[0]
    placed = stepped.place(images)
    for _ in range(3):
        stepped.forward_step(placed)
        assert_close_losses(stepped.train_step(placed, labels), trained.train_batches(images, labels, batch))
    stepped.synchronize()
    got = stepped.weights()
    for name, weight in trained.weights().items():
        assert_close(got[name], weight.astype(np.float64), WEIGHT_TOLERANCE, name)


def check_a_step_gives_what_a_batch_gives(adapter: Adapter, workload: Workload) -> None:
    """Logits, the loss and the numbers in every gradient, twice the same; a first training step has that loss."""
    workload = without_dropout(workload)
    images, labels = draw_batch(workload, workload.batch_size)
    model, _ = build(adapter, workload)
    placed, logits = model.place(images), model.forward(images).astype(np.float64)
    loss, gradients = model.gradients(images, labels)
    largest = max(float(np.max(np.abs(gradient))) for gradient in gradients.values())
    # Images come out in the framework's own layout, and so do gradients.
    got = np.sort(np.asarray(model.forward_step(placed)).ravel())
    assert_close(got, np.sort(logits.ravel()), LOGIT_TOLERANCE, "logits")
    for _ in range(2):
        step_loss, step_gradients = model.gradient_step(placed, labels)
        assert_close_losses(step_loss, loss)
        assert step_gradients.keys() == gradients.keys()
        for name, gradient in gradients.items():
            step = np.sort(np.asarray(step_gradients[name]).ravel())
            size = largest if name.endswith(WITHOUT_EFFECT) else 0.0
            assert_close(step, np.sort(gradient.ravel()).astype(np.float64), LOGIT_TOLERANCE, name, size)
    if workload.optimizer:
        assert_close_losses(model.train_step(placed, labels), loss)


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


def check_a_precision_is_what_its_label_says(adapter: Adapter, workload: Workload) -> None:
    """Products show the precision, and a cell with another label is stopped."""
    known = [precision for precision in adapter.precisions if precision != "float64"]
    weights = initial_weights(workload.network, SEED)
    for precision in known:
        model = adapter.build(workload, weights, SEED, precision)
        assert find_precision(model.matmul) == precision
        for label in known:
            if label != precision:
                with contextlib.suppress(StoppedError):
                    raise AssertionError(f"{label} was not told from {precision}: {probe_model(model, label)}")


def check_the_loss_of_many_weights_keeps_its_digits(adapter: Adapter, workload: Workload) -> None:
    """The squares of a large tensor are added up so that float32 holds the sum of the L2 term."""
    model, weights = build(adapter, workload)
    images, labels = draw_batch(workload, workload.batch_size)
    expected = objective(workload, weights, images, labels)
    assert abs(model.gradients(images, labels)[0] - expected) / expected < LOSS_ROUNDING_OF_MANY, expected


Check = Callable[[Adapter, Workload], None]
EVERY_KIND_OF_LABELS: tuple[Check, ...] = (
    check_inference_goes_batch_by_batch,
    check_training_continues_across_calls_and_keeps_the_rest,
)
ONE_NET: tuple[Check, ...] = (
    *EVERY_KIND_OF_LABELS,
    check_the_loss_falls,
    check_the_seed_decides_dropout,
    check_memory_and_synchronisation_answer,
    check_a_precision_is_what_its_label_says,
)
STEP_NETS: tuple[Check, ...] = (
    check_steps_on_a_placed_batch_are_those_of_training,
    check_a_step_gives_what_a_batch_gives,
)
CASES: dict[str, tuple[Check, Workload]] = {
    f"{check.__name__.removeprefix('check_')}[{name}]": (check, NETS[name])
    for checks, names in (
        ((check_weights_out_are_the_weights_in,), ["digits-cnn", "separable", *SEQUENCES]),
        ((check_the_net_is_the_oracles,), PROVEN),
        ((check_the_net_is_the_oracles_in_every_precision,), PROVEN_IN_ALL),
        (STEP_NETS, ["digits-cnn", "graph", "lstm"]),
        ((check_a_step_gives_what_a_batch_gives,), ["alexnet-owt", "separable"]),
        (ONE_NET, ["digits-cnn"]),
        (EVERY_KIND_OF_LABELS, ["transformer"]),
        ((check_the_loss_of_many_weights_keeps_its_digits,), ["wide"]),
    )
    for check in checks
    for name in names
}


def first_losses(adapter: Adapter, workload: Workload, folder: Path, seed: int, steps: int) -> list[float]:
    """Train the first `steps` batches without dropout, from the shared weights in the shared order."""
    workload = without_dropout(workload)
    data = load_split(folder, workload.data)
    model = adapter.build(workload, initial_weights(workload.network, seed), seed, "float32")
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
        reason = adapter.supports(workload, "float32")
        yield {"case": name, "failure": None if reason else run_case(adapter, check, workload), "unsupported": reason}
    for model, folder in prepared.items():
        workload = make_workload(model, {})
        for seed in LOSS_SEEDS if adapter.supports(workload, "float32") is None else ():
            losses = first_losses(adapter, workload, Path(folder), seed, LOSS_STEPS)
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
