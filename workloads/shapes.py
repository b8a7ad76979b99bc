"""Output shapes, parameter counts and FLOPs, all from the spec."""

import math

import numpy as np
from numpy.typing import NDArray

from workloads.spec import (
    INPUT,
    LSTM,
    Add,
    AveragePool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Crop2D,
    Dense,
    DepthwiseConv2D,
    Embedding,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    LayerNorm,
    LocalResponseNorm,
    MaxPool2D,
    MultiHeadAttention,
    Network,
    Padding,
    Pair,
    PositionEmbedding,
    Shape,
    Workload,
)

ATTENTION_PARTS = ("query", "key", "value", "output")
"""What an attention has kernels and biases of, in their order."""


def padding_amounts(size: Pair, window: Pair, strides: Pair, padding: Padding) -> tuple[Pair, Pair]:
    """Return ((top, bottom), (left, right)) for an input of (H, W).

    `"same"` pads max((ceil(n/s) − 1)·s + k − n, 0) in all, the smaller half first (TensorFlow's rule).
    """
    if isinstance(padding, tuple):
        return padding
    if padding == "valid":
        return (0, 0), (0, 0)

    def same(n: int, k: int, s: int) -> Pair:
        total = max((math.ceil(n / s) - 1) * s + k - n, 0)
        return total // 2, total - total // 2

    return same(size[0], window[0], strides[0]), same(size[1], window[1], strides[1])


def _window_output(size: Pair, window: Pair, strides: Pair, padding: Padding) -> Pair:
    amounts = padding_amounts(size, window, strides, padding)
    height, width = (
        (n + sum(amount) - k) // s + 1 for n, k, s, amount in zip(size, window, strides, amounts, strict=True)
    )
    if height < 1 or width < 1:
        raise ValueError(f"a window of {window} does not fit into an input of {size}")
    return height, width


def window_counts(size: Pair, pool: MaxPool2D | AveragePool2D) -> NDArray[np.float64]:
    """Return how many values of an input (H, W) each of a pool's windows holds, padding left out, as (H', W')."""
    amounts = padding_amounts(size, pool.pool_size, pool.strides, pool.padding)
    outputs = _window_output(size, pool.pool_size, pool.strides, pool.padding)

    def along(n: int, k: int, s: int, before: int, out: int) -> NDArray[np.float64]:
        starts = np.arange(out, dtype=np.float64) * s - before
        inside: NDArray[np.float64] = np.clip(np.minimum(starts + k, n) - np.maximum(starts, 0), 0, None)
        return inside

    rows, columns = (
        along(n, k, s, amount[0], out)
        for n, k, s, amount, out in zip(size, pool.pool_size, pool.strides, amounts, outputs, strict=True)
    )
    counts: NDArray[np.float64] = np.outer(rows, columns)
    return counts


def output_shape(layer: Layer, *shapes: Shape) -> Shape:
    """Return the shape of one sample after `layer`, given those of its inputs. Raises ValueError if they do not fit."""
    shape = shapes[0]
    match layer:
        case (
            Conv2D() | DepthwiseConv2D() | MaxPool2D() | AveragePool2D() | GlobalAveragePool2D() | LocalResponseNorm()
            | Flatten() | Crop2D()
        ):  # fmt: skip
            if len(shape) != 3:
                raise ValueError(f"{type(layer).__name__} needs an input of height, width and channels, got {shape}")
        case Dense():
            if len(shape) == 3:
                raise ValueError(f"a dense layer needs a flat input or a sequence, got {shape}")
        case BatchNorm():
            if len(shape) == 2:
                raise ValueError(f"a batch normalisation needs images or a flat input, got {shape}")
        case PositionEmbedding() | LSTM() | MultiHeadAttention() | LayerNorm():
            if len(shape) != 2:
                raise ValueError(f"{type(layer).__name__} needs a sequence of places and columns, got {shape}")
            if isinstance(layer, MultiHeadAttention) and shape[1] % layer.heads:
                raise ValueError(f"{layer.heads} heads cannot share {shape[1]} columns")
        case Add():
            if len(set(shapes)) != 1:
                raise ValueError(f"inputs of different shapes cannot be added: {shapes}")
        case Concatenate():
            if len({other[:-1] for other in shapes}) != 1:
                raise ValueError(f"inputs that differ in more than channels cannot be concatenated: {shapes}")
    match layer:
        case Conv2D():
            size = _window_output((shape[0], shape[1]), layer.kernel_size, layer.strides, layer.padding)
            return (*size, layer.filters)
        case DepthwiseConv2D():
            size = _window_output((shape[0], shape[1]), layer.kernel_size, layer.strides, layer.padding)
            return (*size, shape[2])
        case MaxPool2D() | AveragePool2D():
            size = _window_output((shape[0], shape[1]), layer.pool_size, layer.strides, layer.padding)
            if window_counts((shape[0], shape[1]), layer).min() < 1:
                raise ValueError(f"a window of {layer} on {shape} holds nothing but padding")
            return (*size, shape[2])
        case Crop2D(cropping=(rows, columns)):
            height, width = shape[0] - sum(rows), shape[1] - sum(columns)
            if min(height, width) < 1:
                raise ValueError(f"{layer} leaves nothing of {shape}")
            return (height, width, shape[2])
        case GlobalAveragePool2D():
            return shape[-1:]
        case Flatten():
            return (math.prod(shape),)
        case Dense():
            return (*shape[:-1], layer.units)
        case Embedding():
            return (*shape, layer.output_dim)
        case LSTM(units=units):
            return (shape[0], units) if layer.return_sequences else (units,)
        case Concatenate():
            return (*shape[:-1], sum(other[-1] for other in shapes))
        case _:
            return shape


def output_shapes(network: Network) -> dict[str, Shape]:
    """Return the shape of one sample after every node, by name and in order, the network's input under INPUT."""
    shapes: dict[str, Shape] = {INPUT: network.input_shape}
    for node in network.nodes:
        shapes[node.name] = output_shape(node.layer, *(shapes[name] for name in node.inputs))
    return shapes


def label_shape(workload: Workload) -> Shape:
    """Return the shape of one sample's labels: of cross-entropy one for each place of the output, and else one."""
    network = workload.network
    return output_shapes(network)[network.nodes[-1].name][:-1] if workload.loss == "softmax-cross-entropy" else ()


def weight_shapes(network: Network) -> dict[str, Shape]:
    """Return the canonical shape of every trainable weight, e.g. `{"dense_1/kernel": (400, 128), ...}`."""
    shapes = output_shapes(network)
    weights: dict[str, Shape] = {}
    for node in network.nodes:
        channels = shapes[node.inputs[0]][-1:]
        match node.layer:
            case Conv2D(kernel_size=window, filters=filters, use_bias=bias):
                found: dict[str, Shape] = {"kernel": (*window, *channels, filters)}
                found |= {"bias": (filters,)} if bias else {}
            case DepthwiseConv2D(kernel_size=window, use_bias=bias):
                found = {"kernel": (*window, *channels, 1)}
                found |= {"bias": channels} if bias else {}
            case Dense(units=units, use_bias=bias):
                found = {"kernel": (*channels, units)}
                found |= {"bias": (units,)} if bias else {}
            case Embedding():
                found = {"embeddings": (node.layer.input_dim, node.layer.output_dim)}
            case PositionEmbedding():
                found = {"embeddings": shapes[node.name]}
            case LSTM(units=units):
                found = {"kernel": (*channels, 4 * units), "recurrent_kernel": (units, 4 * units), "bias": (4 * units,)}
            case MultiHeadAttention(use_bias=bias):
                found = {}
                for part in ATTENTION_PARTS:
                    found |= {f"{part}_kernel": channels * 2}
                    found |= {f"{part}_bias": channels} if bias else {}
            case LayerNorm():
                found = {"gamma": channels, "beta": channels}
            case BatchNorm(scale=scale, center=center):
                found = {"gamma": channels} if scale else {}
                found |= {"beta": channels} if center else {}
            case _:
                continue
        weights |= {f"{node.name}/{kind}": shape for kind, shape in found.items()}
    return weights


def moving_shapes(network: Network) -> dict[str, Shape]:
    """Return the shape of every moving statistic, e.g. `{"batchnorm_1/moving_mean": (64,), ...}`: not trained."""
    shapes = output_shapes(network)
    return {
        f"{node.name}/{kind}": shapes[node.name][-1:]
        for node in network.nodes
        if isinstance(node.layer, BatchNorm)
        for kind in ("moving_mean", "moving_variance")
    }


def parameter_count(network: Network) -> int:
    """Count the trainable parameters."""
    return sum(math.prod(shape) for shape in weight_shapes(network).values())


def moving_count(network: Network) -> int:
    """Count the parameters that are not trained: the moving statistics of batch normalisation."""
    return sum(math.prod(shape) for shape in moving_shapes(network).values())


def _multiply_adds(network: Network) -> dict[str, int]:
    shapes = output_shapes(network)
    counts = {}
    for node in network.nodes:
        before, after = shapes[node.inputs[0]], shapes[node.name]
        match node.layer:
            case Conv2D(kernel_size=window):
                counts[node.name] = math.prod(after) * math.prod(window) * before[-1]
            case DepthwiseConv2D(kernel_size=window):
                counts[node.name] = math.prod(after) * math.prod(window)
            case Dense():
                counts[node.name] = before[-1] * math.prod(after)
            case LSTM(units=units):
                counts[node.name] = before[0] * 4 * units * (before[-1] + units)
            case MultiHeadAttention():
                places, columns = before
                counts[node.name] = 4 * places * columns**2 + 2 * places**2 * columns
    return counts


def forward_flops(network: Network) -> int:
    """FLOPs of one sample forward: 2 × multiply-adds of all matrix products, padding counted in full.

    These are those of convolutions, dense layers, recurrent gates and attention, whose two products of queries, keys
    and values count in full where half of them is masked, as Chowdhery et al. 2022 (appendix B) count them.
    """
    return 2 * sum(_multiply_adds(network).values())


def train_flops(network: Network) -> int:
    """FLOPs of one training sample: 3 × forward without the input gradients of layers right on the input.

    Nobody needs those.
    """
    counts = _multiply_adds(network)
    return 3 * forward_flops(network) - 2 * sum(counts[name] for name in _fed_by_input(network) & counts.keys())


def _fed_by_input(network: Network) -> set[str]:
    """Name the nodes that no weight comes before, whose input's gradient is therefore of no use."""
    weighted = {name.rsplit("/", 1)[0] for name in weight_shapes(network)}
    trained: set[str] = set()
    for node in network.nodes:
        if node.name in weighted or trained.intersection(node.inputs):
            trained.add(node.name)
    return {node.name for node in network.nodes if not trained.intersection(node.inputs)}
