"""What all tools start from and see: initial weights, the order of the samples and drawn labels, all by NumPy.

`RandomState` is used because NumPy promises that its stream never changes.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.shapes import moving_shapes, weight_shapes
from workloads.spec import Network

Weights = dict[str, NDArray[np.float32]]


_CONSTANTS = {"bias": 0.0, "beta": 0.0, "gamma": 1.0, "moving_mean": 0.0, "moving_variance": 1.0}


def initial_weights(network: Network, seed: int) -> Weights:
    """Draw Glorot-uniform kernels, float32 in canonical layouts, one stream through all layers.

    fan_in and fan_out count the receptive field, as in Keras: a kernel (H, W, in, out) has H·W·in and H·W·out. Biases
    are zero, a batch normalisation starts as the identity. Trainable weights come first, then moving statistics.
    """
    stream = np.random.RandomState(seed)
    weights: Weights = {}
    for name, shape in {**weight_shapes(network), **moving_shapes(network)}.items():
        kind = name.rsplit("/", 1)[-1]
        if kind in _CONSTANTS:
            weights[name] = np.full(shape, _CONSTANTS[kind], np.float32)
            continue
        field = int(np.prod(shape[:-2]))
        limit = np.sqrt(6 / (field * (shape[-2] + shape[-1])))
        weights[name] = stream.uniform(-limit, limit, shape).astype(np.float32)
    return weights


def by_node(weights: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sort values by weight name, such as `dense_1/kernel`, into each node's own by kind."""
    nodes: dict[str, dict[str, Any]] = {}
    for name, value in weights.items():
        node, kind = name.rsplit("/", 1)
        nodes.setdefault(node, {})[kind] = value
    return nodes


def epoch_order(samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of the samples in an epoch, counted from 0: a permutation that seed and epoch decide alone."""
    return np.random.RandomState([seed, epoch]).permutation(samples)


def step_labels(labels: int, samples: int, seed: int, step: int) -> NDArray[np.int32]:
    """Draw the labels (samples,) of a step on noise, counted from 0: uniform in 0…labels − 1, by seed and step."""
    return np.random.RandomState([seed, step]).randint(labels, size=samples).astype(np.int32)


def arrays_fingerprint(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data.cast("B") if array.size else b"")
    return digest.hexdigest()
