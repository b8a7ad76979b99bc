"""Output shapes, parameter counts and FLOPs, all from the spec."""

import math

from workloads.spec import Conv2D, Dense, Flatten, Layer, MaxPool2D, Network, Padding, Pair, Shape


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


def output_shape(layer: Layer, shape: Shape) -> Shape:
    """Return the shape of one sample after `layer`, given the shape before it. Raises ValueError if it does not fit."""
    match layer:
        case Conv2D():
            height, width, _ = shape
            size = _window_output((height, width), layer.kernel_size, layer.strides, layer.padding)
            return (*size, layer.filters)
        case MaxPool2D():
            height, width, channels = shape
            size = _window_output((height, width), layer.pool_size, layer.strides, layer.padding)
            return (*size, channels)
        case Flatten():
            if len(shape) != 3:
                raise ValueError(f"there is nothing to flatten in {shape}")
            return (math.prod(shape),)
        case Dense():
            if len(shape) != 1:
                raise ValueError(f"a dense layer needs a flat input, got {shape}")
            return (layer.units,)
        case _:
            return shape


def layer_shapes(network: Network) -> dict[str, tuple[Shape, Shape]]:
    """Return (input shape, output shape) of one sample for every layer, by name and in order."""
    shapes = {}
    shape: Shape = network.input_shape
    for name, layer in network.named_layers():
        before, shape = shape, output_shape(layer, shape)
        shapes[name] = before, shape
    return shapes


def weight_shapes(network: Network) -> dict[str, Shape]:
    """Return the canonical shape of every trainable weight, e.g. `{"dense_1/kernel": (400, 128), ...}`."""
    shapes = layer_shapes(network)
    weights: dict[str, Shape] = {}
    for name, layer in network.named_layers():
        before = shapes[name][0]
        match layer:
            case Conv2D():
                kernel: Shape = (*layer.kernel_size, before[-1], layer.filters)
            case Dense():
                kernel = (before[-1], layer.units)
            case _:
                continue
        weights[f"{name}/kernel"] = kernel
        if layer.use_bias:
            weights[f"{name}/bias"] = kernel[-1:]
    return weights


def parameter_count(network: Network) -> int:
    """Count the trainable parameters."""
    return sum(math.prod(shape) for shape in weight_shapes(network).values())


def _multiply_adds(network: Network) -> dict[str, int]:
    shapes = layer_shapes(network)
    counts = {}
    for name, layer in network.named_layers():
        before, after = shapes[name]
        match layer:
            case Conv2D():
                counts[name] = math.prod(after) * math.prod(layer.kernel_size) * before[-1]
            case Dense():
                counts[name] = before[-1] * after[-1]
    return counts


def forward_flops(network: Network) -> int:
    """FLOPs of one sample forward: 2 × multiply-adds of convolutions and dense layers, padding counted in full."""
    return 2 * sum(_multiply_adds(network).values())


def train_flops(network: Network) -> int:
    """FLOPs of one training sample: 3 × forward without the first layer's input gradient, which nobody needs."""
    first = next(iter(_multiply_adds(network).values()))
    return 3 * forward_flops(network) - 2 * first
