"""The contract between the worker and a framework: what an adapter must do, in canonical layouts, and nothing more.

Importing an adapter's module imports its framework; making the adapter starts the device; `build` makes the net. The
worker times each of these, so none may do another's work.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workloads.initial import Weights
from workloads.shapes import output_shapes, padding_amounts
from workloads.spec import (
    INPUT,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    MaxPool2D,
    Network,
    Node,
    Padding,
    Pair,
    Shape,
    Workload,
)

Device = Literal["cpu", "gpu"]
Precision = Literal["float32", "tf32", "bfloat16", "float16", "float64"]
"""`float64` is for proofs. `tf32` is float32 whose products a GPU takes of numbers with ten bits of fraction.

`bfloat16` and `float16` are mixed, as each framework means it: weights, their gradients and the optimiser's state are
float32 and most of what lies between is short. The loss of `float16` is differentiated LOSS_SCALE times as large, and
its gradients are divided by that (Micikevicius et al. 2018, section 3.2; 128 is what tf_cnn_benchmarks takes).
"""
MIXED: tuple[Precision, ...] = ("bfloat16", "float16")
LOSS_SCALE = 128.0
AMPERE = (8, 0)
"""The compute capability from which on NVIDIA's GPUs multiply in TF32 and bfloat16."""
Difference = Literal["biased moving variance"]
"""How a framework may differ by nature from the spec. A moving variance is biased where it is fed the variance that
normalises, without Bessel's correction n / (n − 1): inference sees it, no training step does."""
Images = NDArray[np.float32] | NDArray[np.int32]
"""Images (N, H, W, C) in float32, or tokens (N, T) in int32."""
Labels = NDArray[np.int32]
"""Classes (N,), or (N, T) where every place of a sequence has one."""


def gpu_precisions(capability: tuple[int, ...]) -> tuple[Precision, ...]:
    """Return the precisions shorter than float32 that a GPU of a compute capability multiplies in."""
    return ("tf32", "bfloat16", "float16") if capability >= AMPERE else ("float16",)


class DeviceUnavailableError(Exception):
    """The framework finds no device of the kind asked for; the text says what it looked for."""


class Model(ABC):
    """A net on its device with its optimiser's state, fed from NumPy arrays in host memory."""

    @abstractmethod
    def forward(self, images: Images) -> NDArray[Any]:
        """Return the last node's output for images or tokens in inference mode, in batches of the workload.

        These are logits (N, classes), or (N, T, classes) of sequences, or (N, H', W', C') where a net ends in images.
        """

    @abstractmethod
    def outputs(self, images: Images) -> dict[str, NDArray[Any]]:
        """Return the output of every node by name for one batch in inference mode, in canonical layouts."""

    @abstractmethod
    def gradients(self, images: Images, labels: Labels) -> tuple[float, Weights]:
        """Return the loss of one batch in training mode and its gradient by name of trainable weight, changing nothing.

        The loss is the workload's, with the L2 term.
        """

    @abstractmethod
    def train_batches(self, images: Images, labels: Labels, order: NDArray[np.int64]) -> float:
        """Train once on `images[order]` in consecutive batches, the last one partial, and return the mean loss.

        The mean is over samples; each sample's loss is its batch's (with the L2 term) before the update. Of a workload
        without optimiser it is never asked.
        """

    @abstractmethod
    def place(self, images: Images) -> Any:
        """Put one batch on the device in the layout and type that the net takes, and return it once there.

        The three steps take what this returns, any number of times, with labels in host memory. What a step
        returns has been copied to host memory, so the device has finished all that it depends on.
        """

    @abstractmethod
    def forward_step(self, placed: Any) -> Any:
        """Return the last node's output in inference mode, in the framework's own layout."""

    @abstractmethod
    def gradient_step(self, placed: Any, labels: Labels) -> tuple[float, dict[str, Any]]:
        """Return what `gradients` does, every gradient in the framework's own layout; moving statistics may move."""

    @abstractmethod
    def train_step(self, placed: Any, labels: Labels) -> float:
        """Update the weights once, as `train_batches` does, and return the loss before the update.

        The update itself may be under way until `synchronize` returns.
        """

    @abstractmethod
    def weights(self) -> Weights:
        """Return a copy of all weights by name, moving statistics included, in canonical layouts."""

    @abstractmethod
    def matmul(self, a: NDArray[np.float32], b: NDArray[np.float32], times: int) -> NDArray[np.float32]:
        """Return a · bᵗⁱᵐᵉˢ for (N, N) and (N, N), one product after another as the net's dense layers take them.

        What comes back has been copied to host memory.
        """

    @abstractmethod
    def synchronize(self) -> None:
        """Return when the device has finished all work given to it."""

    @abstractmethod
    def peak_memory_bytes(self) -> int | None:
        """Return the most device memory in use so far as the framework counts it, or None where it does not."""


class Adapter(ABC):
    """A framework on one device. Making it raises DeviceUnavailableError where there is no such device.

    `precisions` are those that `build` takes on the device; weights, gradients and outputs come back in float64 from
    float64, and in float32 from all others. `differences` are those that are the framework's nature.
    """

    precisions: tuple[Precision, ...] = ("float32",)
    differences: tuple[Difference, ...] = ()

    @abstractmethod
    def __init__(self, *, device: Device, cores: int, **options: Any) -> None:
        """Start the device and set the framework's own threads to `cores`. `options` come from the tool table."""

    def supports(self, workload: Workload, precision: Precision) -> str | None:
        """Return why this framework cannot train the workload as it is specified, or None if it can."""
        if precision in self.precisions:
            return None
        here = ", ".join(each for each in self.precisions if each != "float64")
        return f"it trains in {here} here, and not in {precision}"

    @abstractmethod
    def build(self, workload: Workload, weights: Weights, seed: int, precision: Precision) -> Model:
        """Make the workload's net from canonical `weights` (moving statistics too); `seed` is for dropout alone."""


Window = Conv2D | DepthwiseConv2D | MaxPool2D | AveragePool2D


def _window_and_amounts(layer: Window, before: Shape) -> tuple[Pair, tuple[Pair, Pair]]:
    window = layer.kernel_size if isinstance(layer, Conv2D | DepthwiseConv2D) else layer.pool_size
    return window, padding_amounts((before[0], before[1]), window, layer.strides, layer.padding)


def symmetric_padding(layer: Window, before: Shape) -> Pair | None:
    """Return the rows and columns that a layer pads alike on both sides, or None where something must pad before it.

    For frameworks whose windows know no other padding, and whose pools know no more than half a window.
    """
    window, ((top, bottom), (left, right)) = _window_and_amounts(layer, before)
    pools = isinstance(layer, MaxPool2D | AveragePool2D)
    within = not pools or (2 * top <= window[0] and 2 * left <= window[1])
    return (top, left) if top == bottom and left == right and within else None


def named_padding(layer: Window, before: Shape) -> Padding:
    """Return "valid" or "same" where that is what a layer's padding comes to, and its amounts elsewhere.

    For frameworks whose windows know these two names: anything else is padded before, which is a copy.
    """
    window, amounts = _window_and_amounts(layer, before)
    names: tuple[Padding, ...] = ("valid", "same")
    for name in names:
        if amounts == padding_amounts((before[0], before[1]), window, layer.strides, name):
            return name
    return amounts


def misread_convolution(network: Network) -> str | None:
    """Return the name of a convolution that oneDNN 3 gets wrong in channels-last memory, or None.

    With one channel the memory's strides are ambiguous, and behind a stride a width of 1 comes out of other memory. The
    CPU kernels of PyTorch and TensorFlow are oneDNN's.
    """
    shapes = output_shapes(network)
    for node in network.nodes:
        match node.layer:
            case Conv2D(strides=(_, across)) | DepthwiseConv2D(strides=(_, across)) if across > 1:
                if shapes[node.inputs[0]][-1] == 1 and shapes[node.name][1] == 1:
                    return node.name
    return None


_OUTPUTS_FIRST = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
_CANONICAL = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
_DEPTHWISE = (2, 3, 0, 1)
"""Axes there, back, and either way for a depthwise kernel."""


class OutputsFirst:
    """The layout of weights in PyTorch and MXNet, and the way there and back.

    Kernels of convolutions are (out, in, H, W), depthwise ones (channels, 1, H, W), others (out, in); tables of
    embeddings are as they were.
    """

    def __init__(self, network: Network) -> None:
        self._depthwise = {f"{node.name}/kernel" for node in network.nodes if isinstance(node.layer, DepthwiseConv2D)}

    def pack(self, name: str, weight: NDArray[Any]) -> NDArray[Any]:
        """Return the view of a canonical weight in this layout."""
        return weight.transpose(self._axes(name, _OUTPUTS_FIRST[weight.ndim]))

    def unpack(self, name: str, weight: NDArray[Any]) -> NDArray[Any]:
        """Return a copy in the canonical layout."""
        return np.array(weight.transpose(self._axes(name, _CANONICAL[weight.ndim])), order="C")

    def _axes(self, name: str, usual: tuple[int, ...]) -> tuple[int, ...]:
        if name.endswith("/embeddings"):
            return (0, 1)
        return _DEPTHWISE if name in self._depthwise else usual


def rounded(constant: float, precision: Precision) -> float:
    """Round a constant as a kernel of that precision does.

    Where a kernel takes β in float32 and the bias correction 1 − βᵗ is made elsewhere, both must mean the same β: for
    β = 0.999 the rounding changes 1 − β by 1.3e-5 of itself.
    """
    return float(np.dtype(precision).type(constant))


Step = tuple[Node, tuple[str, ...]]
"""A node, and the values that nothing needs once it is worked out."""


def schedule(network: Network) -> list[Step]:
    """Return the nodes in order, each with the values it is the last to take."""
    last = {name: node.name for node in network.nodes for name in node.inputs}
    return [(node, tuple(dict.fromkeys(x for x in node.inputs if last[x] == node.name))) for node in network.nodes]


def work_off(steps: list[Step], images: Any, apply: Callable[..., Any], outputs: dict[str, Any] | None = None) -> Any:
    """Return the last node's value, where `apply(node, *values)` gives a node's; all are put into `outputs` if given.

    A value is let go after its last use, so that an inference pass holds no more of them than it must.
    """
    return go_on(steps, {INPUT: images}, apply, outputs)[steps[-1][0].name]


def go_on(
    steps: list[Step], values: dict[str, Any], apply: Callable[..., Any], outputs: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the values that are left after consecutive nodes, given those that were left by the nodes before."""
    values = dict(values)
    for node, finished in steps:
        value = apply(node, *[values[name] for name in node.inputs])
        for name in finished:
            del values[name]
        values[node.name] = value
        if outputs is not None:
            outputs[node.name] = value
    return values


def check_names(found: Iterable[str], weights: Mapping[str, Any]) -> None:
    """Raise ValueError unless a framework's variables are just the weights that it was given."""
    if odd := set(found) ^ weights.keys():
        raise ValueError(f"the framework's weights and the spec's differ in {', '.join(sorted(odd))}")


def batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Cut an order into consecutive batches; the last may be partial."""
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
