"""MXNet 1.9.1: a hybridised Gluon block that ends in the loss, and a Trainer. CPU only."""

from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn
from numpy.typing import NDArray

from frameworks.base import Adapter, Device, DeviceUnavailableError, Images, Labels, Model, as_float32, batches
from workloads.initial import Weights
from workloads.shapes import layer_shapes, padding_amounts
from workloads.spec import SGD, Adam, Conv2D, Dense, Dropout, Flatten, Layer, MaxPool2D, Network, ReLU, Shape, Workload

QUEUED_STEPS = 4
"""How far Python may run ahead of the engine; without a limit the waiting batches grow with the epoch."""


class Transpose(nn.HybridBlock):
    """Permute the axes."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self._axes = axes

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        return F.transpose(x, axes=self._axes)


class Pad(nn.HybridBlock):
    """Pad (N, C, H, W) by different amounts on each side."""

    def __init__(self, amounts: Any, value: float) -> None:
        super().__init__()
        (top, bottom), (left, right) = amounts
        self._settings = {"pad_width": (0, 0, 0, 0, top, bottom, left, right), "constant_value": value}

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        return F.pad(x, mode="constant", **self._settings)


class Loss(nn.HybridBlock):
    """The loss of each sample, (N,), so that net and loss are one graph."""

    def __init__(self, net: nn.HybridBlock) -> None:
        super().__init__()
        self.net = net

    def hybrid_forward(self, F: Any, images: Any, labels: Any) -> Any:  # noqa: N803
        return -F.pick(F.log_softmax(self.net(images), axis=-1), labels, axis=-1)


def _explicit_padding(size: Shape, layer: Any, window: Any, value: float) -> tuple[Any, list[nn.HybridBlock]]:
    """Return the symmetric padding a layer can do by itself, or 0 and the block that must pad before it."""
    amounts = padding_amounts((size[0], size[1]), window, layer.strides, layer.padding)
    (top, bottom), (left, right) = amounts
    by_itself = value == 0 or (2 * top <= window[0] and 2 * left <= window[1])
    if top == bottom and left == right and by_itself:
        return (top, left), []
    return 0, [Pad(amounts, value)]


def _blocks(layer: Layer, before: Shape) -> list[nn.HybridBlock]:
    """Return the blocks of a layer, the one that has its weights last; images are (N, C, H, W)."""
    match layer:
        case Conv2D(kernel_size=window, strides=strides):
            padding, pad = _explicit_padding(before, layer, window, 0.0)
            size = {"kernel_size": window, "strides": strides, "padding": padding}
            return [*pad, nn.Conv2D(layer.filters, in_channels=before[-1], use_bias=layer.use_bias, **size)]
        case MaxPool2D(pool_size=window, strides=strides):
            padding, pad = _explicit_padding(before, layer, window, -np.inf)
            return [*pad, nn.MaxPool2D(window, strides, padding, ceil_mode=False)]
        case Dense():
            return [nn.Dense(layer.units, in_units=before[-1], use_bias=layer.use_bias, flatten=False)]
        case ReLU():
            return [nn.Activation("relu")]
        case Dropout():
            return [nn.Dropout(layer.rate)]
        case Flatten():
            return [nn.Flatten()]


def _sequential(network: Network) -> tuple[nn.HybridSequential, dict[str, gluon.Parameter]]:
    """Return the net and its parameters by canonical name; axes are permuted only where a layer needs it."""
    shapes = layer_shapes(network)
    net, parameters, channels_first = nn.HybridSequential(), {}, False
    for name, layer in network.named_layers():
        match layer:
            case Conv2D() | MaxPool2D() if not channels_first:
                net.add(Transpose(0, 3, 1, 2))
                channels_first = True
            case Flatten() if channels_first:
                net.add(Transpose(0, 2, 3, 1))
        blocks = _blocks(layer, shapes[name][0])
        net.add(*blocks)
        match layer:
            case Conv2D() | Dense():
                parameters[f"{name}/kernel"] = blocks[-1].weight
                if layer.use_bias:
                    parameters[f"{name}/bias"] = blocks[-1].bias
    return net, parameters


class InverseTimeDecay(mx.lr_scheduler.LRScheduler):
    """rate / (1 + decay·t); MXNet counts the first update as 1."""

    def __init__(self, spec: SGD) -> None:
        super().__init__(base_lr=spec.learning_rate)
        self._decay = spec.decay

    def __call__(self, num_update: int) -> float:
        return self.base_lr / (1 + self._decay * (num_update - 1))


def _optimizer(spec: SGD | Adam) -> mx.optimizer.Optimizer:
    """Make MXNet's optimisers, whose formulas are the spec's."""
    match spec:
        case SGD():
            return mx.optimizer.SGD(momentum=spec.momentum, lr_scheduler=InverseTimeDecay(spec), wd=0.0)
        case Adam(learning_rate=rate, epsilon=epsilon):
            beta_1, beta_2 = as_float32(spec.beta_1), as_float32(spec.beta_2)
            return mx.optimizer.Adam(learning_rate=rate, beta1=beta_1, beta2=beta_2, epsilon=epsilon, wd=0.0)


_TO_MXNET = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
_TO_CANONICAL = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


class MXNetAdapter(Adapter):
    """The threads are those of OMP_NUM_THREADS, which MXNet reads when it is loaded: it has no call for them."""

    def __init__(self, *, device: Device, cores: int) -> None:
        if device == "gpu":
            raise DeviceUnavailableError("this adapter is for MXNet's CPU build")
        nd.zeros(1).wait_to_read()

    def build(self, workload: Workload, weights: Weights, seed: int) -> Model:
        """Make the blocks and copy the weights into them."""
        return MXNetModel(workload, weights, seed)


class MXNetModel(Model):
    """A hybridised net with its loss, and a Trainer."""

    def __init__(self, workload: Workload, weights: Weights, seed: int) -> None:
        mx.random.seed(seed)
        self._batch_size = workload.batch_size
        self._net, self._parameters = _sequential(workload.network)
        for name, parameter in self._parameters.items():
            parameter.initialize(mx.init.Zero(), ctx=mx.cpu())
            parameter.set_data(nd.array(weights[name].transpose(_TO_MXNET[weights[name].ndim]), dtype=np.float32))
        self._loss = Loss(self._net)
        self._loss.hybridize(static_alloc=True, static_shape=True)
        optimizer = _optimizer(workload.optimizer)
        self._trainer = gluon.Trainer(list(self._parameters.values()), optimizer, kvstore=None)

    def _losses(self, images: Images, labels: Labels) -> nd.NDArray:
        """Return the loss of each sample, with the gradient of their sum left in the parameters."""
        with autograd.record():
            losses = self._loss(nd.array(images, dtype=np.float32), nd.array(labels, dtype=np.int32))
        losses.backward()
        return losses

    def forward(self, images: Images) -> NDArray[np.float32]:
        starts = range(0, len(images), self._batch_size)
        inputs = (nd.array(images[start : start + self._batch_size], dtype=np.float32) for start in starts)
        return np.concatenate([self._net(batch).asnumpy() for batch in inputs])

    def gradients(self, images: Images, labels: Labels) -> tuple[float, Weights]:
        loss = self._losses(images, labels).asnumpy().mean()
        sums = self._canonical({name: parameter.grad() for name, parameter in self._parameters.items()})
        return float(loss), {name: gradient / np.float32(len(labels)) for name, gradient in sums.items()}

    def train_batches(self, images: Images, labels: Labels, order: NDArray[np.int64]) -> float:
        losses: list[nd.NDArray] = []
        for batch in batches(order, self._batch_size):
            losses.append(self._losses(images[batch], labels[batch]))
            self._trainer.step(len(batch))
            losses[-QUEUED_STEPS:][0].wait_to_read()
        return float(nd.concat(*losses, dim=0).asnumpy().mean(dtype=np.float64))

    def weights(self) -> Weights:
        return self._canonical({name: parameter.data() for name, parameter in self._parameters.items()})

    def _canonical(self, arrays: dict[str, nd.NDArray]) -> Weights:
        return {
            name: np.ascontiguousarray(array.asnumpy().transpose(_TO_CANONICAL[array.ndim]))
            for name, array in arrays.items()
        }

    def synchronize(self) -> None:
        nd.waitall()

    def peak_memory_bytes(self) -> int | None:
        return None
