"""The oracle: what each layer, the loss and each optimiser mean, in NumPy float64, written to be read."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.shapes import padding_amounts
from workloads.spec import SGD, Adam, Conv2D, Dense, Dropout, Flatten, MaxPool2D, Network, ReLU, Workload

Array = NDArray[np.float64]


def forward(network: Network, weights: Mapping[str, NDArray[Any]], images: NDArray[Any]) -> Array:
    """Return the logits (N, classes) of images (N, H, W, C) in inference mode."""
    x = images.astype(np.float64)
    for name, layer in network.named_layers():
        match layer:
            case Conv2D():
                windows = _windows(x, layer.kernel_size, layer.strides, layer.padding, 0.0)
                x = np.einsum("nhwcij,ijcf->nhwf", windows, weights[f"{name}/kernel"].astype(np.float64), optimize=True)
                x = x + (weights[f"{name}/bias"] if layer.use_bias else 0)
            case MaxPool2D():
                x = _windows(x, layer.pool_size, layer.strides, layer.padding, -np.inf).max(axis=(-2, -1))
            case Dense():
                x = x @ weights[f"{name}/kernel"].astype(np.float64)
                x = x + (weights[f"{name}/bias"] if layer.use_bias else 0)
            case ReLU():
                x = np.maximum(x, 0)
            case Flatten():
                x = x.reshape(len(x), -1)
            case Dropout():
                pass
    return x


def _windows(x: Array, window: Any, strides: Any, padding: Any, value: float) -> Array:
    """Return every window of (N, H, W, C) as (N, H', W', C, window height, window width)."""
    rows, columns = padding_amounts((x.shape[1], x.shape[2]), window, strides, padding)
    padded = np.pad(x, ((0, 0), rows, columns, (0, 0)), constant_values=value)
    windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=(1, 2))
    return windows[:, :: strides[0], :: strides[1]]


def softmax_cross_entropy(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the mean of −log softmax(logits)[label], shifted by the row maximum so that nothing overflows."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]))


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
            m, v, spec = self._first[name], self._second[name], self._spec
            match spec:
                case SGD():
                    m[:] = spec.momentum * m - spec.learning_rate / (1 + spec.decay * t) * g
                    self.weights[name] += m
                case Adam():
                    m[:] = spec.beta_1 * m + (1 - spec.beta_1) * g
                    v[:] = spec.beta_2 * v + (1 - spec.beta_2) * g**2
                    rate = spec.learning_rate * np.sqrt(1 - spec.beta_2 ** (t + 1)) / (1 - spec.beta_1 ** (t + 1))
                    self.weights[name] -= rate * m / (np.sqrt(v) + spec.epsilon)
