"""PyTorch: modules in channels-last memory, fused optimisers, eager or through torch.compile."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from frameworks.base import (
    LOSS_SCALE,
    Adapter,
    Device,
    Images,
    Labels,
    Model,
    OutputsFirst,
    Precision,
    Step,
    check_names,
    go_on,
    schedule,
    symmetric_padding,
    work_off,
)
from frameworks.torch_device import (
    allow_tf32,
    peak_memory_bytes,
    precisions,
    refused,
    scale,
    start_device,
    synchronize,
    unscale,
)
from workloads.initial import Weights
from workloads.shapes import output_shapes, padding_amounts, window_counts
from workloads.spec import (
    GELU,
    INPUT,
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

_SHORT: dict[Precision, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class FlattenChannelsLast(nn.Module):
    """(N, C, H, W) to (N, H·W·C), C running fastest: a view where memory is channels-last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class Crop(nn.Module):
    """(N, C, H, W) without its outermost rows and columns."""

    def __init__(self, layer: Crop2D, before: Shape) -> None:
        super().__init__()
        (top, bottom), (left, right) = layer.cropping
        self._rows, self._columns = slice(top, before[0] - bottom), slice(left, before[1] - right)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, self._rows, self._columns]


class GlobalAverage(nn.Module):
    """(N, C, H, W) to (N, C)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


class Sum(nn.Module):
    """All inputs added."""

    def forward(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        for other in others:
            x = x + other
        return x


class SideBySide(nn.Module):
    """All inputs, one after another along the channels of (N, C, H, W), or the last axis."""

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat(inputs, 1 if inputs[0].ndim == 4 else -1)


class Norm(nn.Module):
    """Batch normalisation with or without gamma and beta, each by itself; torch's own modules have both or none."""

    def __init__(self, layer: BatchNorm, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if layer.scale else None
        self.bias = nn.Parameter(torch.zeros(channels)) if layer.center else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self._settings = {"momentum": 1 - layer.momentum, "eps": layer.epsilon}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moving = self.running_mean, self.running_var
        return nn.functional.batch_norm(x, *moving, self.weight, self.bias, self.training, **self._settings)


class Rescale(nn.Module):
    """Each place times its constant."""

    def __init__(self, factors: NDArray[np.float64]) -> None:
        super().__init__()
        self.register_buffer("_factors", torch.from_numpy(factors))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self._factors


def _padded(layer: Any, window: Pair, before: Shape, value: float) -> tuple[Pair, list[nn.Module]]:
    """Return the padding a layer does by itself, and the module that pads before it where it cannot."""
    if padding := symmetric_padding(layer, before):
        return padding, []
    (top, bottom), (left, right) = padding_amounts((before[0], before[1]), window, layer.strides, layer.padding)
    return (0, 0), [nn.ConstantPad2d((left, right, top, bottom), value)]


class Positions(nn.Module):
    """(N, T, D) plus a table (T, D)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(torch.zeros(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.embeddings


class Recurrent(nn.Module):
    """torch's LSTM, of all places or the last one. Its second bias stays zero and is not trained."""

    def __init__(self, layer: LSTM, columns: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(columns, layer.units, batch_first=True)
        nn.init.zeros_(self.lstm.bias_hh_l0).requires_grad_(False)
        self._return_sequences = layer.return_sequences

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, (last, _) = self.lstm(x)
        return states if self._return_sequences else last[0]


class Attention(nn.Module):
    """Self-attention by torch's fused kernel, whose queries, keys and values come out of one product."""

    def __init__(self, layer: MultiHeadAttention, columns: int) -> None:
        super().__init__()
        self._heads, self._causal = layer.heads, layer.causal
        for name, outputs in (("input", 3 * columns), ("output", columns)):
            setattr(self, f"{name}_kernel", nn.Parameter(torch.zeros(outputs, columns)))
            setattr(self, f"{name}_bias", nn.Parameter(torch.zeros(outputs)) if layer.use_bias else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = nn.functional.linear(x, self.input_kernel, self.input_bias).chunk(3, -1)
        by_head = (part.unflatten(-1, (self._heads, -1)).transpose(1, 2) for part in parts)  # (N, heads, T, D / heads)
        mixed = nn.functional.scaled_dot_product_attention(*by_head, is_causal=self._causal)
        return nn.functional.linear(mixed.transpose(1, 2).flatten(2), self.output_kernel, self.output_bias)


OWNERS = Conv2D | DepthwiseConv2D | Dense | BatchNorm | Add
"""Layers whose output is memory of its own, which their gradient does not need."""


def _modules(layer: Layer, before: Shape, *, overwrites: bool) -> list[nn.Module]:
    """Return what a layer is made of, which may overwrite its input where `overwrites`; images are (N, C, H, W)."""
    match layer:
        case Conv2D(kernel_size=window):
            padding, pad = _padded(layer, window, before, 0.0)
            conv = nn.Conv2d(before[-1], layer.filters, window, layer.strides, padding, bias=layer.use_bias)
            return [*pad, conv.to(memory_format=torch.channels_last)]
        case DepthwiseConv2D(kernel_size=window, use_bias=bias):
            padding, pad = _padded(layer, window, before, 0.0)
            channels = before[-1]
            conv = nn.Conv2d(channels, channels, window, layer.strides, padding, groups=channels, bias=bias)
            return [*pad, conv.to(memory_format=torch.channels_last)]
        case MaxPool2D(pool_size=window):
            padding, pad = _padded(layer, window, before, -torch.inf)
            return [*pad, nn.MaxPool2d(window, layer.strides, padding)]
        case AveragePool2D(pool_size=window):
            padding, pad = _padded(layer, window, before, 0.0)
            pool = nn.AvgPool2d(window, layer.strides, padding, count_include_pad=False)
            if not pad:
                return [pool]
            return [*pad, pool, Rescale(window[0] * window[1] / window_counts((before[0], before[1]), layer))]
        case GlobalAveragePool2D():
            return [GlobalAverage()]
        case BatchNorm():
            return [Norm(layer, before[-1])]
        case LocalResponseNorm(beta=beta, bias=bias):
            size = 2 * layer.radius + 1
            # torch divides alpha by the size of the window.
            return [nn.LocalResponseNorm(size, layer.alpha * size, beta, bias)]
        case Dense():
            return [nn.Linear(before[-1], layer.units, bias=layer.use_bias)]
        case Embedding():
            return [nn.Embedding(layer.input_dim, layer.output_dim)]
        case PositionEmbedding():
            return [Positions(before)]
        case LSTM():
            return [Recurrent(layer, before[-1])]
        case MultiHeadAttention():
            return [Attention(layer, before[-1])]
        case LayerNorm(epsilon=epsilon):
            return [nn.LayerNorm(before[-1], eps=epsilon)]
        case GELU(form=form):
            return [nn.GELU(approximate="tanh" if form == "tanh" else "none")]
        case ReLU():
            return [nn.ReLU(inplace=overwrites)]
        case Dropout():
            return [nn.Dropout(layer.rate)]
        case Flatten():
            return [FlattenChannelsLast()]
        case Crop2D():
            return [Crop(layer, before)]
        case Add():
            return [Sum()]
        case Concatenate():
            return [SideBySide()]


_KINDS: dict[type[nn.Module], dict[str, str]] = {
    nn.Conv2d: {"weight": "kernel", "bias": "bias"},
    nn.Linear: {"weight": "kernel", "bias": "bias"},
    Norm: {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"},
    nn.LayerNorm: {"weight": "gamma", "bias": "beta"},
    nn.Embedding: {"weight": "embeddings"},
    Positions: {"embeddings": "embeddings"},
    nn.LSTM: {"weight_ih_l0": "kernel", "weight_hh_l0": "recurrent_kernel", "bias_ih_l0": "bias"},
    Attention: {name: name for name in ("input_kernel", "input_bias", "output_kernel", "output_bias")},
}
"""What a module calls its weights, and what they are called here."""


def split_inputs(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors by canonical name: an attention's kernels and biases of its inputs are three each."""
    found = {}
    for name, tensor in tensors.items():
        node, kind = name.rsplit("/", 1)
        if kind.startswith("input_"):
            parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
            found |= {f"{node}/{kind.replace('input', part)}": chunk for part, chunk in parts}
        else:
            found[name] = tensor
    return found


Values = dict[str, torch.Tensor]


class Net(nn.Module):
    """A network of the spec."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._steps = schedule(network)
        shapes = output_shapes(network)
        uses = Counter(name for node in network.nodes for name in node.inputs)
        owned = {node.name for node in network.nodes if isinstance(node.layer, OWNERS) and uses[node.name] == 1}
        self.nodes = nn.ModuleDict()
        for node in network.nodes:
            parts = _modules(node.layer, shapes[node.inputs[0]], overwrites=node.inputs[0] in owned)
            self.nodes[node.name] = parts[0] if len(parts) == 1 else nn.Sequential(*parts)

    def forward(self, images: torch.Tensor, outputs: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        """Return the output for (N, C, H, W), and put every node's into `outputs` if that is given."""
        return work_off(self._steps, images, self._node if outputs is None else self._node_on_copies, outputs)

    def _node(self, node: Node, *inputs: torch.Tensor) -> torch.Tensor:
        return self.nodes[node.name](*inputs)

    def _node_on_copies(self, node: Node, *inputs: torch.Tensor) -> torch.Tensor:
        """Leave a node's inputs as they are, which a ReLU otherwise may not."""
        return self._node(node, *[x.clone() for x in inputs])

    def parts(self) -> list[tuple[bool, Callable[[Values], Values]]]:
        """Return the net in parts, from the values that one leaves to those that the next leaves.

        Each says whether torch.compile takes it, which it does not an LSTM.
        """

        def make(steps: list[Step]) -> Callable[[Values], Values]:
            return lambda values: go_on(steps, values, self._node)

        groups = itertools.groupby(self._steps, lambda step: isinstance(step[0].layer, LSTM))
        return [(not is_lstm, make(list(steps))) for is_lstm, steps in groups]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return parameters and moving statistics by canonical name, but for what `split_inputs` splits."""
        found = {}
        for node, module in self.nodes.items():
            for part in module.modules():
                kinds = _KINDS.get(type(part), {})
                for name, tensor in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
                    if name in kinds:
                        found[f"{node}/{kinds[name]}"] = tensor
        return found


class TorchAdapter(Adapter):
    """Eager, or with the net compiled by torch.compile; mixed precision is torch.autocast's."""

    def __init__(self, *, device: Device, cores: int, compiled: bool = False) -> None:
        self._device = start_device(device, cores)
        self._compiled = compiled
        self.precisions = precisions(self._device)

    def supports(self, workload: Workload, precision: Precision) -> str | None:
        """Return what PyTorch lacks or computes wrongly."""
        return super().supports(workload, precision) or refused(workload.network, self._device)

    def build(self, workload: Workload, weights: Weights, seed: int, precision: Precision) -> Model:
        """Make the modules and copy the weights into them."""
        return TorchModel(workload, weights, seed, self._device, self._compiled, precision)


class TorchModel(Model):
    """A net, its loss and its optimiser."""

    def __init__(
        self,
        workload: Workload,
        weights: Weights,
        seed: int,
        device: torch.device,
        compiled: bool,
        precision: Precision,
    ) -> None:
        torch.manual_seed(seed)
        allow_tf32(precision == "tf32")
        # Graphs of an earlier net would count towards the number after which torch.compile gives up.
        torch.compiler.reset()
        self._device, self._dtype = device, torch.float64 if precision == "float64" else torch.float32
        self._short = _SHORT.get(precision)
        self._loss_scale = LOSS_SCALE if precision == "float16" else 1.0
        self._batch_size = workload.batch_size
        self._net = net = Net(workload.network).to(device, self._dtype)
        self._layout = OutputsFirst(workload.network)
        tensors = net.tensors()
        canonical = split_inputs(tensors)
        check_names(canonical, weights)
        with torch.no_grad():
            for name, tensor in canonical.items():
                tensor.copy_(torch.from_numpy(self._layout.pack(name, weights[name])))
        self._parameters = {name: x for name, x in tensors.items() if isinstance(x, nn.Parameter)}
        self._loss_kind, l2 = workload.loss, workload.l2
        self._l2_rate = l2.rate if l2 else 0.0
        self._decayed = {name: x for name, x in self._parameters.items() if l2 and l2.covers(name)}
        if workload.optimizer:
            free = [x for name, x in self._parameters.items() if name not in self._decayed]
            groups = [{"params": list(self._decayed.values()), "weight_decay": self._l2_rate}, {"params": free}]
            groups = [group for group in groups if group["params"]]
            self._optimizer = Optimizer(workload.optimizer, groups, self._loss_scale)
        # The loss stays out of it: compiled with the net, a small net's epoch took an eighth longer on CPU.
        self._run = _compile(net, self._dtype) if compiled else net

    def _mixing(self) -> AbstractContextManager[Any]:
        """Return what lets operations choose between the short precision and the weights', or nothing."""
        return torch.autocast(self._device.type, self._short) if self._short else nullcontext()

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the output in the weights' precision."""
        with self._mixing():
            return self._run(images).to(self._dtype)

    def _data_loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss without the L2 term, whose gradient is known: the weights times its rate."""
        logits = self._logits(images)
        match self._loss_kind:
            case "softmax-cross-entropy":
                return nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
            case "half-squared-sum":
                return 0.5 * logits.square().sum()

    def _with_l2(self, data_loss: torch.Tensor) -> torch.Tensor:
        """Return the whole loss, of which nothing can be differentiated."""
        if not self._decayed:
            return data_loss.detach()
        with torch.no_grad():
            return data_loss + 0.5 * self._l2_rate * sum_of_squares(self._decayed.values())

    def _images(self, images: torch.Tensor) -> torch.Tensor:
        """Return images as (N, C, H, W) in the net's type, and tokens as they are, on the device."""
        if images.ndim == 2:
            return images.to(self._device, non_blocking=True)
        return images.to(self._device, self._dtype, non_blocking=True).permute(0, 3, 1, 2)

    def _labels(self, labels: Labels) -> torch.Tensor:
        return torch.from_numpy(labels).long().to(self._device, non_blocking=True)

    def _set_training(self, training: bool) -> None:
        """Bring the net into a mode; going through all modules takes time, so only if it is in the other."""
        if self._net.training is not training:
            self._net.train(training)

    def _update(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Update the weights and return the loss before."""
        data_loss = self._data_loss(images, labels)
        loss = self._with_l2(data_loss)
        self._optimizer.update(data_loss)
        return loss

    def forward(self, images: Images) -> NDArray[Any]:
        self._set_training(False)
        with torch.inference_mode():
            logits = [self._logits(self._images(batch)) for batch in torch.from_numpy(images).split(self._batch_size)]
            return _canonical_output(torch.cat(logits))

    def outputs(self, images: Images) -> dict[str, NDArray[Any]]:
        self._set_training(False)
        outputs: dict[str, torch.Tensor] = {}
        with torch.inference_mode(), self._mixing():
            self._net(self._images(torch.from_numpy(images)), outputs)
        return {name: _canonical_output(output.to(self._dtype)) for name, output in outputs.items()}

    def gradients(self, images: Images, labels: Labels) -> tuple[float, Weights]:
        moving = {name: tensor.clone() for name, tensor in self._net.named_buffers()}
        loss, gradients = self.gradient_step(self._images(torch.from_numpy(images)), labels)
        self._net.load_state_dict(moving, strict=False)
        return loss, self._canonical(gradients)

    def train_batches(self, images: Images, labels: Labels, order: NDArray[np.int64]) -> float:
        self._set_training(True)
        host_images, host_labels = torch.from_numpy(images), torch.from_numpy(labels).long()
        losses, sizes = [], []
        for batch in torch.from_numpy(order).split(self._batch_size):
            labels_there = host_labels[batch].to(self._device, non_blocking=True)
            losses.append(self._update(self._images(host_images[batch]), labels_there))
            sizes.append(len(batch))
        return float(np.average(torch.stack(losses).cpu().numpy(), weights=sizes))

    def place(self, images: Images) -> torch.Tensor:
        placed = self._images(torch.tensor(images))
        self.synchronize()
        return placed

    def forward_step(self, placed: torch.Tensor) -> torch.Tensor:
        self._set_training(False)
        with torch.inference_mode():
            return self._logits(placed).cpu()

    def gradient_step(self, placed: torch.Tensor, labels: Labels) -> tuple[float, dict[str, torch.Tensor]]:
        self._set_training(True)
        data_loss = self._data_loss(placed, self._labels(labels))
        found = torch.autograd.grad(scale(data_loss, self._loss_scale), self._parameters.values())
        unscale(found, self._loss_scale)
        gradients = dict(zip(self._parameters, found, strict=True))
        for name, weight in self._decayed.items():
            gradients[name] = gradients[name].add(weight.detach(), alpha=self._l2_rate)
        loss = self._with_l2(data_loss).item()
        return loss, {name: gradient.cpu() for name, gradient in split_inputs(gradients).items()}

    def train_step(self, placed: torch.Tensor, labels: Labels) -> float:
        self._set_training(True)
        return self._update(placed, self._labels(labels)).item()

    def weights(self) -> Weights:
        return self._canonical(split_inputs(self._net.tensors()))

    def _canonical(self, tensors: dict[str, Any]) -> Weights:
        return {name: self._layout.unpack(name, tensor.detach().cpu().numpy()) for name, tensor in tensors.items()}

    def matmul(self, a: NDArray[np.float32], b: NDArray[np.float32], times: int) -> NDArray[np.float32]:
        x, y = torch.from_numpy(a).to(self._device), torch.from_numpy(b).to(self._device)
        with torch.inference_mode(), self._mixing():
            for _ in range(times):
                x = x @ y
            return x.float().cpu().numpy()

    def synchronize(self) -> None:
        synchronize(self._device)

    def peak_memory_bytes(self) -> int | None:
        return peak_memory_bytes(self._device)


def _canonical_output(output: torch.Tensor) -> NDArray[Any]:
    return (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).cpu().numpy()


def _compile(net: Net, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """Compile for one batch size at a time, LSTMs left to torch and what lies between them as one graph each.

    Float64 is for proofs alone and shows whether the captured graph is the net's: each of its operations is called as
    it is. How the graph is differentiated and what kernels are generated from it is proven in float32.
    """
    # Backends that differentiate the graph and then call its operations trip over strides of ambiguous shapes.
    backend = "inductor" if dtype is torch.float32 else "eager"
    # Parts share the code of one function, which else is compiled eight times at most, for all of them.
    compiled = partial(torch.compile, backend=backend, dynamic=False, fullgraph=True, isolate_recompiles=True)
    parts = [compiled(part) if takes else part for takes, part in net.parts()]
    if len(parts) == 1:
        return compiled(net)

    def forward(images: torch.Tensor) -> torch.Tensor:
        values = {INPUT: images}
        for part in parts:
            values = part(values)
        (output,) = values.values()
        return output

    return forward


def sum_of_squares(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the sum of all squares of tensors on one device.

    On CPU the norm of a whole tensor adds up millions of squares in few float32 accumulators: 0.5 % are lost of the
    square of AlexNet's first dense layer. There it is the sum over the slices of the first axis.
    """
    tensors = list(tensors)
    if tensors[0].is_cuda:
        return nn.utils.get_total_norm(tensors) ** 2
    norms = [torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim))).reshape(-1) for x in tensors]
    return torch.cat(norms).square().sum()


class Optimizer:
    """torch's fused optimisers, whose settings are brought to the spec's formulas before each update.

    `groups` are torch's: their weight decay, which these optimisers add to the gradient, is the L2 term's.
    """

    def __init__(self, spec: SGD | Adam, groups: list[dict[str, Any]], loss_scale: float) -> None:
        self._spec, self._loss_scale = spec, loss_scale
        self._parameters = [parameter for group in groups for parameter in group["params"]]
        self._updates = 0
        match spec:
            case SGD(learning_rate=rate, momentum=momentum):
                nesterov = spec.nesterov and momentum > 0
                self._optimizer: torch.optim.Optimizer = torch.optim.SGD(
                    groups, lr=rate, momentum=momentum, nesterov=nesterov, fused=True
                )
            case Adam():
                self._optimizer = torch.optim.Adam(
                    groups, lr=spec.learning_rate, betas=(spec.beta_1, spec.beta_2), eps=spec.epsilon, fused=True
                )

    def update(self, data_loss: torch.Tensor) -> None:
        """Differentiate the loss and update the weights.

        SGD here keeps the learning rate out of the velocity, so a change of rate is made up for in the momentum, and
        Nesterov's look-ahead, which takes the momentum as it is, is put right afterwards. Adam here is the paper's
        algorithm 1, so the other form's epsilon is divided by the bias correction.
        """
        self._optimizer.zero_grad()
        scale(data_loss, self._loss_scale).backward()
        unscale([parameter.grad for parameter in self._parameters], self._loss_scale)
        settings, ahead = self._settings()
        for group in self._optimizer.param_groups:
            group.update(settings)
        self._optimizer.step()
        self._updates += 1
        if ahead:
            with torch.no_grad():
                for parameter, state in self._optimizer.state.items():
                    parameter.add_(state["momentum_buffer"], alpha=ahead)

    def _settings(self) -> tuple[dict[str, float], float]:
        """Return the settings of an update, and how much of the velocity is to be added after it."""
        match self._spec:
            case SGD(learning_rate=base, momentum=spec_momentum, decay=decay):
                rate = base / (1 + decay * self._updates)
                momentum = spec_momentum * (1 + decay * self._updates) / (1 + decay * max(self._updates - 1, 0))
                ahead = rate * (momentum - spec_momentum) if self._spec.nesterov else 0.0
                return {"lr": rate, "momentum": momentum}, ahead
            case Adam(epsilon=epsilon, beta_2=beta_2, epsilon_form="epsilon-hat"):
                return {"eps": epsilon / (1 - beta_2 ** (self._updates + 1)) ** 0.5}, 0.0
        return {}, 0.0
