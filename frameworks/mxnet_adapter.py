"""MXNet 1.9.1: a hybridised Gluon block that ends in the loss, and a Trainer. CPU only."""

import math
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn
from numpy.typing import NDArray

from frameworks.base import (
    Adapter,
    Device,
    DeviceUnavailableError,
    Images,
    Labels,
    Model,
    OutputsFirst,
    Precision,
    batches,
    check_names,
    rounded,
    schedule,
    symmetric_padding,
    work_off,
)
from workloads.initial import Weights
from workloads.shapes import (
    ATTENTION_PARTS,
    moving_shapes,
    output_shapes,
    padding_amounts,
    weight_shapes,
    window_counts,
)
from workloads.spec import (
    GELU,
    INPUT,
    L2,
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
    Layer,
    LayerNorm,
    LocalResponseNorm,
    MaxPool2D,
    MultiHeadAttention,
    Network,
    Node,
    Pair,
    PositionEmbedding,
    ReLU,
    Shape,
    Workload,
)

ONEDNN_BLOCK = 16
"""How many channels lie together in oneDNN's layouts, at most."""
DOT_LENGTH = 2**18
"""Longest dot product whose float32 sum is good to some 1e-6; at 2**25 it has lost 6e-4."""
QUEUED_STEPS = 4
"""How far Python may run ahead of the engine; without a limit the waiting batches grow with the epoch."""


class Pad(nn.HybridBlock):
    """Pad (N, C, H, W) by different amounts on each side."""

    def __init__(self, amounts: Any, value: float) -> None:
        super().__init__()
        (top, bottom), (left, right) = amounts
        self._settings = {"pad_width": (0, 0, 0, 0, top, bottom, left, right), "constant_value": value}

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        return F.pad(x, mode="constant", **self._settings)


class CrossEntropy(nn.HybridBlock):
    """The loss of each sample, (N,), so that net and loss are one graph; of a sequence the mean over its places."""

    def __init__(self, net: "Net") -> None:
        super().__init__()
        self.net = net

    def hybrid_forward(self, F: Any, images: Any, labels: Any) -> Any:  # noqa: N803
        losses = -F.pick(F.log_softmax(self.net(images), axis=-1), labels, axis=-1)
        return F.mean(losses, axis=1) if self.net.ends_in_sequences else losses


class HalfSquaredSum(nn.HybridBlock):
    """The loss of the whole batch, given for each sample, (N,): like that of `CrossEntropy`, its mean is the loss."""

    def __init__(self, net: "Net") -> None:
        super().__init__()
        self.net = net

    def hybrid_forward(self, F: Any, images: Any, labels: Any) -> Any:  # noqa: N803
        # Labels may be (N, T).
        return F.broadcast_like(0.5 * F.sum(F.square(self.net(images))), labels, lhs_axes=(0,), rhs_axes=(0,))


_LOSSES = {"softmax-cross-entropy": CrossEntropy, "half-squared-sum": HalfSquaredSum}


class Rescale(nn.HybridBlock):
    """Each place of (N, C, H, W) times its constant."""

    def __init__(self, factors: NDArray[np.float64]) -> None:
        super().__init__()
        with self.name_scope():
            self.factors = self.params.get_constant("factors", factors[None, None].astype(np.float32))

    def hybrid_forward(self, F: Any, x: Any, factors: Any) -> Any:  # noqa: N803
        return F.broadcast_mul(x, factors)


class Crop(nn.HybridBlock):
    """(N, C, H, W) without its outermost rows and columns."""

    def __init__(self, layer: Crop2D, before: Shape) -> None:
        super().__init__()
        (top, bottom), (left, right) = layer.cropping
        ends = (None, None, before[0] - bottom, before[1] - right)
        self._settings = {"begin": (None, None, top, left), "end": ends}

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        return F.slice(x, **self._settings)


class GlobalAverage(nn.HybridBlock):
    """(N, C, H, W) to (N, C)."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        return F.mean(x, axis=(2, 3))


def _unblocked(F: Any, x: Any) -> Any:  # noqa: N803
    """Return (N, C, H, W) as it is, with its gradient not in blocks of channels: a slice takes oneDNN's layouts off."""
    return F.slice_axis(x, axis=1, begin=0, end=None)


class ResponseNorm(nn.HybridBlock):
    """MXNet divides alpha by the size of the window."""

    def __init__(self, layer: LocalResponseNorm) -> None:
        super().__init__()
        size = 2 * layer.radius + 1
        self._settings = {"nsize": size, "alpha": layer.alpha * size, "beta": layer.beta, "knorm": layer.bias}

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        # In oneDNN's own layouts its gradient is wrong where a max pool is right behind it.
        return _unblocked(F, F.LRN(x, **self._settings))


class Positions(nn.HybridBlock):
    """(N, T, D) plus a table (T, D)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        with self.name_scope():
            self.embeddings = self.params.get("embeddings", shape=shape)

    def hybrid_forward(self, F: Any, x: Any, embeddings: Any) -> Any:  # noqa: N803
        return F.broadcast_add(x, F.expand_dims(embeddings, axis=0))


class Recurrent(nn.HybridBlock):
    """MXNet's fused LSTM, of all places or the last one. Its second bias stays zero and is not trained."""

    def __init__(self, layer: LSTM, columns: int) -> None:
        super().__init__()
        self._units, self._return_sequences = layer.units, layer.return_sequences
        with self.name_scope():
            self.lstm = gluon.rnn.LSTM(layer.units, layout="NTC", input_size=columns, h2h_bias_initializer="zeros")
        self.lstm.l0_h2h_bias.grad_req = "null"

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        states = self.lstm(x)
        if self._return_sequences:
            return states
        # The gradient of SequenceLast is wrong along this axis, and may end the process.
        return F.reshape(F.slice_axis(states, axis=1, begin=-1, end=None), shape=(-1, self._units))


class Attention(nn.HybridBlock):
    """Self-attention, of which the heads are (N · heads, T, K)."""

    def __init__(self, layer: MultiHeadAttention, before: Shape) -> None:
        super().__init__()
        places, columns = before
        self._heads, self._scale = layer.heads, 1 / math.sqrt(columns / layer.heads)
        with self.name_scope():
            for part in ATTENTION_PARTS:
                setattr(self, part, nn.Dense(columns, in_units=columns, use_bias=layer.use_bias, flatten=False))
            if layer.causal:
                mask = np.where(np.tri(places, dtype=bool), 0.0, -np.inf)[None]
                self.mask = self.params.get_constant("mask", mask.astype(np.float32))

    def hybrid_forward(self, F: Any, x: Any, mask: Any = None) -> Any:  # noqa: N803
        queries, keys, values = (self._by_head(F, part(x)) for part in (self.query, self.key, self.value))
        scores = F.batch_dot(queries * self._scale, keys, transpose_b=True)
        shares = F.softmax(scores if mask is None else F.broadcast_add(scores, mask), axis=-1)
        mixed = F.reshape(F.batch_dot(shares, values), shape=(-4, -1, self._heads, 0, 0))
        return self.output(F.reshape(F.transpose(mixed, axes=(0, 2, 1, 3)), shape=(0, 0, -3)))

    def _by_head(self, F: Any, x: Any) -> Any:  # noqa: N803
        parts = F.transpose(F.reshape(x, shape=(0, 0, self._heads, -1)), axes=(0, 2, 1, 3))
        return F.reshape(parts, shape=(-3, 0, 0))


class TanhGELU(nn.HybridBlock):
    """The approximation of GELU by tanh, which MXNet's own has not."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        return 0.5 * x * (1 + F.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * F.square(x))))


class Sum(nn.HybridBlock):
    """All inputs added."""

    def hybrid_forward(self, F: Any, *inputs: Any) -> Any:  # noqa: N803
        return F.add_n(*inputs)


class SideBySide(nn.HybridBlock):
    """All inputs, one after another along the channels of (N, C, H, W), or the last axis."""

    def __init__(self, *shapes: Shape) -> None:
        super().__init__()
        self._axis = 2 if len(shapes[0]) == 2 else 1
        self._splits_blocks = self._axis == 1 and any(shape[-1] % ONEDNN_BLOCK for shape in shapes)

    def hybrid_forward(self, F: Any, *inputs: Any) -> Any:  # noqa: N803
        joined = F.concat(*inputs, dim=self._axis)
        # oneDNN cannot cut a gradient within a block of channels.
        return _unblocked(F, joined) if self._splits_blocks else joined


def _padded(layer: Any, window: Pair, before: Shape, value: float) -> tuple[Pair, list[nn.HybridBlock]]:
    """Return the padding a layer does by itself, and the block that pads before it where it cannot."""
    if padding := symmetric_padding(layer, before):
        return padding, []
    return (0, 0), [Pad(padding_amounts((before[0], before[1]), window, layer.strides, layer.padding), value)]


def _blocks(layer: Layer, before: Shape, *others: Shape) -> list[nn.HybridBlock]:
    """Return the blocks of a layer, given the shapes of its inputs; images are (N, C, H, W)."""
    match layer:
        case Conv2D(kernel_size=window, strides=strides):
            padding, pad = _padded(layer, window, before, 0.0)
            size = {"kernel_size": window, "strides": strides, "padding": padding}
            return [*pad, nn.Conv2D(layer.filters, in_channels=before[-1], use_bias=layer.use_bias, **size)]
        case DepthwiseConv2D(kernel_size=window, strides=strides, use_bias=bias):
            padding, pad = _padded(layer, window, before, 0.0)
            size = {"kernel_size": window, "strides": strides, "padding": padding, "groups": before[-1]}
            return [*pad, nn.Conv2D(before[-1], in_channels=before[-1], use_bias=bias, **size)]
        case MaxPool2D(pool_size=window, strides=strides):
            padding, pad = _padded(layer, window, before, -np.inf)
            return [*pad, nn.MaxPool2D(window, strides, padding, ceil_mode=False)]
        case AveragePool2D(pool_size=window, strides=strides):
            padding, pad = _padded(layer, window, before, 0.0)
            pool = nn.AvgPool2D(window, strides, padding, ceil_mode=False, count_include_pad=False)
            if not pad:
                return [pool]
            return [*pad, pool, Rescale(window[0] * window[1] / window_counts((before[0], before[1]), layer))]
        case GlobalAveragePool2D():
            return [GlobalAverage()]
        case BatchNorm(momentum=momentum, epsilon=epsilon, center=center, scale=scale):
            # MXNet moves the statistics in the backward pass, which needs something to differentiate: where there is
            # nothing else, a beta that is never trained.
            return [nn.BatchNorm(1, momentum, epsilon, center or not scale, scale, in_channels=before[-1])]
        case LocalResponseNorm():
            return [ResponseNorm(layer)]
        case Dense():
            return [nn.Dense(layer.units, in_units=before[-1], use_bias=layer.use_bias, flatten=False)]
        case Embedding():
            return [nn.Embedding(layer.input_dim, layer.output_dim)]
        case PositionEmbedding():
            return [Positions(before)]
        case LSTM():
            return [Recurrent(layer, before[-1])]
        case MultiHeadAttention():
            return [Attention(layer, before)]
        case LayerNorm(epsilon=epsilon):
            return [nn.LayerNorm(epsilon=epsilon, in_channels=before[-1])]
        case GELU(form="erf"):
            return [nn.GELU()]
        case GELU():
            return [TanhGELU()]
        case ReLU():
            return [nn.Activation("relu")]
        case Dropout():
            return [nn.Dropout(layer.rate)]
        case Flatten():
            return [nn.Flatten()]
        case Crop2D():
            return [Crop(layer, before)]
        case Add():
            return [Sum()]
        case Concatenate():
            return [SideBySide(before, *others)]


def _weights(block: nn.HybridBlock) -> dict[str, gluon.Parameter | None]:
    """Return a block's weights by kind, None for a bias that it does not have."""
    match block:
        case nn.Conv2D() | nn.Dense():
            return {"kernel": block.weight, "bias": block.bias}
        case nn.BatchNorm(gamma=gamma, beta=beta):
            moving = {"moving_mean": block.running_mean, "moving_variance": block.running_var}
            return {"gamma": gamma, "beta": beta, **moving}
        case nn.LayerNorm(gamma=gamma, beta=beta):
            return {"gamma": gamma, "beta": beta}
        case nn.Embedding(weight=table) | Positions(embeddings=table):
            return {"embeddings": table}
        case Recurrent(lstm=lstm):
            weights = {"kernel": lstm.l0_i2h_weight, "recurrent_kernel": lstm.l0_h2h_weight}
            return {**weights, "bias": lstm.l0_i2h_bias}
        case Attention():
            parts = ((part, _weights(getattr(block, part))) for part in ATTENTION_PARTS)
            return {f"{part}_{kind}": weight for part, weights in parts for kind, weight in weights.items()}
    return {}


class Net(nn.HybridBlock):
    """A network of the spec on images (N, H, W, C) or tokens (N, T); its parameters by canonical name."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._steps = schedule(network)
        self._blocks: dict[str, list[nn.HybridBlock]] = {}
        self.canonical: dict[str, gluon.Parameter] = {}
        shapes = self._shapes = output_shapes(network)
        self.ends_in_sequences = len(shapes[network.nodes[-1].name]) == 2
        named = {**weight_shapes(network), **moving_shapes(network)}
        for node in network.nodes:
            self._blocks[node.name] = _blocks(node.layer, *[shapes[name] for name in node.inputs])
            for block in self._blocks[node.name]:
                self.register_child(block)
                for kind, parameter in _weights(block).items():
                    name = f"{node.name}/{kind}"
                    # A batch norm always has gamma and beta; those that the spec does not have stay 1 and 0.
                    if parameter is not None and (name in named or kind not in ("gamma", "beta")):
                        self.canonical[name] = parameter

    def hybrid_forward(self, F: Any, images: Any) -> Any:  # noqa: N803
        return self.run(F, images)

    def run(self, F: Any, images: Any, outputs: dict[str, Any] | None = None) -> Any:  # noqa: N803
        """Return the last node's output, and put every node's into `outputs` if that is given."""

        def apply(node: Node, *inputs: Any) -> Any:
            flattens = isinstance(node.layer, Flatten)
            # The images are channels-last, what comes of them channels-first; flattening takes the channels first.
            values = [
                x if len(self._shapes[name]) != 3
                else F.transpose(x, axes=(0, 3, 1, 2)) if name == INPUT and not flattens
                else F.transpose(x, axes=(0, 2, 3, 1)) if name != INPUT and flattens
                else x
                for name, x in zip(node.inputs, inputs, strict=True)
            ]  # fmt: skip
            first, *others = self._blocks[node.name]
            value = first(*values)
            for block in others:
                value = block(value)
            return value

        return work_off(self._steps, images, apply, outputs)


class InverseTimeDecay(mx.lr_scheduler.LRScheduler):
    """rate / (1 + decay·t); MXNet counts the first update as 1."""

    def __init__(self, spec: SGD) -> None:
        super().__init__(base_lr=spec.learning_rate)
        self._decay = spec.decay

    def __call__(self, num_update: int) -> float:
        return self.base_lr / (1 + self._decay * (num_update - 1))


def _optimizer(spec: SGD | Adam, l2: L2 | None) -> mx.optimizer.Optimizer:
    """Make MXNet's optimisers, whose formulas are the spec's: weight decay is added to the gradient.

    Not by NAG, which decays by the weight after the update where it should by the one before: it is given none.
    """
    decay = l2.rate if l2 else 0.0
    match spec:
        case SGD(momentum=momentum, nesterov=True):
            return mx.optimizer.NAG(momentum=momentum, lr_scheduler=InverseTimeDecay(spec), wd=0.0)
        case SGD(momentum=momentum):
            return mx.optimizer.SGD(momentum=momentum, lr_scheduler=InverseTimeDecay(spec), wd=decay)
        case Adam(learning_rate=rate, epsilon=epsilon):
            beta_1, beta_2 = rounded(spec.beta_1, "float32"), rounded(spec.beta_2, "float32")
            return mx.optimizer.Adam(learning_rate=rate, beta1=beta_1, beta2=beta_2, epsilon=epsilon, wd=decay)


class MXNetAdapter(Adapter):
    """The threads are those of OMP_NUM_THREADS, which MXNet reads when it is loaded: it has no call for them."""

    differences = ("biased moving variance",)

    def __init__(self, *, device: Device, cores: int) -> None:
        if device == "gpu":
            raise DeviceUnavailableError("this adapter is for MXNet's CPU build")
        nd.zeros(1).wait_to_read()

    def build(self, workload: Workload, weights: Weights, seed: int, precision: Precision) -> Model:
        """Make the blocks and copy the weights into them."""
        return MXNetModel(workload, weights, seed)


def _images(images: Images) -> nd.NDArray:
    return nd.array(images, dtype=images.dtype)


def _labels(labels: Labels) -> nd.NDArray:
    return nd.array(labels, dtype=np.int32)


class MXNetModel(Model):
    """A hybridised net with its loss, and a Trainer."""

    def __init__(self, workload: Workload, weights: Weights, seed: int) -> None:
        mx.random.seed(seed)
        self._batch_size = workload.batch_size
        self._spec, self._l2 = workload.optimizer, workload.l2
        self._net = Net(workload.network)
        self._net.initialize(mx.init.Zero(), ctx=mx.cpu())
        self._parameters = self._net.canonical
        check_names(self._parameters, weights)
        self._layout = OutputsFirst(workload.network)
        for name, parameter in self._parameters.items():
            parameter.set_data(nd.array(self._layout.pack(name, weights[name]), dtype=np.float32))
            parameter.wd_mult = float(self._is_decayed(name))
        self._loss = _LOSSES[workload.loss](self._net)
        self._loss.hybridize(static_alloc=True, static_shape=True)
        self._trainable = {name: self._parameters[name] for name in weight_shapes(workload.network)}
        if self._spec:
            self._optimizer = _optimizer(self._spec, self._l2)
            self._trainer = gluon.Trainer(list(self._trainable.values()), self._optimizer, kvstore=None)
        self._updates = 0

    def _is_decayed(self, name: str) -> bool:
        return self._l2 is not None and self._l2.covers(name)

    def _losses(self, images: nd.NDArray, labels: nd.NDArray) -> nd.NDArray:
        """Return the loss of each sample, with the gradient of their sum left in the parameters.

        The L2 term is in the losses and not in the gradients: to those the optimiser adds it.
        """
        decayed = [self._trainable[name].data().reshape(-1) for name in filter(self._is_decayed, self._trainable)]
        with autograd.record():
            losses = self._loss(images, labels)
        losses.backward()
        if decayed:
            # A dot product is BLAS's; a square and a sum took forty times as long. Of a long one float32 loses digits.
            parts = [x[first : first + DOT_LENGTH] for x in decayed for first in range(0, x.size, DOT_LENGTH)]
            losses = losses + 0.5 * self._l2.rate * nd.add_n(*[nd.dot(part, part) for part in parts])
        return losses

    def _update(self, samples: int) -> None:
        """Update the weights by the gradients that the parameters hold, which are sums over so many samples."""
        self._updates += 1
        match self._spec:
            case SGD(nesterov=True) if self._l2:
                for name in filter(self._is_decayed, self._trainable):
                    parameter = self._trainable[name]
                    parameter.grad()[:] += samples * self._l2.rate * parameter.data()
            case Adam(epsilon=epsilon, beta_2=beta_2, epsilon_form="algorithm-1"):
                # MXNet's epsilon is the paper's "epsilon hat".
                self._optimizer.epsilon = epsilon * (1 - rounded(beta_2, "float32") ** self._updates) ** 0.5
        self._trainer.step(samples)

    def forward(self, images: Images) -> NDArray[np.float32]:
        starts = range(0, len(images), self._batch_size)
        inputs = (_images(images[start : start + self._batch_size]) for start in starts)
        return np.concatenate([_canonical_output(self._net(batch)) for batch in inputs])

    def outputs(self, images: Images) -> dict[str, NDArray[Any]]:
        outputs: dict[str, nd.NDArray] = {}
        self._net.run(nd, _images(images), outputs)
        return {name: _canonical_output(output) for name, output in outputs.items()}

    def gradients(self, images: Images, labels: Labels) -> tuple[float, Weights]:
        moving = {name: x.data().copy() for name, x in self._parameters.items() if name not in self._trainable}
        loss, gradients = self.gradient_step(_images(images), labels)
        for name, before in moving.items():
            self._parameters[name].set_data(before)
        return loss, self._canonical(gradients)

    def train_batches(self, images: Images, labels: Labels, order: NDArray[np.int64]) -> float:
        losses: list[nd.NDArray] = []
        for batch in batches(order, self._batch_size):
            losses.append(self._losses(_images(images[batch]), _labels(labels[batch])))
            self._update(len(batch))
            losses[-QUEUED_STEPS:][0].wait_to_read()
        return float(nd.concat(*losses, dim=0).asnumpy().mean(dtype=np.float64))

    def place(self, images: Images) -> nd.NDArray:
        placed = _images(images)
        placed.wait_to_read()
        return placed

    def forward_step(self, placed: nd.NDArray) -> NDArray[np.float32]:
        return self._net(placed).asnumpy()

    def gradient_step(self, placed: nd.NDArray, labels: Labels) -> tuple[float, dict[str, NDArray[np.float32]]]:
        losses = self._losses(placed, _labels(labels))
        gradients = {
            name: parameter.grad() / len(labels) + (self._l2.rate * parameter.data() if self._is_decayed(name) else 0)
            for name, parameter in self._trainable.items()
        }
        return float(losses.asnumpy().mean()), {name: gradient.asnumpy() for name, gradient in gradients.items()}

    def train_step(self, placed: nd.NDArray, labels: Labels) -> float:
        losses = self._losses(placed, _labels(labels))
        self._update(len(labels))
        return float(losses.asnumpy().mean(dtype=np.float64))

    def weights(self) -> Weights:
        return self._canonical({name: parameter.data().asnumpy() for name, parameter in self._parameters.items()})

    def _canonical(self, arrays: dict[str, NDArray[np.float32]]) -> Weights:
        return {name: self._layout.unpack(name, array) for name, array in arrays.items()}

    def matmul(self, a: NDArray[np.float32], b: NDArray[np.float32], times: int) -> NDArray[np.float32]:
        x, y = nd.array(a, dtype=np.float32), nd.array(b, dtype=np.float32)
        for _ in range(times):
            x = nd.dot(x, y)
        return x.asnumpy()

    def synchronize(self) -> None:
        nd.waitall()

    def peak_memory_bytes(self) -> int | None:
        return None


def _canonical_output(output: nd.NDArray) -> NDArray[np.float32]:
    array = output.asnumpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
