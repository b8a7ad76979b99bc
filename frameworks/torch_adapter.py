"""PyTorch: modules in channels-last memory, fused optimisers, eager or through torch.compile."""

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from frameworks.base import Adapter, Device, Images, Labels, Model
from frameworks.torch_device import peak_memory_bytes, start_device, synchronize
from workloads.initial import Weights
from workloads.shapes import layer_shapes, padding_amounts
from workloads.spec import SGD, Adam, Conv2D, Dense, Dropout, Flatten, Layer, MaxPool2D, Network, ReLU, Shape, Workload


class FlattenChannelsLast(nn.Module):
    """(N, C, H, W) to (N, H·W·C), C running fastest: a view where memory is channels-last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def _explicit_padding(
    size: Shape, window: Any, strides: Any, padding: Any, value: float
) -> tuple[Any, list[nn.Module]]:
    """Return the symmetric padding a layer can do by itself, or 0 and the module that must pad before it."""
    (top, bottom), (left, right) = padding_amounts((size[0], size[1]), window, strides, padding)
    by_itself = value == 0 or (2 * top <= window[0] and 2 * left <= window[1])
    if top == bottom and left == right and by_itself:
        return (top, left), []
    return 0, [nn.ConstantPad2d((left, right, top, bottom), value)]


def _modules(layer: Layer, before: Shape, after: Shape) -> list[nn.Module]:
    match layer:
        case Conv2D(kernel_size=window, strides=strides):
            padding, pad = _explicit_padding(before, window, strides, layer.padding, 0.0)
            conv = nn.Conv2d(before[-1], layer.filters, window, strides, padding, bias=layer.use_bias)
            return [*pad, conv.to(memory_format=torch.channels_last)]
        case MaxPool2D(pool_size=window, strides=strides):
            padding, pad = _explicit_padding(before, window, strides, layer.padding, -torch.inf)
            return [*pad, nn.MaxPool2d(window, strides, padding)]
        case Dense():
            return [nn.Linear(before[-1], layer.units, bias=layer.use_bias)]
        case ReLU():
            return [nn.ReLU()]
        case Dropout():
            return [nn.Dropout(layer.rate)]
        case Flatten():
            return [FlattenChannelsLast()]


def _sequential(network: Network) -> nn.Sequential:
    shapes = layer_shapes(network)
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in network.named_layers():
        *padding, module = _modules(layer, *shapes[name])
        for pad in padding:
            modules[f"{name}_padding"] = pad
        modules[name] = module
    return nn.Sequential(modules)


_TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
_TO_CANONICAL = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


class TorchAdapter(Adapter):
    """Eager, or with the loss compiled by torch.compile."""

    def __init__(self, *, device: Device, cores: int, compiled: bool = False) -> None:
        self._device = start_device(device, cores)
        self._compiled = compiled

    def build(self, workload: Workload, weights: Weights, seed: int) -> Model:
        """Make the modules and copy the weights into them."""
        return TorchModel(workload, weights, seed, self._device, self._compiled)


class TorchModel(Model):
    """A Sequential, its loss and its optimiser."""

    def __init__(self, workload: Workload, weights: Weights, seed: int, device: torch.device, compiled: bool) -> None:
        torch.manual_seed(seed)
        # Graphs of an earlier net would count towards the number after which torch.compile gives up.
        torch.compiler.reset()
        self._device = device
        self._batch_size = workload.batch_size
        net = _sequential(workload.network)
        parameters = {
            name.replace(".weight", "/kernel").replace(".bias", "/bias"): p for name, p in net.named_parameters()
        }
        self._parameters = {name: parameters[name] for name in weights}
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(torch.from_numpy(weights[name].transpose(_TO_TORCH[weights[name].ndim])))
        self._net = net.to(device)
        self._optimizer = Optimizer(workload.optimizer, list(self._parameters.values()))

        def loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(net(images), labels)

        self._loss = torch.compile(loss, dynamic=False, fullgraph=True) if compiled else loss
        self._logits = torch.compile(net, dynamic=False, fullgraph=True) if compiled else net

    def _images(self, images: torch.Tensor) -> torch.Tensor:
        return images.to(self._device, non_blocking=True).permute(0, 3, 1, 2)

    def forward(self, images: Images) -> NDArray[np.float32]:
        self._net.eval()
        with torch.inference_mode():
            logits = [self._logits(self._images(batch)) for batch in torch.from_numpy(images).split(self._batch_size)]
            return torch.cat(logits).cpu().numpy()

    def gradients(self, images: Images, labels: Labels) -> tuple[float, Weights]:
        self._net.train()
        loss = self._loss(self._images(torch.from_numpy(images)), torch.from_numpy(labels).long().to(self._device))
        gradients = torch.autograd.grad(loss, list(self._parameters.values()))
        return loss.item(), self._canonical(dict(zip(self._parameters, gradients, strict=True)))

    def train_batches(self, images: Images, labels: Labels, order: NDArray[np.int64]) -> float:
        self._net.train()
        host_images, host_labels = torch.from_numpy(images), torch.from_numpy(labels).long()
        losses, sizes = [], []
        for batch in torch.from_numpy(order).split(self._batch_size):
            loss = self._loss(self._images(host_images[batch]), host_labels[batch].to(self._device, non_blocking=True))
            self._optimizer.update(loss)
            losses.append(loss.detach())
            sizes.append(len(batch))
        return float(np.average(torch.stack(losses).cpu().numpy(), weights=sizes))

    def weights(self) -> Weights:
        return self._canonical(self._parameters)

    def _canonical(self, tensors: dict[str, Any]) -> Weights:
        return {
            name: np.array(tensor.detach().cpu().numpy().transpose(_TO_CANONICAL[tensor.ndim]), order="C")
            for name, tensor in tensors.items()
        }

    def synchronize(self) -> None:
        synchronize(self._device)

    def peak_memory_bytes(self) -> int | None:
        return peak_memory_bytes(self._device)


class Optimizer:
    """torch's fused optimisers, whose settings are brought to the spec's formulas before each update."""

    def __init__(self, spec: SGD | Adam, parameters: list[nn.Parameter]) -> None:
        self._spec = spec
        self._updates = 0
        match spec:
            case SGD():
                self._optimizer: torch.optim.Optimizer = torch.optim.SGD(
                    parameters, lr=spec.learning_rate, momentum=spec.momentum, fused=True
                )
            case Adam():
                self._optimizer = torch.optim.Adam(
                    parameters, lr=spec.learning_rate, betas=(spec.beta_1, spec.beta_2), eps=spec.epsilon, fused=True
                )

    def update(self, loss: torch.Tensor) -> None:
        """Differentiate the loss and update the weights.

        SGD here keeps the learning rate out of the velocity, so a change of rate is made up for in the momentum. Adam
        here adds epsilon after the bias correction, so epsilon is divided by it.
        """
        self._optimizer.zero_grad()
        loss.backward()
        (group,) = self._optimizer.param_groups
        match self._spec:
            case SGD(learning_rate=rate, momentum=momentum, decay=decay):
                group["lr"] = rate / (1 + decay * self._updates)
                group["momentum"] = momentum * (1 + decay * self._updates) / (1 + decay * max(self._updates - 1, 0))
            case Adam(epsilon=epsilon, beta_2=beta_2):
                group["eps"] = epsilon / (1 - beta_2 ** (self._updates + 1)) ** 0.5
        self._optimizer.step()
        self._updates += 1
