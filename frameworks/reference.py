"""The oracle: what each layer, the loss and each optimiser mean, in NumPy float64, written to be read.

Everything here also takes complex weights, and treats a kink (ReLU, the largest of a window) by the real part. That
makes each function differentiable by a complex step, f'(w)·d = Im f(w + i·h·d) / h, exact to rounding for a tiny h
because nothing is subtracted (Squire and Trapp 1998; Martins, Sturdza and Alonso 2003).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.initial import by_node
from workloads.shapes import padding_amounts
from workloads.spec import (
    GELU,
    INPUT,
    LSTM,
    SGD,
    Adam,
    Add,
    AveragePool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Crop2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool2D,
    LayerNorm,
    LocalResponseNorm,
    MaxPool2D,
    MultiHeadAttention,
    Network,
    PositionEmbedding,
    ReLU,
    Workload,
)

Array = NDArray[Any]
"""float64, or complex128 where a weight is complex."""
COMPLEX_STEP = 1e-30


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass through a network: every node's output (N, …) by name, the last one's, and the batch's moments.

    `moments` has (mean, biased variance, number of values) for each batch normalisation by name; it is empty in
    inference.
    """

    outputs: dict[str, Array]
    logits: Array
    moments: dict[str, tuple[Array, Array, int]]


def run(network: Network, weights: Mapping[str, Array], images: NDArray[Any], *, training: bool) -> Pass:
    """Work a network off on images (N, H, W, C) or tokens (N, T).

    Raises ValueError for dropout in training, which has no single answer.
    """
    tokens = np.issubdtype(images.dtype, np.integer)
    outputs: dict[str, Array] = {INPUT: images if tokens else images.astype(np.float64)}
    moments: dict[str, tuple[Array, Array, int]] = {}
    weights_of = by_node(weights)
    for node in network.nodes:
        inputs = [outputs[name] for name in node.inputs]
        own = weights_of.get(node.name, {})
        if isinstance(node.layer, BatchNorm) and training:
            mean, variance = batch_moments(inputs[0])
            moments[node.name] = mean, variance, inputs[0].size // inputs[0].shape[-1]
            own = {**own, "moving_mean": mean, "moving_variance": variance}
        if isinstance(node.layer, Dropout) and training and node.layer.rate:
            raise ValueError(f"{node.name} drops at random; the oracle trains with a rate of 0 alone")
        outputs[node.name] = apply(node.layer, own, *inputs)
    return Pass(outputs=outputs, logits=outputs[network.nodes[-1].name], moments=moments)


def apply(layer: Any, weights: Mapping[str, Array], *inputs: Array) -> Array:
    """Return one layer of its inputs, in inference mode; `weights` by kind."""
    x = inputs[0]
    weights = {kind: _exact(weight) for kind, weight in weights.items()}
    match layer:
        case Conv2D():
            windows = _windows(x, layer.kernel_size, layer.strides, layer.padding, 0.0)
            return np.einsum("nhwcij,ijcf->nhwf", windows, weights["kernel"], optimize=True) + weights.get("bias", 0.0)
        case DepthwiseConv2D():
            # Howard et al. 2017, section 3.1: channel c of the output is the window of channel c times its own kernel.
            windows = _windows(x, layer.kernel_size, layer.strides, layer.padding, 0.0)
            kernel = weights["kernel"][..., 0]
            return np.einsum("nhwcij,ijc->nhwc", windows, kernel, optimize=True) + weights.get("bias", 0.0)
        case Dense():
            return x @ weights["kernel"] + weights.get("bias", 0.0)
        case Embedding():
            return weights["embeddings"][x]
        case PositionEmbedding():
            return x + weights["embeddings"]
        case LSTM():
            return _lstm(x, layer, weights)
        case MultiHeadAttention():
            return _attention(x, layer, weights)
        case LayerNorm(epsilon=epsilon):
            centred = x - x.mean(axis=-1, keepdims=True)
            variance = (centred**2).mean(axis=-1, keepdims=True)
            return weights["gamma"] * centred / np.sqrt(variance + epsilon) + weights["beta"]
        case GELU(form="erf"):
            return x * (1 + _erf(x / math.sqrt(2))) / 2
        case GELU():
            return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
        case MaxPool2D():
            windows = _windows(x, layer.pool_size, layer.strides, layer.padding, -np.inf)
            windows = windows.reshape(*windows.shape[:4], -1)
            largest = windows.real.argmax(axis=-1)[..., None]
            return np.take_along_axis(windows, largest, axis=-1)[..., 0]
        case AveragePool2D():
            sums, counts = (
                _windows(values, layer.pool_size, layer.strides, layer.padding, 0.0).sum(axis=(-2, -1))
                for values in (x, np.ones((1, *x.shape[1:])))
            )
            return sums / counts
        case GlobalAveragePool2D():
            return x.mean(axis=(1, 2))
        case BatchNorm():
            normal = (x - weights["moving_mean"]) / np.sqrt(weights["moving_variance"] + layer.epsilon)
            return weights.get("gamma", 1.0) * normal + weights.get("beta", 0.0)
        case LocalResponseNorm(radius=radius):
            padded = np.pad(x**2, ((0, 0), (0, 0), (0, 0), (radius, radius)))
            sums = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis=3).sum(axis=-1)
            return x / (layer.bias + layer.alpha * sums) ** layer.beta
        case ReLU():
            return np.where(x.real > 0, x, 0)
        case Flatten():
            return x.reshape(len(x), -1)
        case Crop2D(cropping=((top, bottom), (left, right))):
            return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]
        case Add():
            return sum(inputs[1:], start=x)
        case Concatenate():
            return np.concatenate(inputs, axis=-1)
        case Dropout():
            return x
    raise TypeError(f"the oracle does not know {layer}")


def _lstm(x: Array, layer: LSTM, weights: Mapping[str, Array]) -> Array:
    h = c = np.zeros((len(x), layer.units))
    states = []
    for t in range(x.shape[1]):
        parts = x[:, t] @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights["bias"]
        i, f, g, o = np.split(parts, 4, axis=-1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.stack(states, axis=1) if layer.return_sequences else h


def _sigmoid(x: Array) -> Array:
    # Does not overflow, as 1 / (1 + exp(−x)) does.
    return (1 + np.tanh(x / 2)) / 2


def _attention(x: Array, layer: MultiHeadAttention, weights: Mapping[str, Array]) -> Array:
    samples, places, columns = x.shape

    def project(part: str, values: Array) -> Array:
        return values @ weights[f"{part}_kernel"] + weights.get(f"{part}_bias", 0.0)

    def by_head(part: str) -> Array:
        return project(part, x).reshape(samples, places, layer.heads, -1).swapaxes(1, 2)

    queries, keys, values = (by_head(part) for part in ("query", "key", "value"))
    scores = queries @ keys.swapaxes(2, 3) / math.sqrt(columns / layer.heads)
    if layer.causal:
        scores = np.where(np.tri(places, dtype=bool), scores, -np.inf)
    shares = np.exp(scores - scores.real.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return project("output", (shares @ values).swapaxes(1, 2).reshape(x.shape))


def _erf(x: Array) -> Array:
    """Return erf, of a complex number with so small an imaginary part that its square is nothing."""
    real: Array = np.frompyfunc(math.erf, 1, 1)(x.real).astype(np.float64)
    slope = 2 / math.sqrt(math.pi) * np.exp(-(x.real**2))
    return real + 1j * x.imag * slope if np.iscomplexobj(x) else real


def _exact(weight: Array) -> Array:
    return weight if np.iscomplexobj(weight) else weight.astype(np.float64)


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Return mean and biased variance over all axes but the last."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axis=axes)
    return mean, ((x - mean) ** 2).mean(axis=axes)


def _windows(x: Array, window: Any, strides: Any, padding: Any, value: float) -> Array:
    """Return every window of (N, H, W, C) as (N, H', W', C, window height, window width)."""
    rows, columns = padding_amounts((x.shape[1], x.shape[2]), window, strides, padding)
    padded = np.pad(x, ((0, 0), rows, columns, (0, 0)), constant_values=value)
    windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=(1, 2))
    return windows[:, :: strides[0], :: strides[1]]


def forward(network: Network, weights: Mapping[str, Array], images: NDArray[Any]) -> Array:
    """Return the last node's output for images (N, H, W, C) in inference mode."""
    return run(network, weights, images, training=False).logits


def softmax_cross_entropy(logits: Array, labels: NDArray[Any]) -> Any:
    """Return the mean of −log softmax(logits)[label] over all labels (N, …), whose logits are (N, …, classes)."""
    logits, labels = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    # Shifted by the row maximum, so that nothing overflows.
    shifted = _exact(logits) - logits.real.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return losses.mean().item()


def objective(workload: Workload, weights: Mapping[str, Array], images: NDArray[Any], labels: NDArray[Any]) -> Any:
    """Return what a training step makes smaller: the loss of the batch in training mode, plus the L2 term."""
    return total_loss(workload, weights, run(workload.network, weights, images, training=True).logits, labels)


def total_loss(workload: Workload, weights: Mapping[str, Array], logits: Array, labels: NDArray[Any]) -> Any:
    """Return the loss of an output that is worked out already, such as logits, plus the L2 term."""
    match workload.loss:
        case "softmax-cross-entropy":
            loss = softmax_cross_entropy(logits, labels)
        case "half-squared-sum":
            loss = 0.5 * (logits**2).sum().item()
    if workload.l2 is not None:
        covered = [_exact(weight) for name, weight in weights.items() if workload.l2.covers(name)]
        loss += workload.l2.rate * sum(0.5 * (weight**2).sum() for weight in covered)
    return loss


def slope(
    workload: Workload, weights: Mapping[str, Array], images: NDArray[Any], labels: NDArray[Any], direction: Any
) -> float:
    """Return the derivative of the objective along `direction` (arrays by weight name), by a complex step."""
    moved = {name: _exact(weights[name]) + 1j * COMPLEX_STEP * part for name, part in direction.items()}
    value = objective(workload, {**weights, **moved}, images, labels)
    return float(value.imag / COMPLEX_STEP)


class Optimizer:
    """The update formulas of workloads.spec.SGD and Adam."""

    def __init__(self, workload: Workload, weights: Mapping[str, NDArray[Any]]) -> None:
        self._spec = workload.optimizer
        self._updates = 0
        self.weights = {name: weight.astype(np.float64) for name, weight in weights.items()}
        self._first = {name: np.zeros_like(weight) for name, weight in self.weights.items()}
        self._second = {name: np.zeros_like(weight) for name, weight in self.weights.items()}

    def update(self, gradients: Mapping[str, NDArray[Any]]) -> None:
        """Take one step."""
        t = self._updates
        self._updates += 1
        for name, g in ((name, gradient.astype(np.float64)) for name, gradient in gradients.items()):
            w, m, v, spec = self.weights[name], self._first[name], self._second[name], self._spec
            match spec:
                case SGD(momentum=momentum):
                    rate = spec.learning_rate / (1 + spec.decay * t)
                    m[:] = momentum * m - rate * g
                    w += momentum * m - rate * g if spec.nesterov else m
                case Adam():
                    m[:] = spec.beta_1 * m + (1 - spec.beta_1) * g
                    v[:] = spec.beta_2 * v + (1 - spec.beta_2) * g**2
                    correction_1, correction_2 = 1 - spec.beta_1 ** (t + 1), 1 - spec.beta_2 ** (t + 1)
                    if spec.epsilon_form == "algorithm-1":
                        w -= spec.learning_rate * (m / correction_1) / (np.sqrt(v / correction_2) + spec.epsilon)
                    else:
                        rate = spec.learning_rate * np.sqrt(correction_2) / correction_1
                        w -= rate * m / (np.sqrt(v) + spec.epsilon)


def moved_statistics(network: Network, weights: Mapping[str, Array], passed: Pass, *, bessel: bool) -> dict[str, Array]:
    """Return the moving statistics after a training step that went as `passed`.

    The variance enters with Bessel's correction as the spec has it, or without (`bessel=False`).
    """
    moved = {}
    for node in network.nodes:
        if isinstance(node.layer, BatchNorm):
            mean, variance, count = passed.moments[node.name]
            fed = {"moving_mean": mean, "moving_variance": variance * (count / (count - 1) if bessel else 1)}
            for kind, value in fed.items():
                before = _exact(weights[f"{node.name}/{kind}"])
                moved[f"{node.name}/{kind}"] = node.layer.momentum * before + (1 - node.layer.momentum) * value
    return moved
