"""The same-net proof: what an adapter's model does against the oracle, level by level, in numbers.

S0 is the parameters name by name, S1 every node's output shape, S2 every node's output in inference, S3 what training
does: loss, every gradient, the weights after some updates, dropout's statistics. S4, the loss curve of real training,
is judged from records (harness/audit.py).
"""

import math
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from frameworks.base import MIXED, Adapter, Images, Labels, Model, Precision
from frameworks.reference import (
    Optimizer,
    apply,
    batch_moments,
    forward,
    moved_statistics,
    objective,
    run,
    slope,
    total_loss,
)
from workloads.initial import Weights, by_node, forget_biases, initial_weights
from workloads.shapes import (
    forward_flops,
    label_shape,
    moving_shapes,
    output_shapes,
    padding_amounts,
    weight_shapes,
)
from workloads.spec import (
    INPUT,
    SGD,
    Adam,
    Add,
    AveragePool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    DataSet,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Embedding,
    Flatten,
    GlorotUniform,
    Graph,
    LayerNorm,
    LocalResponseNorm,
    MaxPool2D,
    Network,
    ReLU,
    Workload,
)

LEVELS = ("S0", "S1", "S2", "S3")
SIZES = (4, 3)
"""The batch size of a proof, and how many samples its partial batch has."""
SIZES_OF_BIG = (3, 2)
BIG_FLOPS = 10**8
"""From how many FLOPs a sample on a net is big: its proof takes fewer samples, for the oracle's sake."""
SEED = 7
DRAWS = 8
"""How many batches are looked at for one that no kink is near to."""
MARGIN = 0.1
"""How far a channel of a big net is kept from a kink, relative to the range of its values or of the mean channel's."""
POOL_GAP = 1e-5
"""How far apart the two largest values of a big net's pool window are to be, relative to the range of its channel."""
UNITS_APART = 4.0
"""How many roundings of a short precision a pool window's two largest values are to be apart."""
SHARE_ABOVE = 0.75
"""How many of the channels that come near a kink are moved above it, and so are alive."""
FREQUENT = 5
"""How many tokens half of a proof's places are drawn from."""
OPEN = 3.0
"""Added to the biases of forget gates, so that of what an LSTM's first place of 80 adds σ(3)⁸⁰ = 2 % is left at its
last; without, it would be 1e-24, and nothing would show what the first places do."""
ROUNDINGS = 10.0
"""How many roundings of the weights the rounding of all layers may come to."""
MOST_ROUNDING = 0.05
"""Beyond this a comparison would say nothing, so no rounding excuses it."""
DIRECTIONS = 4
"""Along how many random directions gradients are compared, each of which moves its share of the weights; where weights
are chosen away from kinks, along so many before max pools and as many behind, and in a big net along one each. A
direction that is off is halved until one weight is left."""

UNITS: dict[Precision, float] = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "tf32": 2.0**-11,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
"""By how much of itself a precision rounds a number at most."""
TOLERANCES: dict[tuple[Precision, str], float] = {
    ("float32", "outputs"): 2e-5,
    ("float32", "loss"): 1e-5,
    ("float32", "gradients"): 1e-4,
    ("float32", "gradients before max pools"): 1e-3,
    ("float32", "weights"): 1e-4,
    ("float32", "moving statistics"): 2e-5,
    ("float64", "outputs"): 1e-9,
    ("float64", "loss"): 1e-9,
    ("float64", "gradients"): 1e-9,
    ("float64", "gradients before max pools"): 1e-9,
    ("float64", "weights"): 1e-9,
    ("float64", "moving statistics"): 1e-9,
}
"""Largest relative differences by precision and quantity; docs/sameness.md says where each comes from."""
OF_SHORT: dict[str, float] = {
    "outputs": 32.0,
    "loss": 4.0,
    "gradients": 32.0,
    "gradients before max pools": 96.0,
    "weights": 8.0,
    "moving statistics": 4.0,
}
"""Largest relative differences in precisions shorter than float32, in their UNITS."""
SHORT_OFF = 0.05
"""By how many of its UNITS mixed precision puts logits and gradients off at least."""
MOST_SHORT = 0.5
"""The largest share of a weight's numbers that may fit into a short precision, by chance."""
ROUNDING_ALONE = 1e-12
"""Below this share of a net's largest gradient one that should be 0 may lie: some 1e4 of float64's rounding."""
SHARE_OF_SIZE = 0.05
"""A weight that hardly moves is rounded all the same: this much of its size counts as movement."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One comparison: its level, what was compared, the worst difference and where it was, and what is allowed.

    `note` states a difference that is the framework's nature; `fault` is whether an exception came instead of a result.
    """

    level: str
    what: str
    worst: float
    where: str
    tolerance: float
    precision: Precision
    note: str | None = None
    fault: bool = False

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance; what is not a number is not."""
        return bool(self.worst <= self.tolerance)


def level_reached(findings: list[Finding]) -> str | None:
    """Return the highest level of which, and below which, everything holds; None if S0 does not."""
    reached = None
    for level in LEVELS:
        own = [finding for finding in findings if finding.level == level]
        if not own or not all(finding.holds for finding in own):
            break
        reached = level
    return reached


def prove(adapter: Adapter, workload: Workload, precision: Precision) -> list[Finding]:
    """Compare an adapter's models of a workload with the oracle in a precision, and in float32 and float64.

    Float32 and float64, where there is that, show whether the function is the net's; a shorter precision, how far its
    rounding takes it from there. A fault in the adapter is a finding at the level where it came up. The small constants
    are enlarged until they show; in float64 they show as they are.
    """
    asked: dict[Precision, None] = dict.fromkeys(("float32", "float64", precision))
    weights = probe_weights(workload.network)
    findings: list[Finding] = []
    for one in asked:
        if adapter.supports(workload, one) is None:
            # Every batch size is another compilation in some tools: float64, where there is one, has one of them.
            kinds: tuple[Kind, ...] = ("partial", "partial") if one == "float64" else ("full", "partial")
            whole = workload if one == "float64" else exaggerated(workload)
            findings += _Comparison(adapter, whole, one, Probe.draw(whole, weights, kinds, one)).findings()
    rates = sorted({node.layer.rate for node in workload.network.nodes if isinstance(node.layer, Dropout)} - {0.0})
    if rates:
        findings += _guarded("S3", "dropout", "float32", lambda: prove_dropout(adapter, rates))
    return findings


def is_big(network: Network) -> bool:
    """Return whether a net has more than BIG_FLOPS."""
    return forward_flops(network) > BIG_FLOPS


def has_chosen_weights(network: Network, precision: Precision) -> bool:
    """Return whether a net's weights are chosen away from kinks, since every batch comes near them.

    That is so in a big net, and wherever numbers are rounded so far that many are next to a kink.
    """
    return is_big(network) or UNITS[precision] > UNITS["float32"]


def _guarded(
    level: str, what: str, precision: Precision, compare: Callable[[], Iterator[Finding]]
) -> Iterator[Finding]:
    """Yield the findings of a comparison; an exception in it is a finding too."""
    try:
        yield from compare()
    except Exception as error:
        traceback.print_exc()
        fault = f"{type(error).__name__}: {error}"[:500]
        yield Finding(
            level=level, what=what, worst=math.inf, where=fault, tolerance=0.0, precision=precision, fault=True
        )


class _Comparison:
    """One workload in one precision: a model without dropout that is trained batch by batch beside the oracle."""

    def __init__(self, adapter: Adapter, workload: Workload, precision: Precision, probe: "Probe") -> None:
        self._chosen = has_chosen_weights(workload.network, precision)
        self._adapter, self._precision, self._weights = adapter, precision, probe.weights
        self._images, self._labels, self._batches = probe.images, probe.labels, probe.batches
        self._whole = replace(workload, batch_size=probe.full)
        self._workload = without_dropout(self._whole)
        self._network = self._workload.network
        self._seen = self._images[: probe.full]
        self._rounding: dict[str, Callable[[], dict[str, float]]] = {}

    def findings(self) -> Iterator[Finding]:
        """Yield the findings level by level; without the right parameters there is nothing more to compare."""
        parameters = list(_guarded("S0", "parameters", self._precision, self._parameters))
        yield from parameters
        if not all(finding.holds for finding in parameters):
            return
        comparisons = [("S2", "outputs", self._outputs), ("S3", "gradients", self._gradients)]
        if self._workload.optimizer:
            comparisons.append(("S3", "weights after updates", self._updates))
        for level, what, compare in comparisons:
            yield from _guarded(level, what, self._precision, compare)

    def _parameters(self) -> Iterator[Finding]:
        self._model = self._adapter.build(self._workload, self._weights, SEED, self._precision)
        got = {name: weight.shape for name, weight in self._model.weights().items()}
        expected = {**weight_shapes(self._network), **moving_shapes(self._network)}
        yield _same_shapes("S0", "parameters", got, expected, self._precision)

    def _outputs(self) -> Iterator[Finding]:
        outputs = self._model.outputs(self._seen)
        passed = run(self._network, self._weights, self._seen, training=False)
        shapes = {name: shape for name, shape in output_shapes(self._network).items() if name != INPUT}
        got = {name: output.shape[1:] for name, output in outputs.items()}
        yield _same_shapes("S1", "output shapes", got, shapes, self._precision)
        expected = {name: passed.outputs[name] for name in shapes}

        @cache
        def changes() -> dict[str, float]:
            changed = run(self._network, off_by_rounding(self._weights), self._seen, training=False).outputs
            return {name: _relative_difference(changed[name], expected[name]) for name in shapes}

        if self._precision == "float32":
            self._rounding["outputs"] = changes
        yield self._relative("S2", "outputs", outputs, expected, "outputs")
        # With its dropouts in the net: inference is to be without.
        whole = self._model
        if self._whole != self._workload:
            whole = self._adapter.build(self._whole, self._weights, SEED, self._precision)
        logits = self._logits("S2", "logits", whole, passed.logits)
        yield logits
        yield from self._is_short("S2", "logits", logits.worst)

    def _logits(self, level: str, what: str, model: Model, expected: NDArray[Any]) -> Finding:
        last = self._network.nodes[-1].name
        return self._relative(level, what, {last: model.forward(self._seen)}, {last: expected}, "outputs")

    def _gradients(self) -> Iterator[Finding]:
        batch = self._workload, self._weights, self._images[self._batches[0]], self._labels[self._batches[0]]
        loss, got = self._model.gradients(*batch[2:])
        shapes = {name: gradient.shape for name, gradient in got.items()}
        yield _same_shapes("S3", "gradients' shapes", shapes, weight_shapes(self._network), self._precision)
        stream = np.random.RandomState(SEED)
        # A weight without effect, such as a bias before a batch normalisation, has a gradient of rounding alone.
        overall = _root_mean_square(np.concatenate([gradient.ravel() for gradient in got.values()]))
        directions = {}
        for name, gradient in got.items():
            direction = stream.standard_normal(gradient.shape)
            # A net whose output is zero everywhere has no gradient at all.
            typical = max(_root_mean_square(gradient), overall) or 1.0
            directions[name] = direction / (typical * np.linalg.norm(direction))

        def along(names: list[str], weights: Mapping[str, Any]) -> float:
            return slope(batch[0], weights, *batch[2:], {name: directions[name] for name in names})

        def error(names: list[str], expected: float) -> float:
            return abs(sum(float(np.sum(got[name] * directions[name])) for name in names) - expected)

        groups = self._groups_of_gradients(list(got))
        slopes = [along(names, self._weights) for _, names in groups]
        expected = objective(*batch)

        @cache
        def changes() -> dict[str, float]:
            changed = objective(batch[0], off_by_rounding(self._weights), *batch[2:])
            return {"": abs(changed - expected) / (abs(expected) or 1.0)}

        @cache
        def changes_of_slopes() -> dict[str, float]:
            moved = off_by_rounding(self._weights)
            changed = [along(names, moved) for _, names in groups]
            return {"": float(np.max(np.abs(np.subtract(changed, slopes))))}

        if self._precision == "float32":
            # An update is as wrong as its gradient.
            self._rounding |= {"loss": changes, "gradients": changes_of_slopes, "weights": changes_of_slopes}
        yield self._scalar("loss", loss, expected)
        errors: dict[str, dict[str, float]] = {kind: {} for kind, _ in groups}
        for (kind, names), rising in zip(groups, slopes, strict=True):
            errors[kind] |= {name: math.inf for name in names if not np.isfinite(got[name]).all()}
            off = error(names, rising)
            while len(names) > 1 and off > self._allowed(kind, "", off):
                first, second = names[: len(names) // 2], names[len(names) // 2 :]
                # A slope is the sum of its parts' slopes.
                of_first = along(first, self._weights)
                halves = (first, of_first), (second, rising - of_first)
                names, rising = max(halves, key=lambda half: error(*half))
                off = error(names, rising)
            errors[kind][_listed(names)] = off
        for kind, found in errors.items():
            yield self._worst("S3", kind, found, kind)
        yield from self._is_short("S3", "gradients", max(max(found.values()) for found in errors.values()))

    def _groups_of_gradients(self, names: list[str]) -> list[tuple[str, list[str]]]:
        """Return the weights that are compared together, each group with what it is held to.

        Where weights had to be chosen away from kinks, some pool's window may still hold two values within rounding of
        each other, and rounding decides where it sends its gradient: that reaches the weights before it.
        """
        before = _before_max_pools(self._network) if self._chosen else set()
        sides: dict[str, list[str]] = {"gradients before max pools": [], "gradients": []}
        for name in names:
            sides["gradients before max pools" if name.rsplit("/", 1)[0] in before else "gradients"].append(name)
        most = 1 if is_big(self._network) else DIRECTIONS
        return [(kind, side[first::most]) for kind, side in sides.items() for first in range(min(most, len(side)))]

    def _updates(self) -> Iterator[Finding]:
        """Train some batches, with predictions between them; the oracle updates with the gradients of the model."""
        oracle = Optimizer(self._workload, self._weights)
        unbiased, biased = dict(oracle.weights), dict(oracle.weights)
        losses, expected, spreads = [], [], {}
        largest: dict[str, float] = {}
        for order in self._batches:
            images, labels = self._images[order], self._labels[order]
            passed = run(self._network, oracle.weights, images, training=True)
            expected.append(total_loss(self._workload, oracle.weights, passed.logits, labels))
            gradients = self._model.gradients(images, labels)[1]
            oracle.update(gradients)
            for name, gradient in gradients.items():
                largest[name] = max(largest.get(name, 0.0), float(np.max(np.abs(gradient))))
            for name, (mean, variance, _) in passed.moments.items():
                spreads[f"{name}/moving_mean"] = math.sqrt(np.max(variance))
                spreads[f"{name}/moving_variance"] = float(np.max(mean**2 + variance))
            for moving, bessel in ((unbiased, True), (biased, False)):
                moving |= moved_statistics(self._network, moving, passed, bessel=bessel)
            self._model.forward(self._seen)
            losses.append(self._model.train_batches(self._images, self._labels, order))
        sizes = [len(order) for order in self._batches]
        yield self._scalar("training loss", np.average(losses, weights=sizes), np.average(expected, weights=sizes))
        got = self._model.weights()
        magnified = self._magnified(largest)
        trained = {name: oracle.weights[name] for name in weight_shapes(self._network) if name not in magnified}
        yield self._moved("weights after updates", got, trained, "weights", {})
        if self._precision in MIXED:
            yield self._kept(got)
        logits = forward(self._network, got, self._seen)
        yield self._logits("S3", "logits after updates", self._model, logits)
        if not moving_shapes(self._network):
            return
        strict, natural = (
            self._moved(
                "moving statistics",
                got,
                {name: moving[name] for name in moving_shapes(self._network)},
                "moving statistics",
                spreads,
            )
            for moving in (unbiased, biased)
        )
        if strict.holds or "biased moving variance" not in self._adapter.differences:
            yield strict
            return
        yield replace(natural, note="its moving variance is without Bessel's correction, which inference alone sees")

    def _is_short(self, level: str, what: str, off: float) -> Iterator[Finding]:
        """Say whether a net of mixed precision is off by as much as it must be: float32 would be 1,000 times closer."""
        if self._precision in MIXED:
            share = SHORT_OFF * UNITS[self._precision] / off if off else math.inf
            yield Finding(
                level=level,
                what=f"{what} as close as in float32",
                worst=share,
                where="",
                tolerance=1.0,
                precision=self._precision,
            )

    def _kept(self, weights: Weights) -> Finding:
        """Compare the share of each weight's numbers that fit into the short precision: of float32's hardly any do."""
        shares = {}
        for name in weight_shapes(self._network):
            in_units = np.frexp(weights[name])[0] / UNITS[self._precision]
            shares[name] = float(np.mean(in_units == np.round(in_units)))
        where = max(shares, key=lambda name: shares[name])
        return Finding(
            level="S3",
            what="share of short weights",
            worst=shares[where],
            where=where,
            tolerance=MOST_SHORT,
            precision=self._precision,
        )

    def _magnified(self, largest: Mapping[str, float]) -> set[str]:
        """Return the weights whose gradients are rounding alone, of which the optimiser takes steps all the same.

        Adam divides by the gradient's own size down to epsilon, 1e-7 or less in float64, so that it turns 1e-16 in the
        gradient of a bias before a batch normalisation into 1e-11 in the bias, without effect on anything. In float32
        epsilon is enlarged. `largest` is each weight's largest gradient.
        """
        if self._precision != "float64" or not isinstance(self._workload.optimizer, Adam):
            return set()
        most = max(largest.values())
        return {name for name, size in largest.items() if 0.0 < size < ROUNDING_ALONE * most}

    def _relative(
        self, level: str, what: str, got: Mapping[str, Any], expected: Mapping[str, Any], tolerance: str
    ) -> Finding:
        """Compare arrays by name; the difference of each is relative to its largest expected value."""
        errors = {}
        for name, array in expected.items():
            if name not in got or got[name].shape != array.shape:
                errors[name] = math.inf
                continue
            errors[name] = _relative_difference(got[name], array)
        return self._worst(level, what, errors, tolerance)

    def _moved(
        self,
        what: str,
        got: Mapping[str, Any],
        expected: Mapping[str, Any],
        tolerance: str,
        spreads: Mapping[str, float],
    ) -> Finding:
        """Compare weights by name; the difference is relative to how far a weight moved, and some of its size.

        `spreads` has the standard deviation of the values behind a mean and the mean square of those behind a variance:
        where they all but cancel, what is left keeps the rounding of their size.
        """
        errors = {}
        for name, array in expected.items():
            moved, size = (float(np.max(np.abs(x))) for x in (array - self._weights[name], array))
            size = max(size, spreads.get(name, 0.0))
            errors[name] = float(np.max(np.abs(got[name] - array))) / (moved + SHARE_OF_SIZE * size)
        return self._worst("S3", what, errors, tolerance)

    def _scalar(self, what: str, got: float, expected: float) -> Finding:
        return self._worst("S3", what, {"": abs(got - expected) / (abs(expected) or 1.0)}, "loss")

    def _allowed(self, quantity: str, name: str, error: float) -> float:
        """Return the largest difference that is allowed: where rounding alone may come to more, that much.

        Rounding is known by node for outputs, and for the net as a whole for the rest. It is measured when an `error`
        asks for it, and in float32 alone.
        """
        tolerance = _tolerance(self._precision, quantity)
        if error <= tolerance or quantity not in self._rounding:
            return tolerance
        rounding = self._rounding[quantity]()
        return max(tolerance, min(rounding.get(name, rounding.get("", 0.0)), MOST_ROUNDING))

    def _worst(self, level: str, what: str, errors: dict[str, float], quantity: str) -> Finding:
        """Return the largest error by name, for what is allowed there; what is not a number is larger than any."""
        allowed = {name: self._allowed(quantity, name, error) for name, error in errors.items()}
        where = max(errors, key=lambda name: np.nan_to_num(errors[name] / allowed[name], nan=np.inf))
        return Finding(
            level=level,
            what=what,
            worst=errors[where],
            where=where,
            tolerance=allowed[where],
            precision=self._precision,
        )


def _tolerance(precision: Precision, quantity: str) -> float:
    """Return the largest relative difference of a quantity that is allowed whatever the net."""
    if (precision, quantity) in TOLERANCES:
        return TOLERANCES[precision, quantity]
    return OF_SHORT[quantity] * UNITS[precision]


def _listed(names: list[str]) -> str:
    return " + ".join(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])


def off_by_rounding(weights: Weights) -> dict[str, NDArray[np.float64]]:
    """Return weights that are off by as much as the rounding of a float32 pass may come to.

    What that changes in outputs, loss and gradients is what a float32 implementation cannot be expected to better: a
    deep net with batch normalisation multiplies what its first layers round, a value next to a kink goes either way,
    and a sum that all but cancels keeps the rounding of its terms.
    """
    stream, most = np.random.RandomState(SEED), ROUNDINGS * UNITS["float32"]
    return {name: weight * (1 + most * stream.uniform(-1, 1, weight.shape)) for name, weight in weights.items()}


def _before_max_pools(network: Network) -> set[str]:
    """Return the names of the nodes that a max pool's input depends on."""
    before: set[str] = set()
    for node in reversed(network.nodes):
        if isinstance(node.layer, MaxPool2D) or node.name in before:
            before.update(node.inputs)
    return before


def _relative_difference(got: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference, relative to the largest value."""
    return float(np.max(np.abs(got - expected))) / (float(np.max(np.abs(expected))) + 1e-30)


def _root_mean_square(array: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def _same_shapes(level: str, what: str, got: Any, expected: Any, precision: Precision) -> Finding:
    wrong = [
        f"{name} is {got.get(name, 'missing')}, expected {expected.get(name, 'none')}"
        for name in dict.fromkeys([*expected, *got])
        if got.get(name) != expected.get(name)
    ]
    where = "; ".join(wrong[:3])
    return Finding(level=level, what=what, worst=len(wrong), where=where, tolerance=0, precision=precision)


def probe_weights(network: Network) -> Weights:
    """Draw weights that show everything: no bias, shift or scale at a value that hides its absence."""
    weights = initial_weights(network, SEED)
    stream = np.random.RandomState(SEED)
    ranges = {
        "embeddings": (-1.0, 1.0),
        "bias": (-0.1, 0.1),
        "gamma": (0.5, 1.5),
        "beta": (-0.1, 0.1),
        "moving_mean": (-0.2, 0.2),
        "moving_variance": (0.5, 1.5),
    }
    for name, weight in weights.items():
        # An attention has a query_bias and others.
        kind = "bias" if name.endswith("_bias") else name.rsplit("/", 1)[-1]
        if kind in ranges:
            weights[name] = stream.uniform(*ranges[kind], weight.shape).astype(np.float32)
    for _, bias in forget_biases(network, weights):
        bias += OPEN
    return weights


Kind = Literal["full", "partial"]
"""Of a batch."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a proof is made with: weights, images and labels, and which of them each batch takes."""

    weights: Weights
    images: Images
    labels: Labels
    batches: list[NDArray[np.int64]]
    full: int

    @classmethod
    def draw(cls, workload: Workload, weights: Weights, kinds: tuple[Kind, ...], precision: Precision) -> "Probe":
        """Draw batches of the kinds whose first is away from kinks.

        A value within rounding of a ReLU's kink or of another in its pool's window may go either way, and takes its
        gradient along; that is no other function. Of a small net some draws are looked at in float32 and float64.
        Otherwise there are values near a kink in every draw, so that weights are chosen, too.
        """
        sizes = SIZES_OF_BIG if is_big(workload.network) else SIZES
        if has_chosen_weights(workload.network, precision):
            probe, gap = cls._drawn(workload, weights, kinds, sizes, 0), max(POOL_GAP, UNITS_APART * UNITS[precision])
            network = without_dropout_network(workload.network)
            return replace(probe, weights=away_from_kinks(network, weights, probe.images[probe.batches[0]], gap))
        bent = any(isinstance(node.layer, ReLU | MaxPool2D) for node in workload.network.nodes)
        return max(
            (cls._drawn(workload, weights, kinds, sizes, number) for number in range(DRAWS if bent else 1)),
            key=lambda probe: _distance_from_kinks(workload.network, weights, probe.images[probe.batches[0]]),
        )

    @classmethod
    def _drawn(
        cls, workload: Workload, weights: Weights, kinds: tuple[Kind, ...], sizes: tuple[int, int], number: int
    ) -> "Probe":
        size_of = dict(zip(("full", "partial"), sizes, strict=True))
        ends = np.cumsum([size_of[kind] for kind in kinds])
        batches = np.split(np.random.RandomState(SEED).permutation(ends[-1]), ends[:-1])
        samples = max(int(ends[-1]), size_of["full"])
        shape = samples, *label_shape(workload)
        return cls(
            weights=weights,
            images=_draw_images(workload.network, samples, number),
            labels=np.random.RandomState(SEED).randint(workload.data.classes, size=shape).astype(np.int32),
            batches=batches,
            full=size_of["full"],
        )


def _draw_images(network: Network, samples: int, number: int) -> Images:
    """Draw images of values in [0, 1), or tokens that every embedding on them has a row for.

    Every other place has one of FREQUENT tokens, whose gradients are sums over many places. Every other sample has
    token 0, which some tools can take for padding, in one of the last, and the others end in the table's last row.
    """
    stream, shape = np.random.RandomState([SEED, number]), (samples, *network.input_shape)
    rows = [node.layer.input_dim for node in network.nodes if isinstance(node.layer, Embedding)]
    if rows:
        tokens = stream.randint(min(rows), size=shape).astype(np.int32)
        tokens[:, ::2] %= FREQUENT
        tokens[1::2, -1] = min(rows) - 1
        padded = np.arange(0, samples, 2)
        tokens[padded, -1 - padded % shape[1]] = 0
        return tokens
    return stream.uniform(size=shape).astype(np.float32)


def away_from_kinks(network: Network, weights: Weights, images: Images, pool_gap: float = POOL_GAP) -> Weights:
    """Return weights whose biases keep each channel of these images on one side of the ReLU it comes to in training.

    Of those that come near the kink most are moved above and some below. A ReLU stays as it is where no bias reaches it
    through sums, concatenations and pools, or where another node has taken what would have to move. Kernels of
    convolutions before max pools are drawn until no window holds two values next to each other (`_drawn_apart`).
    """
    weights, weights_of, shapes = dict(weights), by_node(weights), output_shapes(network)
    outputs: dict[str, NDArray[Any]] = {INPUT: images}
    nodes, uses = {node.name: node for node in network.nodes}, Counter[str]()

    def move(name: str, amounts: NDArray[np.float64], takers: int) -> NDArray[np.float64]:
        """Add amounts to the channels of an output that `takers` nodes have taken, by the biases that it comes from.

        Returns what was added.
        """
        none = np.zeros_like(amounts)
        if name == INPUT or uses[name] > takers:
            return none
        node, moved = nodes[name], none
        match node.layer:
            case Conv2D() | DepthwiseConv2D() | Dense() | BatchNorm():
                bias = f"{name}/{'beta' if isinstance(node.layer, BatchNorm) else 'bias'}"
                if bias in weights:
                    weights[bias], moved = (weights[bias] + amounts).astype(np.float32), amounts
            case Add():
                each = (move(taken, amounts, 1) for taken in node.inputs)
                moved = next((added for added in each if added.any()), none)
            case Concatenate():
                parts = np.split(amounts, np.cumsum([shapes[taken][-1] for taken in node.inputs])[:-1])
                moved = np.concatenate([move(*part, 1) for part in zip(node.inputs, parts, strict=True)])
            case MaxPool2D() | AveragePool2D():
                moved = move(node.inputs[0], amounts, 1)
        outputs[name] = outputs[name] + moved
        return moved

    bent: set[str] = set()
    for node in reversed(network.nodes):
        if isinstance(node.layer, ReLU) or (isinstance(node.layer, Concatenate) and node.name in bent):
            bent.update(node.inputs)
    for node in network.nodes:
        inputs = [outputs[name] for name in node.inputs]
        own = weights_of.get(node.name, {})
        if isinstance(node.layer, Conv2D) and (pools := _pools_behind(network, node.name)):
            own["kernel"] = weights[f"{node.name}/kernel"] = _drawn_apart(
                node.layer, own["kernel"], pools, inputs[0], pool_gap
            )
        if isinstance(node.layer, BatchNorm):
            own |= zip(("moving_mean", "moving_variance"), batch_moments(inputs[0]), strict=True)
        outputs[node.name] = x = apply(node.layer, own, *inputs)
        uses.update(node.inputs)
        if node.name in bent:
            low, high = (extreme(x, axis=tuple(range(x.ndim - 1))) for extreme in (np.min, np.max))
            gap = MARGIN * np.maximum(high - low, np.mean(high - low))
            # The same channels everywhere, so that a sum of two that no bias moves is of one sign as well.
            above = np.random.RandomState(SEED).uniform(size=x.shape[-1]) < SHARE_ABOVE
            near = (low < gap) & (high > -gap)
            move(node.name, near * np.where(above, gap - low, -gap - high), 0)
    return weights


def _pools_behind(network: Network, name: str) -> list[MaxPool2D]:
    """Return the max pools that take a node's channels one by one: layers between keep the order of a window."""
    pools: list[MaxPool2D] = []
    for node in network.nodes:
        if name in node.inputs:
            match node.layer:
                case MaxPool2D():
                    pools.append(node.layer)
                case ReLU() | BatchNorm() | Concatenate():
                    pools += _pools_behind(network, node.name)
    return pools


def _drawn_apart(
    layer: Conv2D, kernel: NDArray[np.float32], pools: list[MaxPool2D], x: NDArray[np.float64], pool_gap: float
) -> NDArray[np.float32]:
    """Return the kernel with those filters drawn anew for whose output some pool's window all but holds a tie.

    The best of DRAWS draws is taken where none has its values `pool_gap` apart: a channel may have many windows.
    """
    stream = np.random.RandomState(SEED)

    def least_gaps(filters: NDArray[np.float32]) -> NDArray[np.float64]:
        output = apply(layer, {"kernel": filters}, x)
        gaps = np.min([_pool_gaps(output, pool).min(axis=(0, 1, 2)) for pool in pools], axis=0)
        return np.asarray(gaps / (np.ptp(output, axis=(0, 1, 2)) + 1e-30))

    best, gaps = kernel.copy(), least_gaps(kernel)
    for _ in range(DRAWS - 1):
        close = np.flatnonzero(gaps < pool_gap)
        if not close.size:
            break
        drawn = (stream.standard_normal(best[..., close].shape) * _root_mean_square(kernel)).astype(np.float32)
        further = least_gaps(drawn)
        better = further > gaps[close]
        best[..., close[better]], gaps[close[better]] = drawn[..., better], further[better]
    return best


def _distance_from_kinks(network: Network, weights: Weights, images: Images) -> float:
    """Return the least distance of a value from its kink, relative to the largest value of its tensor."""
    passed = run(without_dropout_network(network), weights, images, training=True)
    distances = [1.0]
    for node in network.nodes:
        x = passed.outputs[node.inputs[0]]
        if isinstance(node.layer, ReLU):
            distances.append(float(np.min(np.abs(x)) / np.max(np.abs(x))))
        elif isinstance(node.layer, MaxPool2D):
            distances.append(float(_pool_gaps(x, node.layer).min() / np.max(np.abs(x))))
    return min(distances)


def _pool_gaps(x: NDArray[np.float64], layer: MaxPool2D) -> NDArray[np.float64]:
    """Return the gap between the two largest values of each window (N, H', W', C); ∞ where they are the very same."""
    size = x.shape[1], x.shape[2]
    amounts = padding_amounts(size, layer.pool_size, layer.strides, layer.padding)
    padded = np.pad(x, ((0, 0), *amounts, (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, layer.pool_size, axis=(1, 2))
    windows = windows[:, :: layer.strides[0], :: layer.strides[1]]
    windows = windows.reshape(*windows.shape[:4], -1)
    if windows.shape[-1] == 1:
        return np.full(windows.shape[:4], np.inf)
    second, first = np.moveaxis(np.partition(windows, -2)[..., -2:], -1, 0)
    return np.where(first > second, first - second, np.inf)


def without_dropout_network(network: Network) -> Network:
    """Return the network with every dropout rate at zero."""
    nodes = (
        replace(node, layer=Dropout(rate=0.0)) if isinstance(node.layer, Dropout) else node for node in network.nodes
    )
    return replace(network, nodes=tuple(nodes))


def without_dropout(workload: Workload) -> Workload:
    """Return the workload with every dropout rate at zero."""
    return replace(workload, network=without_dropout_network(workload.network))


def exaggerated(workload: Workload) -> Workload:
    """Set the constants so that float32 rounding does not hide them; what is zero stays zero."""
    optimizer = workload.optimizer
    match optimizer:
        case SGD(decay=decay):
            # A big net's last layer moves by some of its size with this; a larger rate overflows in the second batch.
            rate = 0.005 if is_big(workload.network) else 0.2
            optimizer = replace(optimizer, learning_rate=rate, decay=0.5 if decay else 0.0)
        case Adam():
            # With a large epsilon the update is smooth where a gradient is rounding alone.
            optimizer = replace(optimizer, learning_rate=0.1, epsilon=0.1)
    nodes = []
    for node in workload.network.nodes:
        match node.layer:
            case BatchNorm(epsilon=epsilon) | LayerNorm(epsilon=epsilon):
                node = replace(node, layer=replace(node.layer, epsilon=max(epsilon, 0.1)))
            case LocalResponseNorm(alpha=alpha):
                node = replace(node, layer=replace(node.layer, alpha=max(alpha, 0.1)))
        nodes.append(node)
    l2 = workload.l2 and replace(workload.l2, rate=0.1)
    return replace(workload, network=replace(workload.network, nodes=tuple(nodes)), optimizer=optimizer, l2=l2)


DROPOUT_SAMPLES = 32
DROPOUT_STEPS = 16
DROPOUT_RATE_OF_LEARNING = 1e-6
DEVIATIONS = 5.0
"""How many standard deviations a sum of independent draws may be from its mean: one test in two million exceeds it."""


def prove_dropout(adapter: Adapter, chosen: list[float]) -> Iterator[Finding]:
    """Show that dropout drops at each of the rates, rescales what it keeps, and draws each value anew.

    No two frameworks draw the same, so the draws are read off. Images of ones go through dropouts side by side, one of
    each rate (and a single rate's half), into a dense layer of zero weights: all classes are as likely, so with one
    sample a class, and one class without, the gradient of weight (i, c) is that of the empty class less the value that
    sample c kept at place i, over the number of samples. A tiny learning rate leaves the weights next to zero for all
    steps.
    """
    if len(chosen) == 1:
        chosen = [chosen[0], chosen[0] / 2]
    rates = np.array(chosen)[:, None, None, None]
    workload = _dropout_probe(chosen)
    samples, shape = DROPOUT_SAMPLES, workload.network.input_shape
    images, labels = np.ones((samples, *shape), np.float32), np.arange(samples, dtype=np.int32)
    kernel = f"{workload.network.nodes[-1].name}/kernel"
    zeros = {name: np.zeros(shape, np.float32) for name, shape in weight_shapes(workload.network).items()}
    model = adapter.build(workload, zeros, SEED, "float32")
    draws, before = [], zeros[kernel]
    for _ in range(DROPOUT_STEPS):
        model.forward(images)
        model.train_batches(images, labels, np.arange(samples))
        after = model.weights()[kernel]
        gradient = (before - after).astype(np.float64) * samples / DROPOUT_RATE_OF_LEARNING
        draws.append((gradient[:, -1:] - gradient[:, :-1]).T.reshape(samples, len(chosen), *shape))
        before = after
    kept = np.stack(draws) * (1 - rates)
    masks = kept > 0.5
    off = float(np.max(np.abs(kept - masks)))
    what = f"dropout {', '.join(f'{rate:g}' for rate in chosen)}"
    yield Finding(level="S3", what=f"{what}, scale", worst=off, where="", tolerance=1e-2, precision="float32")
    # Draws less their mean over their standard deviation: products of independent ones have mean 0 and variance 1.
    normal = (masks - (1 - rates)) / np.sqrt(rates * (1 - rates))
    sums = {f"rate of layer {layer + 1}": normal[:, :, layer] for layer in range(len(chosen))}
    sums["neighbouring layers"] = normal[:, :, 1:] * normal[:, :, :-1]
    for lag in range(1, DROPOUT_STEPS // 2):
        sums[f"steps {lag} apart"] = normal[lag:] * normal[:-lag]
    for axis, name in ((1, "samples"), (3, "rows"), (4, "columns"), (5, "channels")):
        length = masks.shape[axis]
        sums[f"neighbouring {name}"] = normal.take(range(1, length), axis) * normal.take(range(length - 1), axis)
    deviations = {name: float(abs(values.sum()) / np.sqrt(values.size)) for name, values in sums.items()}
    where = max(deviations, key=lambda name: deviations[name])
    yield Finding(
        level="S3",
        what=f"{what}, standard deviations off",
        worst=deviations[where],
        where=where,
        tolerance=DEVIATIONS,
        precision="float32",
    )


def _dropout_probe(rates: list[float]) -> Workload:
    shape, classes = (8, 8, 4), DROPOUT_SAMPLES + 1
    graph = Graph()
    ways = [graph.chain(INPUT, Dropout(rate=rate), Flatten()) for rate in rates]
    dense = Dense(units=classes, use_bias=False, kernel_initializer=GlorotUniform())
    graph.add(dense, graph.add(Concatenate(), *ways))
    data = DataSet(
        source="synthetic",
        scaling="none",
        image_shape=shape,
        classes=classes,
        train_samples=DROPOUT_SAMPLES,
        validation_samples=0,
        test_samples=1,
    )
    return Workload(
        name="dropout",
        data=data,
        network=graph.network(shape),
        optimizer=SGD(learning_rate=DROPOUT_RATE_OF_LEARNING, momentum=0.0, decay=0.0, nesterov=False),
        batch_size=DROPOUT_SAMPLES,
        epochs=1,
    )
