"""What all tools start from and see: initial weights, the order of the samples and drawn labels, all by NumPy.

`RandomState` is used because NumPy promises that its stream never changes.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.shapes import ATTENTION_PARTS, moving_shapes, weight_shapes
from workloads.spec import (
    LSTM,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Embedding,
    GlorotUniform,
    Initializer,
    Layer,
    MultiHeadAttention,
    Network,
    PositionEmbedding,
    Shape,
    TruncatedNormal,
    VarianceScaling,
)

Weights = dict[str, NDArray[np.float32]]
CUT = 2.0
"""Where a truncated normal ends, in standard deviations."""
CUT_STDDEV = math.sqrt(1 - 2 * CUT * math.exp(-(CUT**2) / 2) / math.sqrt(2 * math.pi) / math.erf(CUT / math.sqrt(2)))
"""The standard deviation of a standard normal that is cut off there: 0.8796…"""
_CHUNK = 2**20

_CONSTANTS = {"gamma": 1.0, "moving_variance": 1.0}
"""What starts at neither 0 nor a draw."""


def initial_weights(network: Network, seed: int) -> Weights:
    """Draw the kernels as their layers say, float32 in canonical layouts, one stream through all layers.

    Biases are zero but for a forget gate's, and normalisations start as the identity. Trainable weights come first,
    then moving statistics.
    """
    stream = np.random.RandomState(seed)
    initializers = {
        f"{node.name}/{kind}": initializer for node in network.nodes for kind, initializer in _drawn(node.layer).items()
    }
    weights: Weights = {}
    for name, shape in {**weight_shapes(network), **moving_shapes(network)}.items():
        if name in initializers:
            weights[name] = _draw_kernel(stream, initializers[name], shape)
        else:
            weights[name] = np.full(shape, _CONSTANTS.get(name.rsplit("/", 1)[-1], 0.0), np.float32)
    for layer, bias in forget_biases(network, weights):
        bias[:] = layer.forget_bias
    return weights


def forget_biases(network: Network, weights: Weights) -> Iterator[tuple[LSTM, NDArray[np.float32]]]:
    """Yield each LSTM with the view of its bias (units,) that belongs to the forget gates."""
    for node in network.nodes:
        if isinstance(node.layer, LSTM):
            yield node.layer, weights[f"{node.name}/bias"][node.layer.units : 2 * node.layer.units]


def _drawn(layer: Layer) -> dict[str, Initializer]:
    """Return how the weights of a layer that are drawn are drawn, by kind."""
    match layer:
        case Conv2D() | DepthwiseConv2D() | Dense():
            return {"kernel": layer.kernel_initializer}
        case Embedding() | PositionEmbedding():
            return {"embeddings": layer.embeddings_initializer}
        case LSTM():
            return {"kernel": layer.kernel_initializer, "recurrent_kernel": layer.recurrent_initializer}
        case MultiHeadAttention():
            return {f"{part}_kernel": layer.kernel_initializer for part in ATTENTION_PARTS}
    return {}


def _draw_kernel(stream: np.random.RandomState, initializer: Initializer, shape: Shape) -> NDArray[np.float32]:
    """Draw a kernel (…, in, out), or a table (rows, columns).

    fan_in and fan_out count the receptive field, as in Keras and TensorFlow: a kernel (H, W, in, out) has H·W·in and
    H·W·out, so a depthwise one (H, W, channels, 1) has H·W·channels and H·W.
    """
    field = math.prod(shape[:-2])
    match initializer:
        case GlorotUniform():
            limit = np.sqrt(6 / (field * (shape[-2] + shape[-1])))
            return stream.uniform(-limit, limit, shape).astype(np.float32)
        case TruncatedNormal(stddev=stddev):
            return draw_normal(stream, shape, stddev=stddev, truncated=True)
        case VarianceScaling(scale=scale):
            stddev = math.sqrt(scale / (field * shape[-2])) / CUT_STDDEV
            return draw_normal(stream, shape, stddev=stddev, truncated=True)


def draw_normal(
    stream: np.random.RandomState, shape: Shape, *, stddev: float, truncated: bool, mean: float = 0.0
) -> NDArray[np.float32]:
    """Draw independent normal values, cut off at two standard deviations if `truncated`.

    They are drawn in C order, a chunk of 2²⁰ at a time, so that a big array costs no more than its float32. Of a chunk,
    those outside are drawn anew, in their order and as often as it takes, before the next chunk.
    """
    values = np.empty(math.prod(shape), np.float32)
    for start in range(0, values.size, _CHUNK):
        part = stream.standard_normal(min(_CHUNK, values.size - start))
        outside = np.flatnonzero(np.abs(part) > CUT) if truncated else np.empty(0, np.int64)
        while outside.size:
            part[outside] = stream.standard_normal(outside.size)
            outside = outside[np.abs(part[outside]) > CUT]
        values[start : start + _CHUNK] = mean + stddev * part
    return values.reshape(shape)


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
