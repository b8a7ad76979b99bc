"""MXNet: hybridised Gluon blocks in channels-first layout, one Trainer."""

from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon
from mxnet.gluon import nn
from numpy.typing import NDArray

from frameworks.base import Adapter, Device, DeviceUnavailableError, Images, Labels, Model, batches
from workloads.initial import Weights
from workloads.shapes import layer_shapes, padding_amounts
from workloads.spec import SGD, Adam, Conv2D, Dense, Dropout, Flatten, Layer, MaxPool2D, Network, ReLU, Shape, Workload


def _transpose(*axes: int) -> nn.HybridLambda:
    return nn.HybridLambda(lambda F, x: F.transpose(x, axes))


def _explicit_padding(size: Shape, window: Any, strides: Any, padding: Any, value: float) -> tuple[Any, list[Any]]:
    """Return the symmetric padding a block can do by itself, or 0 and the block that must pad before it."""
    (top, bottom), (left, right) = padding_amounts((size[0], size[1]), window, strides, padding)
    if top == bottom and left == right:
        return (top, left), []
    amounts = (0, 0, 0, 0, top, bottom, left, right)
    return (0, 0), [nn.HybridLambda(lambda F, x: F.pad(x, mode="constant", pad_width=amounts, constant_value=value))]


def _blocks(layer: Layer, before: Shape) -> list[Any]:
    match layer:
        case Conv2D(kernel_size=window, strides=strides):
            padding, pad = _explicit_padding(before, window, strides, layer.padding, 0.0)
            return [
                *pad,
                nn.Conv2D(
                    layer.filters, window, strides, padding, in_channels=before[-1], use_bias=layer.use_bias
                ),
            ]
        case MaxPool2D(pool_size=window, strides=strides):
            padding, pad = _explicit_padding(before, window, strides, layer.padding, -np.inf)
            return [*pad, nn.MaxPool2D(window, strides, padding, ceil_mode=False)]
        case Dense():
            return [nn.Dense(layer.units, use_bias=layer.use_bias, flatten=False, in_units=before[-1])]
        case ReLU():
            return [nn.Activation("relu")]
        case Dropout():
            return [nn.Dropout(layer.rate)]
        case Flatten():
            return [_transpose(0, 2, 3, 1), nn.Flatten()]


def _sequential(network: Network) -> tuple[nn.HybridSequential, dict[str, gluon.Parameter]]:
    """Return the net, which takes images (N, H, W, C), and its parameters by the spec's names."""
    shapes = layer_shapes(network)
    net = nn.HybridSequential()
    net.add(_transpose(0, 3, 1, 2))
    parameters = {}
    for name, layer in network.named_layers():
        blocks = _blocks(layer, shapes[name][0])
        net.add(*blocks)
        if isinstance(layer, Conv2D | Dense):
            parameters[f"{name}/kernel"] = blocks[-1].weight
            if layer.use_bias:
                parameters[f"{name}/bias"] = blocks[-1].bias
    return net, parameters


_TO_MXNET = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
_TO_CANONICAL = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


class InverseTimeDecay(mx.lr_scheduler.LRScheduler):  # type: ignore[misc]
    """The spec's decay; MXNet counts the first update as 1."""

    def __init__(self, learning_rate: float, decay: float) -> None:
        super().__init__(learning_rate)
        self._decay = decay

    def __call__(self, num_update: int) -> float:
        return float(self.base_lr / (1 + self._decay * (num_update - 1)))


def _optimizer(spec: SGD | Adam) -> Any:
    match spec:
        case SGD(learning_rate=rate, momentum=momentum, decay=decay):
            schedule = InverseTimeDecay(rate, decay)
            return mx.optimizer.SGD(learning_rate=rate, momentum=momentum, wd=0.0, lr_scheduler=schedule)
        case Adam(learning_rate=rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon):
            return mx.optimizer.Adam(learning_rate=rate, beta1=beta_1, beta2=beta_2, epsilon=epsilon, wd=0.0)


class MXNetAdapter(Adapter):
    """MXNet with oneDNN; its threads are set by OMP_NUM_THREADS before it is imported."""

    def __init__(self, *, device: Device, cores: int) -> None:
        if device == "gpu":
            raise DeviceUnavailableError("MXNet is installed in its CPU build")
        self._context = mx.cpu()
        mx.nd.zeros(1, self._context).wait_to_read()

    def build(self, workload: Workload, weights: Weights, seed: int) -> Model:
        """Make the blocks and set their parameters."""
        return MXNetModel(workload, weights, seed, self._context)


class MXNetModel(Model):
    """A hybridised net, its loss and its Trainer."""

    def __init__(self, workload: Workload, weights: Weights, seed: int, context: mx.Context) -> None:
        mx.random.seed(seed)
        self._batch_size = workload.batch_size
        self._net, parameters = _sequential(workload.network)
        self._parameters = {name: parameters[name] for name in weights}
        self._net.initialize(mx.init.Zero(), context)
        for name, parameter in self._parameters.items():
            parameter.set_data(mx.nd.array(weights[name].transpose(_TO_MXNET[weights[name].ndim]), context))
        self._net.hybridize(static_alloc=True, static_shape=True)
        self._loss = gluon.loss.SoftmaxCrossEntropyLoss()
        self._loss.hybridize(static_alloc=True, static_shape=True)
        self._trainer = gluon.Trainer(self._net.collect_params(), _optimizer(workload.optimizer), kvstore=None)

    def _differentiate(self, images: Images, labels: Labels) -> Any:
        """Return each sample's loss (N,); gradients of their sum are left in the parameters."""
        with autograd.record():
            losses = self._loss(self._net(mx.nd.from_numpy(images)), mx.nd.from_numpy(labels))
        losses.backward()
        return losses

    def forward(self, images: Images) -> NDArray[np.float32]:
        parts = np.split(images, range(self._batch_size, len(images), self._batch_size))
        logits = [self._net(mx.nd.array(part)) for part in parts]
        return np.concatenate([part.asnumpy() for part in logits])

    def gradients(self, images: Images, labels: Labels) -> tuple[float, Weights]:
        losses = self._differentiate(images.copy(), labels.copy())
        gradients = {name: parameter.grad() / len(labels) for name, parameter in self._parameters.items()}
        return float(losses.mean().asscalar()), self._canonical(gradients)

    def train_batches(self, images: Images, labels: Labels, order: NDArray[np.int64]) -> float:
        sums = []
        for batch in batches(order, self._batch_size):
            losses = self._differentiate(images[batch], labels[batch])
            self._trainer.step(len(batch))
            sums.append(losses.sum())
        return float(mx.nd.concat(*sums, dim=0).sum().asscalar() / len(order))

    def weights(self) -> Weights:
        return self._canonical({name: parameter.data() for name, parameter in self._parameters.items()})

    def _canonical(self, arrays: dict[str, Any]) -> Weights:
        return {
            name: np.ascontiguousarray(array.asnumpy().transpose(_TO_CANONICAL[array.ndim]))
            for name, array in arrays.items()
        }

    def synchronize(self) -> None:
        mx.nd.waitall()

    def peak_memory_bytes(self) -> int | None:
        return None
