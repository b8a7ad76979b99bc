"""Mistakes that have been made, planted one by one into the PyTorch adapter: what the proof says of each.

Run in PyTorch's environment by tests/test_mutants.py: `python -m tests.mutants` writes one JSON line a mutant. Most are
another spec handed to the adapter behind the proof's back; the rest replace a piece of the adapter.
"""

import contextlib
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from frameworks import proof, torch_adapter
from frameworks.base import LOSS_SCALE, Model, OutputsFirst, Precision
from frameworks.proof import level_reached, prove
from frameworks.torch_adapter import Attention, Norm, Recurrent, TorchAdapter, TorchModel
from workloads import make_workload
from workloads.initial import Weights, initial_weights
from workloads.keras_form import KERAS_ADAM, conv, dense
from workloads.spec import (
    GELU,
    INPUT,
    L2,
    LSTM,
    SGD,
    Add,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Crop2D,
    DepthwiseConv2D,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool2D,
    GlorotUniform,
    Graph,
    Layer,
    LayerNorm,
    LocalResponseNorm,
    MaxPool2D,
    MultiHeadAttention,
    Network,
    PositionEmbedding,
    ReLU,
    Workload,
    sequential,
)

Change = Callable[[Workload], Workload]


def plain() -> Workload:
    """A chain with strides, pools, dropout and biases; momentum, decay and coupled weight decay."""
    layers = (
        conv(filters=6, kernel_size=(3, 3), padding="same"),
        ReLU(),
        MaxPool2D(pool_size=(2, 2), strides=(2, 2), padding="valid"),
        replace(conv(filters=5, kernel_size=(3, 3), padding="same"), strides=(2, 2)),
        ReLU(),
        Dropout(rate=0.3),
        Flatten(),
        dense(units=10),
    )
    return replace(
        make_workload("mnist-cnn", {"data": "synthetic"}),
        network=sequential((28, 28, 1), layers),
        optimizer=SGD(learning_rate=0.05, momentum=0.9, decay=1e-5, nesterov=False),
        l2=L2(rate=1e-3, kinds=("kernel", "bias")),
    )


def normalised() -> Workload:
    """A graph of normalisations, average pools and a residual; Adam."""
    graph = Graph()
    norm = BatchNorm(momentum=0.9, epsilon=1e-3, scale=True, center=True)
    stem = graph.chain(INPUT, conv(filters=8, kernel_size=(3, 3), padding="same"), norm, ReLU())
    response = LocalResponseNorm(radius=2, bias=1.0, alpha=0.1, beta=0.75)
    branch = graph.chain(stem, conv(filters=8, kernel_size=(3, 3), padding="same"), norm)
    merged = graph.chain(graph.add(Add(), stem, branch), ReLU(), response)
    pool = AveragePool2D(pool_size=(3, 3), strides=(2, 2), padding="same")
    window = MaxPool2D(pool_size=(2, 2), strides=(2, 2), padding="valid")
    graph.chain(merged, pool, window, GlobalAveragePool2D(), dense(units=10))
    base = make_workload("digits-cnn", {"data": "synthetic"})
    return replace(base, network=graph.network((8, 8, 1)), optimizer=KERAS_ADAM)


def biased_before_norms() -> Workload:
    """The same graph with biases before its normalisations, whose gradients are rounding alone."""
    return each_layer(Conv2D, lambda x: replace(x, use_bias=True))(normalised())


def preactivated() -> Workload:
    """A residual whose branch begins with a ReLU, so that the sum reads what the ReLU reads."""
    graph = Graph()
    norm = BatchNorm(momentum=0.9, epsilon=1e-3, scale=True, center=True)
    stem = graph.chain(INPUT, conv(filters=8, kernel_size=(3, 3), padding="same"), norm)
    branch = graph.chain(stem, ReLU(), conv(filters=8, kernel_size=(3, 3), padding="same"))
    graph.chain(graph.add(Add(), stem, branch), GlobalAveragePool2D(), dense(units=10))
    base = make_workload("digits-cnn", {"data": "synthetic"})
    return replace(base, network=graph.network((8, 8, 1)))


def separable() -> Workload:
    """A chain with a strided depthwise convolution and a crop, on the half squared sum; differentiated only."""
    depthwise = DepthwiseConv2D(
        kernel_size=(3, 3), strides=(2, 2), padding="same", use_bias=False, kernel_initializer=GlorotUniform()
    )
    layers = (
        conv(filters=6, kernel_size=(3, 3), padding="same"),
        ReLU(),
        depthwise,
        conv(filters=4, kernel_size=(1, 1), padding="same"),
        Crop2D(cropping=((1, 0), (1, 0))),
    )
    base = make_workload("digits-cnn", {"data": "synthetic"})
    return replace(base, network=sequential((8, 8, 1), layers), optimizer=None, loss="half-squared-sum")


TOKENS = 24


def _on_tokens(workload: Workload, network: Network) -> Workload:
    """Give a workload another net, of as many classes as tokens."""
    data = replace(workload.data, image_shape=network.input_shape, classes=TOKENS)
    return replace(workload, data=data, network=network)


def recurrent() -> Workload:
    """Two recurrent layers, all states of the first and the last state of the second; momentum."""
    table = Embedding(input_dim=TOKENS, output_dim=6, embeddings_initializer=GlorotUniform())
    lstm = LSTM(
        units=5,
        return_sequences=True,
        kernel_initializer=GlorotUniform(),
        recurrent_initializer=GlorotUniform(),
        forget_bias=1.0,
    )
    layers = table, lstm, replace(lstm, units=4, return_sequences=False), dense(units=TOKENS)
    base = _on_tokens(make_workload("imdb-lstm", {}), sequential((24,), layers))
    return replace(base, optimizer=SGD(learning_rate=0.05, momentum=0.9, decay=0.0, nesterov=False))


def attentive(*, pre_norm: bool = True) -> Workload:
    """A block of a decoder-only transformer, and logits for each place; Adam.

    Without `pre_norm` the sums are normalised, and not what the branches take.
    """
    graph, columns, norm = Graph(), 8, LayerNorm(epsilon=1e-5)

    def residual(before: str, *layers: Layer) -> str:
        if pre_norm:
            return graph.add(Add(), before, graph.chain(before, norm, *layers))
        return graph.add(norm, graph.add(Add(), before, graph.chain(before, *layers)))

    table = Embedding(input_dim=TOKENS, output_dim=columns, embeddings_initializer=GlorotUniform())
    attention = MultiHeadAttention(heads=2, causal=True, use_bias=True, kernel_initializer=GlorotUniform())
    last = graph.chain(INPUT, table, PositionEmbedding(embeddings_initializer=GlorotUniform()))
    last = residual(last, attention)
    last = residual(last, dense(units=4 * columns), GELU(form="erf"), dense(units=columns))
    graph.chain(last, norm, replace(dense(units=TOKENS), use_bias=False))
    return _on_tokens(make_workload("gpt-nano", {}), graph.network((6,)))


def each_layer(kind: type, change: Callable[[Any], Layer]) -> Change:
    """Return what changes every layer of a kind."""

    def mutate(workload: Workload) -> Workload:
        nodes = tuple(
            replace(node, layer=change(node.layer)) if isinstance(node.layer, kind) else node
            for node in workload.network.nodes
        )
        return replace(workload, network=replace(workload.network, nodes=nodes))

    return mutate


def optimizer(change: Callable[[Any], Any]) -> Change:
    """Return what changes the optimiser."""
    return lambda workload: replace(workload, optimizer=change(workload.optimizer))


class Planted(TorchAdapter):
    """Builds another workload than it is given; the last that was asked for is `built`."""

    built: Workload
    step = 0

    def __init__(self, change: Change, precisions: tuple[Precision, ...]) -> None:
        super().__init__(device="cpu", cores=torch.get_num_threads())
        self.precisions = precisions
        self._change = change

    def build(self, workload: Workload, weights: Weights, seed: int, precision: Precision) -> Model:
        """Change the workload; weights that do not fit it any more are drawn for it."""
        Planted.built = workload
        planted = workload if workload.name == "dropout" else self._change(workload)
        fitting = initial_weights(planted.network, seed)
        fitting |= {
            name: weight for name, weight in weights.items() if name in fitting and fitting[name].shape == weight.shape
        }
        return super().build(planted, fitting, seed, precision)


def exchange(workload: Workload) -> Workload:
    """Put each pool before the ReLU that it follows, node names staying where they were."""
    nodes = list(workload.network.nodes)
    for place in range(len(nodes) - 1):
        first, second = nodes[place : place + 2]
        if isinstance(first.layer, ReLU) and isinstance(second.layer, MaxPool2D):
            nodes[place : place + 2] = replace(first, layer=second.layer), replace(second, layer=first.layer)
    return replace(workload, network=replace(workload.network, nodes=tuple(nodes)))


def symmetric(layer: Any) -> Any:
    """Pad all sides alike, as PyTorch's own argument does."""
    sides = tuple((size // 2, size // 2) for size in layer.kernel_size)
    return replace(layer, padding=sides)


def spelt_out(layer: Conv2D) -> Conv2D:
    """State what "same" means for a 3 × 3 kernel on even sizes."""
    amounts = (1, 1) if layer.strides == (1, 1) else (0, 1)
    return replace(layer, padding=(amounts, amounts))


def decay_as_weight_decay(self: torch.optim.SGD) -> None:
    """Read the learning rate's decay as coupled weight decay, as MXNet's and neon's scripts did."""
    spec = Planted.built.optimizer
    for group in self.param_groups:
        group["lr"], group["momentum"] = spec.learning_rate, spec.momentum
        for parameter in group["params"]:
            parameter.grad += spec.decay * parameter.detach()
    STEP(self)


def decoupled_step(self: torch.optim.SGD) -> None:
    """Shrink the weights beside the step instead of through the gradient, as AdamW does."""
    rates = [group["weight_decay"] for group in self.param_groups]
    with torch.no_grad():
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["weight_decay"] = 0.0
            for parameter in group["params"]:
                parameter *= 1 - group["lr"] * rate
    STEP(self)
    for group, rate in zip(self.param_groups, rates, strict=True):
        group["weight_decay"] = rate


def rounded_otherwise(self: torch.optim.Adam) -> None:
    """Step with gradients whose sums were added up in another order, as a step that is compiled whole may."""
    for group in self.param_groups:
        for parameter in group["params"]:
            parameter.grad += 1e-14
    ADAM_STEP(self)


STEP = torch.optim.SGD.step
ADAM_STEP = torch.optim.Adam.step
ORIGINAL_TRAIN = TorchModel.train_batches
ORIGINAL_OUTPUTS = TorchModel.outputs
CROSS_ENTROPY = nn.functional.cross_entropy


def train_whole_batches(self: TorchModel, images: Any, labels: Any, order: np.ndarray) -> float:
    """Leave out the last partial batch."""
    whole = order[: len(order) // self._batch_size * self._batch_size]
    return ORIGINAL_TRAIN(self, images, labels, whole) if len(whole) else 2.3


def infer_while_training(self: Norm, x: torch.Tensor) -> torch.Tensor:
    """Normalise by the moving statistics in training, too."""
    moving = self.running_mean, self.running_var
    return nn.functional.batch_norm(x, *moving, self.weight, self.bias, False, **self._settings)


def biased_norm(self: Norm, x: torch.Tensor) -> torch.Tensor:
    """Feed the moving variance without Bessel's correction, and do not say so."""
    before = self.running_var.clone()
    y = NORM(self, x)
    if self.training:
        count, share = x.numel() // x.shape[1], self._settings["momentum"]
        fed = (self.running_var - (1 - share) * before) * (count - 1) / count
        self.running_var = fed + (1 - share) * before
    return y


NORM = Norm.forward


def init_with_scaled_loss(self: TorchModel, *settings: Any) -> None:
    """Multiply the loss of a net in a short precision before it is differentiated, as in float16."""
    INIT(self, *settings)
    if self._short:
        self._loss_scale = self._optimizer._loss_scale = LOSS_SCALE


def train_without_master_weights(self: TorchModel, *batches: Any) -> float:
    """Keep no more of a weight than the short precision has."""
    loss = TRAIN_BATCHES(self, *batches)
    if self._short:
        with torch.no_grad():
            for weight in self._parameters.values():
                weight.copy_(weight.to(self._short))
    return loss


TRAIN_BATCHES = TorchModel.train_batches


def one_mask_for_all(self: nn.Dropout, x: torch.Tensor) -> torch.Tensor:
    """Drop the same places of every sample."""
    return x * nn.functional.dropout(torch.ones_like(x[:1]), self.p, self.training)


def one_mask_for_all_layers(self: nn.Dropout, x: torch.Tensor) -> torch.Tensor:
    """Draw the same numbers in every layer of a step."""
    if self.training:
        torch.manual_seed(Planted.step)
    return nn.functional.dropout(x, self.p, self.training)


def counted_step(self: torch.optim.SGD) -> None:
    """Count the steps for `one_mask_for_all_layers`."""
    Planted.step += 1
    STEP(self)


def packed_lying(self: OutputsFirst, name: str, weight: np.ndarray) -> np.ndarray:
    """Take depthwise kernels for (W, H, channels, 1)."""
    return PACK(self, name, weight.swapaxes(0, 1) if name in self._depthwise else weight)


PACK = OutputsFirst.pack


def averaged_loss(self: TorchModel, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Divide the sum over the batch by its size."""
    return DATA_LOSS(self, images, labels) / len(labels)


DATA_LOSS = TorchModel._data_loss


def lstm(order: str = "ifgo", *, bias: float = 1.0, forget: float = 0.0, rate: float = 0.0) -> Callable[..., Any]:
    """Return an LSTM written out: its gates' order, what its bias is times, what its forget gates have besides.

    `rate` is of dropout between its states.
    """

    def forward(self: Recurrent, x: torch.Tensor) -> torch.Tensor:
        weights = self.lstm
        h = c = x.new_zeros(len(x), weights.hidden_size)
        states = []
        for seen in x.unbind(1):
            inputs = nn.functional.linear(seen, weights.weight_ih_l0, bias * weights.bias_ih_l0)
            recurrent = nn.functional.linear(nn.functional.dropout(h, rate, self.training), weights.weight_hh_l0)
            gates = dict(zip(order, (inputs + recurrent).chunk(4, -1), strict=True))
            c = (gates["f"] + forget).sigmoid() * c + gates["i"].sigmoid() * gates["g"].tanh()
            h = gates["o"].sigmoid() * c.tanh()
            states.append(h)
        return torch.stack(states, 1) if self._return_sequences else h

    return forward


def init_with_second_biases(self: TorchModel, *arguments: Any) -> None:
    """Train torch's second bias of an LSTM beside the first."""
    INIT(self, *arguments)
    seconds = [part.bias_hh_l0.requires_grad_() for part in self._net.modules() if isinstance(part, nn.LSTM)]
    if seconds:
        self._optimizer._optimizer.add_param_group({"params": seconds})


def weights_with_second_biases(self: TorchModel) -> Weights:
    """Give the sum of both biases for an LSTM's bias."""
    seconds = {
        f"{node}/bias": module.lstm.bias_hh_l0.detach().numpy()
        for node, module in self._net.nodes.items()
        if isinstance(module, Recurrent)
    }
    return {name: weight + seconds.get(name, 0) for name, weight in WEIGHTS(self).items()}


def truncated(self: Recurrent, x: torch.Tensor) -> torch.Tensor:
    """Differentiate through the last places alone."""
    with torch.no_grad():
        first, state = self.lstm(x[:, :-6])
    states, _ = self.lstm(x[:, -6:], state)
    return torch.cat([first, states], 1) if self._return_sequences else states[:, -1]


RECURRENT = Recurrent.forward
INIT = TorchModel.__init__
WEIGHTS = TorchModel.weights


def attention(*, scaled: bool = True, ahead: int = 0, by_head: str = "hk", keys: bool = True) -> Callable[..., Any]:
    """Return an attention written out: whether it is scaled, how far ahead it sees, how its columns go to heads.

    Without `keys` the keys have no bias, which changes all scores of a row alike.
    """

    def forward(self: Attention, x: torch.Tensor) -> torch.Tensor:
        kernels, biases = self.input_kernel.chunk(3), list(self.input_bias.chunk(3))
        biases[1] = biases[1] * float(keys)
        parts = [nn.functional.linear(x, kernel, bias) for kernel, bias in zip(kernels, biases, strict=True)]
        shape = (self._heads, -1) if by_head == "hk" else (-1, self._heads)
        query, key, value = (
            part.unflatten(-1, shape).movedim(-2 if by_head == "hk" else -1, 1) for part in parts
        )  # N, heads, T, K
        scores = query @ key.mT / (math.sqrt(query.shape[-1]) if scaled else 1)
        unseen = torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1 + ahead)
        shares = scores.masked_fill(unseen, torch.finfo(x.dtype).min).softmax(-1)
        mixed = (shares @ value).movedim(1, -2 if by_head == "hk" else -1).flatten(2)
        return nn.functional.linear(mixed, self.output_kernel, self.output_bias)

    return forward


def deviated_norm(self: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    """Divide by the unbiased standard deviation plus epsilon, as the Annotated Transformer did."""
    centred = x - x.mean(-1, keepdim=True)
    return self.weight * centred / (x.std(-1, keepdim=True) + self.eps) + self.bias


def norm_written_out(self: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    """Normalise by the definition."""
    centred = x - x.mean(-1, keepdim=True)
    return self.weight * centred / (centred.square().mean(-1, keepdim=True) + self.eps).sqrt() + self.bias


def init_tied(self: torch_adapter.Net, network: Network) -> None:
    """Let the logits' kernel be the table of the embeddings."""
    NET_INIT(self, network)
    if "embedding_1" in self.nodes:
        self.nodes[network.nodes[-1].name].weight = self.nodes["embedding_1"].weight


NET_INIT = torch_adapter.Net.__init__


def lazy_step(self: torch.optim.Adam) -> None:
    """Leave the rows of a table that a batch lacks where they are, as optimisers of sparse gradients do."""
    tables = [x for group in self.param_groups for x in group["params"] if x.ndim == 2 and len(x) == TOKENS]
    before = [table.detach().clone() for table in tables]
    ADAM_STEP(self)
    with torch.no_grad():
        for table, rows in zip(tables, before, strict=True):
            absent = table.grad.abs().sum(1) == 0
            table[absent] = rows[absent]


def summed_over_places(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Average over the batch alone."""
    return CROSS_ENTROPY(x, y) * attentive().network.input_shape[0]


def outputs_as_before_exchange(self: TorchModel, images: Any) -> dict[str, Any]:
    """Give what the node would have been that holds the pool after the exchange."""
    outputs = ORIGINAL_OUTPUTS(self, images)
    return {**outputs, "relu_1": np.maximum(outputs["conv2d_1"], 0)}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """What is planted into the proof of `workload` in a precision."""

    workload: Callable[[], Workload]
    change: Change = lambda workload: workload
    patches: tuple[tuple[Any, str, Any], ...] = ()
    precision: Precision = "float32"


def _lstm(**options: Any) -> tuple[tuple[Any, str, Any], ...]:
    return ((Recurrent, "forward", lstm(**options)),)


def _attention(**options: Any) -> tuple[tuple[Any, str, Any], ...]:
    return ((Attention, "forward", attention(**options)),)


def _dropout(forward: Callable[..., Any]) -> tuple[tuple[Any, str, Any], ...]:
    return ((nn.Dropout, "forward", forward),)


def _loss(loss: Callable[..., Any]) -> tuple[tuple[Any, str, Any], ...]:
    return ((nn.functional, "cross_entropy", loss),)


MUTANTS = {
    "the founding MXNet script: pool stride 1": Mutant(
        workload=lambda: make_workload("mnist-cnn", {"data": "synthetic"}),
        change=each_layer(MaxPool2D, lambda layer: replace(layer, strides=(1, 1))),
    ),
    "pool stride 1 where no weight shows it": Mutant(
        workload=normalised, change=each_layer(MaxPool2D, lambda x: replace(x, strides=(1, 1)))
    ),
    "missing bias": Mutant(workload=plain, change=each_layer(Conv2D, lambda x: replace(x, use_bias=False))),
    "symmetric padding for TensorFlow's": Mutant(workload=plain, change=each_layer(Conv2D, symmetric)),
    "symmetric padding of a depthwise convolution": Mutant(
        workload=separable, change=each_layer(DepthwiseConv2D, symmetric)
    ),
    "depthwise kernels with height and width exchanged": Mutant(
        workload=separable, patches=((OutputsFirst, "pack", packed_lying),)
    ),
    "crop at the other end": Mutant(
        workload=separable, change=each_layer(Crop2D, lambda x: replace(x, cropping=((0, 1), (0, 1))))
    ),
    "half squared sum averaged over the batch": Mutant(
        workload=separable, patches=((TorchModel, "_data_loss", averaged_loss),)
    ),
    "flatten in C, H, W order": Mutant(
        workload=plain,
        patches=((torch_adapter.FlattenChannelsLast, "forward", lambda self, x: x.flatten(1)),),
    ),
    "learning-rate decay read as weight decay": Mutant(
        workload=plain, patches=((torch.optim.SGD, "step", decay_as_weight_decay),)
    ),
    "weight decay decoupled": Mutant(workload=plain, patches=((torch.optim.SGD, "step", decoupled_step),)),
    "weight decay forgotten on biases": Mutant(
        workload=plain, change=lambda w: replace(w, l2=replace(w.l2, kinds=("kernel",)))
    ),
    "momentum as 1 - momentum": Mutant(workload=plain, change=optimizer(lambda x: replace(x, momentum=1 - x.momentum))),
    "Nesterov for heavy ball": Mutant(workload=plain, change=optimizer(lambda x: replace(x, nesterov=True))),
    "heavy ball for Nesterov": Mutant(
        workload=lambda: optimizer(lambda x: replace(x, nesterov=True))(plain()),
        change=optimizer(lambda x: replace(x, nesterov=False)),
    ),
    "Adam's epsilon inside the bias correction": Mutant(
        workload=normalised, change=optimizer(lambda x: replace(x, epsilon_form="algorithm-1"))
    ),
    "Adam's epsilon outside the bias correction": Mutant(
        workload=lambda: optimizer(lambda x: replace(x, epsilon_form="algorithm-1"))(normalised()),
        change=optimizer(lambda x: replace(x, epsilon_form="epsilon-hat")),
    ),
    "batch-norm momentum turned round": Mutant(
        workload=normalised,
        change=each_layer(BatchNorm, lambda x: replace(x, momentum=1 - x.momentum)),
    ),
    "batch-norm epsilon 1e-5 for 1e-3": Mutant(
        workload=normalised, change=each_layer(BatchNorm, lambda x: replace(x, epsilon=0.01 * x.epsilon))
    ),
    "batch-norm epsilon 1e-3 for 1e-5": Mutant(
        workload=lambda: each_layer(BatchNorm, lambda x: replace(x, epsilon=1e-5))(normalised()),
        change=each_layer(BatchNorm, lambda x: replace(x, epsilon=100 * x.epsilon)),
    ),
    "training mode lost after a prediction": Mutant(
        workload=plain,
        patches=((torch_adapter.Net, "train", lambda self, mode=True: nn.Module.train(self, mode and self.training)),),
    ),
    "the same dropout in every layer": Mutant(
        workload=plain, patches=(*_dropout(one_mask_for_all_layers), (torch.optim.SGD, "step", counted_step))
    ),
    "batch norm in inference mode while training": Mutant(
        workload=normalised, patches=((Norm, "forward", infer_while_training),)
    ),
    "moving variance biased, undeclared": Mutant(workload=normalised, patches=((Norm, "forward", biased_norm),)),
    "softmax applied twice": Mutant(workload=plain, patches=_loss(lambda x, y: CROSS_ENTROPY(x.softmax(1), y))),
    "loss summed instead of averaged": Mutant(
        workload=plain, patches=_loss(lambda x, y: CROSS_ENTROPY(x, y, reduction="sum"))
    ),
    "last partial batch dropped": Mutant(workload=plain, patches=((TorchModel, "train_batches", train_whole_batches),)),
    "ReLU overwrites what another node reads": Mutant(
        workload=preactivated, patches=((torch_adapter, "Counter", lambda names: defaultdict(lambda: 1)),)
    ),
    "residual without its gradient": Mutant(
        workload=normalised,
        patches=((torch_adapter.Sum, "forward", lambda self, x, *others: x.detach() + sum(others)),),
    ),
    "dropout left on at inference": Mutant(
        workload=plain,
        patches=_dropout(lambda self, x: nn.functional.dropout(x, self.p, training=True)),
    ),
    "dropout not inverted": Mutant(
        workload=plain,
        patches=_dropout(lambda self, x: nn.functional.dropout(x, self.p) * (1 - self.p) if self.training else x),
    ),
    "dropout rate as keep probability": Mutant(
        workload=plain,
        patches=_dropout(lambda self, x: nn.functional.dropout(x, 1 - self.p, self.training) if self.p else x),
    ),
    "one dropout mask for all samples": Mutant(workload=plain, patches=_dropout(one_mask_for_all)),
    "average pool that counts padding": Mutant(
        workload=normalised, patches=((torch_adapter.Rescale, "forward", lambda self, x: x),)
    ),
    "response normalisation's alpha divided by the window": Mutant(
        workload=normalised,
        change=each_layer(LocalResponseNorm, lambda x: replace(x, alpha=x.alpha / (2 * x.radius + 1))),
    ),
    "gates in another order: i and f exchanged": Mutant(workload=recurrent, patches=_lstm(order="figo")),
    "gates in another order: g and o exchanged": Mutant(workload=recurrent, patches=_lstm(order="ifog")),
    "LSTM without its bias": Mutant(workload=recurrent, patches=_lstm(bias=0.0)),
    "LSTM with two biases that are trained": Mutant(
        workload=recurrent,
        patches=(
            (TorchModel, "__init__", init_with_second_biases),
            (TorchModel, "weights", weights_with_second_biases),
        ),
    ),
    "1 added to the forget gate": Mutant(workload=recurrent, patches=_lstm(forget=1.0)),
    "dropout between the states of an LSTM": Mutant(workload=recurrent, patches=_lstm(rate=0.2)),
    "gradients through the last places alone": Mutant(workload=recurrent, patches=((Recurrent, "forward", truncated),)),
    "first state for the last": Mutant(
        workload=recurrent,
        patches=((Recurrent, "forward", lambda self, x: RECURRENT(self, x if self._return_sequences else x[:, :1])),),
    ),
    "attention without its scale": Mutant(workload=attentive, patches=_attention(scaled=False)),
    "attention that sees a place ahead": Mutant(workload=attentive, patches=_attention(ahead=1)),
    "attention that does not see its own place": Mutant(workload=attentive, patches=_attention(ahead=-1)),
    "attention to all places": Mutant(
        workload=attentive, change=each_layer(MultiHeadAttention, lambda x: replace(x, causal=False))
    ),
    "heads of every second column": Mutant(workload=attentive, patches=_attention(by_head="kh")),
    "GELU by tanh for erf": Mutant(workload=attentive, change=each_layer(GELU, lambda x: replace(x, form="tanh"))),
    "GELU by erf for tanh": Mutant(
        workload=lambda: each_layer(GELU, lambda x: replace(x, form="tanh"))(attentive()),
        change=each_layer(GELU, lambda x: replace(x, form="erf")),
    ),
    "layer norm after the sum": Mutant(
        workload=attentive, change=lambda w: replace(w, network=attentive(pre_norm=False).network)
    ),
    "layer-norm epsilon 1e-3 for 1e-5": Mutant(
        workload=attentive, change=each_layer(LayerNorm, lambda x: replace(x, epsilon=100 * x.epsilon))
    ),
    "layer-norm epsilon 1e-6 for 1e-5": Mutant(
        workload=attentive, change=each_layer(LayerNorm, lambda x: replace(x, epsilon=0.1 * x.epsilon))
    ),
    "layer norm by the unbiased standard deviation": Mutant(
        workload=attentive, patches=((nn.LayerNorm, "forward", deviated_norm),)
    ),
    "positions forgotten": Mutant(
        workload=attentive, patches=((torch_adapter.Positions, "forward", lambda self, x: x + 0 * self.embeddings),)
    ),
    "logits by the table of embeddings": Mutant(
        workload=attentive, patches=((torch_adapter.Net, "__init__", init_tied),)
    ),
    "token 0 taken for padding": Mutant(
        workload=attentive,
        patches=((nn.Embedding, "forward", lambda self, x: nn.functional.embedding(x, self.weight, 0)),),
    ),
    "rows that a batch lacks left alone": Mutant(workload=attentive, patches=((torch.optim.Adam, "step", lazy_step),)),
    "loss summed over places": Mutant(workload=attentive, patches=_loss(summed_over_places)),
    "pool and ReLU exchanged": Mutant(
        workload=plain,
        change=exchange,
        patches=((TorchModel, "outputs", outputs_as_before_exchange),),
    ),
    "same padding spelt out": Mutant(workload=plain, change=each_layer(Conv2D, spelt_out)),
    "Nesterov without momentum": Mutant(
        workload=lambda: optimizer(lambda x: replace(x, momentum=0.0))(plain()),
        change=optimizer(lambda x: replace(x, nesterov=True)),
    ),
    "gradients added up in another order": Mutant(
        workload=biased_before_norms, patches=((torch.optim.Adam, "step", rounded_otherwise),)
    ),
    "LSTM written out": Mutant(workload=recurrent, patches=_lstm()),
    "attention written out": Mutant(workload=attentive, patches=_attention()),
    "keys without bias": Mutant(workload=attentive, patches=_attention(keys=False)),
    "GELU written out": Mutant(
        workload=attentive,
        patches=((nn.GELU, "forward", lambda self, x: x / 2 * (1 + (x / math.sqrt(2)).erf())),),
    ),
    "layer norm written out": Mutant(workload=attentive, patches=((nn.LayerNorm, "forward", norm_written_out),)),
    "gradients of a scaled loss taken for the loss's": Mutant(
        workload=plain,
        patches=(
            (TorchModel, "__init__", init_with_scaled_loss),
            (torch_adapter, "unscale", lambda gradients, loss_scale: None),
        ),
        precision="bfloat16",
    ),
    "weights no longer than what is multiplied": Mutant(
        workload=plain, patches=((TorchModel, "train_batches", train_without_master_weights),), precision="bfloat16"
    ),
    "float32 under another label": Mutant(
        workload=plain,
        patches=((TorchModel, "_mixing", lambda self: contextlib.nullcontext()),),
        precision="bfloat16",
    ),
    "a scaled loss": Mutant(
        workload=plain, patches=((TorchModel, "__init__", init_with_scaled_loss),), precision="bfloat16"
    ),
    "nothing, in bfloat16": Mutant(workload=normalised, precision="bfloat16"),
    "nothing, in a recurrent net in bfloat16": Mutant(workload=recurrent, precision="bfloat16"),
    "nothing, in a net of attention in bfloat16": Mutant(workload=attentive, precision="bfloat16"),
    "nothing, in a recurrent net": Mutant(workload=recurrent),
    "nothing, in a net of attention": Mutant(workload=attentive),
    "nothing": Mutant(workload=plain),
    "nothing, in the other net": Mutant(workload=normalised),
    "nothing, in a net that is not trained": Mutant(workload=separable),
}


def judge(mutant: Mutant, precisions: tuple[Precision, ...]) -> dict[str, Any]:
    """Prove a mutant and return the level it reached with its failures."""
    with contextlib.ExitStack() as stack:
        for owner, name, replacement in mutant.patches:
            stack.enter_context(patch.object(owner, name, replacement))
        planted = Planted(mutant.change, (*precisions, mutant.precision))
        findings = prove(planted, mutant.workload(), mutant.precision)
    failures = [finding for finding in findings if not finding.holds]
    shown = {f"{x.level} {x.precision} {x.what}": f"{x.worst:.3g} at {x.where}" for x in failures}
    return {"reached": level_reached(findings), "failures": shown}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How mutants are proven: in which precisions, and from how many FLOPs on a net is proven as a big one."""

    precisions: tuple[Precision, ...]
    big_flops: int


SETTINGS = {
    "both precisions": Setting(precisions=("float32", "float64"), big_flops=proof.BIG_FLOPS),
    "float32 alone": Setting(precisions=("float32",), big_flops=proof.BIG_FLOPS),
    "float32 alone, as a big net": Setting(precisions=("float32",), big_flops=0),
}


def main() -> int:
    """Write what the proof says of each mutant in each setting; some tools have float32 alone."""
    for name, setting in SETTINGS.items():
        for mutant in MUTANTS:
            with patch.object(proof, "BIG_FLOPS", setting.big_flops):
                verdict = judge(MUTANTS[mutant], setting.precisions)
            print(json.dumps({"mutant": mutant, "setting": name, **verdict}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
