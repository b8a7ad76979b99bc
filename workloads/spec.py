"""What is trained, stated once: frozen dataclasses that every adapter translates and that travel as JSON.

Everything tools decide differently by default is a required field here. Layouts are canonical: images (N, H, W, C),
sequences (N, T, D) of T places, convolution kernels (H, W, in, out), depthwise ones (H, W, channels, 1), dense kernels
(in, out), flattening in H, W, C order. The loss is of the network's output, which are logits for softmax
cross-entropy, plus an L2 term where the workload states one.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

Pair = tuple[int, int]
Shape = tuple[int, ...]
Padding = Literal["same", "valid"] | tuple[Pair, Pair]
"""`"same"` is TensorFlow's rule (the odd row or column goes to the bottom or right), `"valid"` is none, and
`((top, bottom), (left, right))` states the amounts. A convolution pads with zeros; to a pool, padding is nothing."""
INPUT = "images"
"""The name by which a node takes the network's input, which may be tokens as well."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check_padding(padding: object) -> None:
    explicit = (
        isinstance(padding, tuple)
        and len(padding) == 2
        and all(isinstance(pair, tuple) and len(pair) == 2 and min(pair) >= 0 for pair in padding)
    )
    _require(
        padding in ("same", "valid") or explicit,
        f"padding {padding!r}; accepted: 'same', 'valid', ((top, bottom), (left, right))",
    )


def _check_window(layer: Any, *sizes: int) -> None:
    """Check what slides over images: its sizes, strides and padding."""
    _require(min(*sizes, *layer.strides) > 0, f"not positive: {layer}")
    _check_padding(layer.padding)


@dataclass(frozen=True, kw_only=True)
class GlorotUniform:
    """Uniform on ±sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, equation 16); biases start at zero."""


@dataclass(frozen=True, kw_only=True)
class TruncatedNormal:
    """Normal around 0, cut off at two standard deviations; `stddev` is the one before cutting (0.88 of it is left)."""

    stddev: float

    def __post_init__(self) -> None:
        _require(self.stddev > 0, f"not positive: {self}")


@dataclass(frozen=True, kw_only=True)
class VarianceScaling:
    """Normal around 0, cut off at two standard deviations, whose variance after cutting is scale / fan_in.

    TensorFlow's `variance_scaling_initializer`, whose defaults are fan_in and the truncated normal.
    """

    scale: float

    def __post_init__(self) -> None:
        _require(self.scale > 0, f"not positive: {self}")


Initializer = GlorotUniform | TruncatedNormal | VarianceScaling


@dataclass(frozen=True, kw_only=True)
class Conv2D:
    """Cross-correlation of (N, H, W, C) with `filters` kernels, and a bias per filter if `use_bias`."""

    filters: int
    kernel_size: Pair
    strides: Pair
    padding: Padding
    use_bias: bool
    kernel_initializer: Initializer

    def __post_init__(self) -> None:
        _check_window(self, self.filters, *self.kernel_size)


@dataclass(frozen=True, kw_only=True)
class DepthwiseConv2D:
    """Cross-correlation of each channel of (N, H, W, C) with one kernel of its own, and a bias per channel if asked."""

    kernel_size: Pair
    strides: Pair
    padding: Padding
    use_bias: bool
    kernel_initializer: Initializer

    def __post_init__(self) -> None:
        _check_window(self, *self.kernel_size)


@dataclass(frozen=True, kw_only=True)
class Dense:
    """(N, inputs) · (inputs, units), and a bias per unit if `use_bias`; of a sequence, place by place."""

    units: int
    use_bias: bool
    kernel_initializer: Initializer

    def __post_init__(self) -> None:
        _require(self.units > 0, f"not positive: {self}")


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Row x of a table (input_dim, output_dim) for each token x: (N, T) whole numbers to (N, T, output_dim)."""

    input_dim: int
    output_dim: int
    embeddings_initializer: Initializer

    def __post_init__(self) -> None:
        _require(min(self.input_dim, self.output_dim) > 0, f"not positive: {self}")


@dataclass(frozen=True, kw_only=True)
class PositionEmbedding:
    """(N, T, D) plus a table (T, D) that is learnt, the same for every sample."""

    embeddings_initializer: Initializer


@dataclass(frozen=True, kw_only=True)
class LSTM:
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with forget gates (Gers et al. 2000) over (N, T, D).

    i, f, o = σ(x_t·W + h_{t−1}·R + b), g = tanh(x_t·W + h_{t−1}·R + b), each with columns of its own, which lie in the
    order i, f, g, o in kernel W (D, 4·units), recurrent kernel R (units, 4·units) and bias b (4·units); then
    c_t = f·c_{t−1} + i·g and h_t = o·tanh(c_t), from h_0 = c_0 = 0. There is one bias and no dropout inside. Returns
    all h_t, (N, T, units), if `return_sequences`, and else the last one, (N, units).

    `forget_bias` is where f's part of b starts, the rest at 0 (Jozefowicz et al. 2015 have 1).
    """

    units: int
    return_sequences: bool
    kernel_initializer: Initializer
    recurrent_initializer: Initializer
    forget_bias: float

    def __post_init__(self) -> None:
        _require(self.units > 0, f"not positive: {self}")


@dataclass(frozen=True, kw_only=True)
class MultiHeadAttention:
    """Self-attention (Vaswani et al. 2017, section 3.2) over (N, T, D) by `heads` heads of d = D / heads columns each.

    Q = x·W_q + b_q, K and V alike. Of each head softmax(Q·Kᵀ / sqrt(d))·V, in which place t sees the places up to t
    alone if `causal`; the heads side by side, times W_o, plus b_o. All four kernels are (D, D), biases (D) are there if
    `use_bias`. Nothing is dropped inside.
    """

    heads: int
    causal: bool
    use_bias: bool
    kernel_initializer: Initializer

    def __post_init__(self) -> None:
        _require(self.heads > 0, f"not positive: {self}")


@dataclass(frozen=True, kw_only=True)
class MaxPool2D:
    """Largest value of each window of (N, H, W, C); padding never wins."""

    pool_size: Pair
    strides: Pair
    padding: Padding

    def __post_init__(self) -> None:
        _check_window(self, *self.pool_size)


@dataclass(frozen=True, kw_only=True)
class AveragePool2D:
    """Mean of what each window of (N, H, W, C) holds of the input: padding counts in neither sum nor number."""

    pool_size: Pair
    strides: Pair
    padding: Padding

    def __post_init__(self) -> None:
        _check_window(self, *self.pool_size)


@dataclass(frozen=True, kw_only=True)
class GlobalAveragePool2D:
    """Mean over height and width: (N, H, W, C) to (N, C)."""


@dataclass(frozen=True, kw_only=True)
class BatchNorm:
    """Batch normalisation over all axes but the last (Ioffe and Szegedy 2015, algorithms 1 and 2).

    In training y = gamma·(x − mean) / sqrt(variance + epsilon) + beta with the batch's mean and biased variance; then
    moving ← momentum·moving + (1 − momentum)·statistic, the variance with Bessel's correction n / (n − 1), as
    algorithm 2 has it. Inference uses the moving statistics. `scale` is whether there is a gamma, `center` a beta.
    """

    momentum: float
    epsilon: float
    scale: bool
    center: bool

    def __post_init__(self) -> None:
        _require(0 <= self.momentum < 1 and self.epsilon > 0, f"out of range: {self}")


@dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """gamma·(x − mean) / sqrt(variance + epsilon) + beta over the last axis of (N, T, D) (Ba et al. 2016).

    The variance is biased: the mean of (x − mean)².
    """

    epsilon: float

    def __post_init__(self) -> None:
        _require(self.epsilon > 0, f"not positive: {self}")


@dataclass(frozen=True, kw_only=True)
class LocalResponseNorm:
    """x / (bias + alpha·Σx²)^beta, the sum over `radius` channels on either side; alpha is not divided by the window.

    TensorFlow's form of the normalisation of Krizhevsky et al. 2012, section 3.3.
    """

    radius: int
    bias: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        _require(self.radius >= 0 and self.bias > 0 and self.alpha >= 0, f"out of range: {self}")


@dataclass(frozen=True, kw_only=True)
class Crop2D:
    """(N, H, W, C) without the outermost rows and columns: `cropping` is ((top, bottom), (left, right))."""

    cropping: tuple[Pair, Pair]

    def __post_init__(self) -> None:
        _require(min(map(min, self.cropping)) >= 0, f"negative: {self}")


@dataclass(frozen=True, kw_only=True)
class Add:
    """Sum of two or more inputs of one shape."""


@dataclass(frozen=True, kw_only=True)
class Concatenate:
    """Two or more inputs side by side along the last axis."""


@dataclass(frozen=True, kw_only=True)
class ReLU:
    """max(x, 0)."""


@dataclass(frozen=True, kw_only=True)
class GELU:
    """x·Φ(x), Φ the standard normal's distribution function (Hendrycks and Gimpel 2016).

    `form` is `"erf"`, Φ as it is, or `"tanh"`, their approximation (1 + tanh(sqrt(2/π)·(x + 0.044715·x³))) / 2.
    """

    form: Literal["erf", "tanh"]

    def __post_init__(self) -> None:
        _require(self.form in ("erf", "tanh"), f"form of {self}")


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Inverted dropout: in training a share `rate` of the values becomes 0 and the rest is divided by 1 - rate."""

    rate: float

    def __post_init__(self) -> None:
        _require(0 <= self.rate < 1, f"dropout rate {self.rate}; accepted: 0 <= rate < 1")


@dataclass(frozen=True, kw_only=True)
class Flatten:
    """(N, H, W, C) to (N, H·W·C), C running fastest."""


Layer = (
    Conv2D | DepthwiseConv2D | Dense | Embedding | PositionEmbedding | LSTM | MultiHeadAttention | MaxPool2D
    | AveragePool2D | GlobalAveragePool2D | BatchNorm | LayerNorm | LocalResponseNorm | ReLU | GELU | Dropout | Flatten
    | Crop2D | Add | Concatenate
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Node:
    """A layer in a network: its name, and the names of the nodes (or INPUT) it takes."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A graph of layers; each node comes after those it takes, the last is the output.

    The input is images of shape (H, W, C), or (T,) tokens, which embeddings alone can take.
    """

    input_shape: Shape
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        _require(bool(self.nodes), "a network needs at least one layer")
        known: set[str] = {INPUT}
        taken: set[str] = set()
        for node in self.nodes:
            _require(node.name not in known, f"there are two nodes called {node.name}")
            merges = isinstance(node.layer, Add | Concatenate)
            _require(len(node.inputs) >= 2 if merges else len(node.inputs) == 1, f"number of inputs of {node}")
            _require(known.issuperset(node.inputs), f"{node.name} takes {node.inputs}; accepted: nodes before it")
            takes_tokens = INPUT in node.inputs and len(self.input_shape) == 1
            _require(takes_tokens is isinstance(node.layer, Embedding), f"{node.name} cannot take {node.inputs}")
            known.add(node.name)
            taken.update(node.inputs)
        unused = known - taken - {self.nodes[-1].name}
        _require(not unused, f"nothing takes {', '.join(sorted(unused))}")


class Graph:
    """Collects the nodes of a network. A node's name is its kind and its place among its kind, e.g. `conv2d_2`."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._seen: Counter[str] = Counter()

    def add(self, layer: Layer, *inputs: str) -> str:
        """Add a layer on `inputs` and return its name, to be taken by others."""
        kind = type(layer).__name__.lower()
        self._seen[kind] += 1
        self._nodes.append(Node(name=f"{kind}_{self._seen[kind]}", layer=layer, inputs=inputs))
        return self._nodes[-1].name

    def chain(self, before: str, *layers: Layer) -> str:
        """Add layers one after another on `before` and return the name of the last."""
        for layer in layers:
            before = self.add(layer, before)
        return before

    def network(self, input_shape: Shape) -> Network:
        """Return the network of all nodes."""
        return Network(input_shape=input_shape, nodes=tuple(self._nodes))


def sequential(input_shape: Shape, layers: Iterable[Layer]) -> Network:
    """Return the network that is a plain list of layers."""
    graph = Graph()
    graph.chain(INPUT, *layers)
    return graph.network(input_shape)


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Gradient descent with momentum and inverse-time decay: v ← momentum·v − lr_t·g; w ← w + v.

    lr_t = learning_rate / (1 + decay·t), t counting updates from 0 (Keras 1 and 2). The learning rate is inside the
    velocity, which matters while it changes. With `nesterov`, w ← w + momentum·v − lr_t·g (Keras; Sutskever et al.
    2013 in the form of Bengio et al. 2013, equation 7).
    """

    learning_rate: float
    momentum: float
    decay: float
    nesterov: bool

    def __post_init__(self) -> None:
        _require(self.learning_rate > 0 and 0 <= self.momentum < 1 and self.decay >= 0, f"out of range: {self}")


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam (Kingma and Ba 2015): m ← β₁·m + (1−β₁)·g; v ← β₂·v + (1−β₂)·g², t counting from 1.

    `epsilon_form` says which of the paper's two updates it is, which differ by where ε stands: `"epsilon-hat"`, before
    section 2.1 (TensorFlow, Keras, MXNet): w ← w − lr·sqrt(1−β₂ᵗ)/(1−β₁ᵗ) · m / (sqrt(v) + ε); `"algorithm-1"`
    (PyTorch, optax): w ← w − lr · (m/(1−β₁ᵗ)) / (sqrt(v/(1−β₂ᵗ)) + ε). Each is the other with ε multiplied or
    divided by sqrt(1−β₂ᵗ).
    """

    learning_rate: float
    beta_1: float
    beta_2: float
    epsilon: float
    epsilon_form: Literal["epsilon-hat", "algorithm-1"]

    def __post_init__(self) -> None:
        betas = 0 < self.beta_1 < 1 and 0 < self.beta_2 < 1
        _require(self.learning_rate > 0 and betas and self.epsilon > 0, f"out of range: {self}")
        _require(self.epsilon_form in ("epsilon-hat", "algorithm-1"), f"epsilon_form of {self}")


Optimizer = SGD | Adam
WeightKind = Literal["kernel", "bias", "gamma", "beta", "embeddings"]


@dataclass(frozen=True, kw_only=True)
class L2:
    """The term rate · ½Σw² of the loss, over all weights of the named kinds; its gradient rate·w is "coupled" decay.

    A recurrent kernel and those of an attention are kernels, too, and its biases biases.
    """

    rate: float
    kinds: tuple[WeightKind, ...]

    def __post_init__(self) -> None:
        _require(self.rate > 0 and bool(self.kinds), f"out of range: {self}")
        _require(set(self.kinds) <= set(get_args(WeightKind)), f"kinds of {self}")

    def covers(self, weight: str) -> bool:
        """Whether the weight of that name, such as `conv2d_1/kernel`, is in the sum."""
        return weight.rsplit("/", 1)[-1].rsplit("_", 1)[-1] in self.kinds


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Images of independent normal values that are not scaled, and labels uniform in 0 to `labels` − 1.

    `truncated` cuts the normal off at two standard deviations; `stddev` is the one before cutting.
    """

    mean: float
    stddev: float
    truncated: bool
    labels: int

    def __post_init__(self) -> None:
        _require(self.stddev > 0 and self.labels > 0, f"not positive: {self}")


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Images (N, H, W, C) float32 and labels (N,) int32, and how many of them are used.

    `scaling` is `"unit"` (divided by the largest possible pixel), `"min-max-per-pixel"` (each pixel to [0, 1] by its
    own extremes, train and test apart) or `"none"`. Training takes the first `train_samples` of the stored training
    set, validation its last `validation_samples`. Synthetic images can be learnt, unless they are `noise`.

    Of `"reviews"` and `"echoes"` (workloads/sequences.py) samples are tokens (N, T) int32, `image_shape` is (T,), and
    echoes have a label for each place, (N, T).
    """

    source: Literal["digits", "mnist", "cifar10", "synthetic", "reviews", "echoes"]
    scaling: Literal["unit", "min-max-per-pixel", "none"]
    image_shape: Shape
    classes: int
    train_samples: int
    validation_samples: int
    test_samples: int
    noise: Noise | None = None

    def __post_init__(self) -> None:
        _require(
            self.train_samples > 0 and self.test_samples > 0 and self.validation_samples >= 0, f"not positive: {self}"
        )
        if len(self.image_shape) == 1:
            _require(self.source in ("reviews", "echoes") and self.scaling == "none", f"tokens are not scaled: {self}")
        if self.noise:
            _require((self.source, self.scaling) == ("synthetic", "none"), f"noise is synthetic and not scaled: {self}")
            _require(self.noise.labels <= self.classes, f"more labels than classes: {self}")


Loss = Literal["softmax-cross-entropy", "half-squared-sum"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One training task, whole: `name` and the `parameters` that were chosen, then everything they stand for.

    `loss` is `"softmax-cross-entropy"` of logits (N, classes), averaged over the batch, or (N, T, classes), averaged
    over its places too; or `"half-squared-sum"`, half the sum of the squares of the network's whole output over the
    whole batch, labels aside. Without an `optimizer` the
    net is only run forward or differentiated.

    The training set is put in a new order for every epoch and the last partial batch is kept. A validation pass, if
    the data set has validation samples, follows each epoch and is part of the timed training. With a
    `target_error_rate` the error rate on the test set is looked at after each epoch, beside the clock.
    """

    name: str
    data: DataSet
    network: Network
    optimizer: Optimizer | None
    batch_size: int
    epochs: int
    loss: Loss = "softmax-cross-entropy"
    l2: L2 | None = None
    parameters: tuple[tuple[str, int | float | str], ...] = ()
    target_error_rate: float | None = None

    def __post_init__(self) -> None:
        _require(self.batch_size > 0 and self.epochs > 0, f"batch size {self.batch_size}, epochs {self.epochs}")
        _require(self.network.input_shape == self.data.image_shape, "the network does not fit the images")
        _require(self.loss in get_args(Loss), f"loss {self.loss!r}; accepted: {', '.join(get_args(Loss))}")
        target = self.target_error_rate
        _require(target is None or 0 < target < 1, f"target_error_rate {target}; accepted: more than 0, less than 1")

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """The hash of all fields; a matrix has very many cells of one workload, whose net is deep."""
        return hash(tuple(getattr(self, field.name) for field in dataclasses.fields(self)))

    @property
    def label(self) -> str:
        """The name with the chosen parameters, e.g. `mnist-mlp units=64`."""
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.parameters)])


_TYPES = {
    kind.__name__: kind
    for kind in (
        GlorotUniform, TruncatedNormal, VarianceScaling, Conv2D, DepthwiseConv2D, Dense, Embedding, PositionEmbedding,
        LSTM, MultiHeadAttention, MaxPool2D, AveragePool2D, GlobalAveragePool2D, BatchNorm, LayerNorm,
        LocalResponseNorm, ReLU, GELU, Dropout, Flatten, Crop2D, Add, Concatenate, Node, Network, SGD, Adam, L2, Noise,
        DataSet, Workload,
    )
}  # fmt: skip


def to_json(spec: Any) -> Any:
    """Turn a spec into JSON values; every dataclass becomes an object with its `type`."""
    if dataclasses.is_dataclass(spec):
        fields = {field.name: to_json(getattr(spec, field.name)) for field in dataclasses.fields(spec)}
        return {"type": type(spec).__name__, **fields}
    if isinstance(spec, tuple):
        return [to_json(item) for item in spec]
    return spec


def from_json(value: Any) -> Any:
    """Rebuild the spec that `to_json` wrote. Raises KeyError or TypeError for anything else."""
    if isinstance(value, dict):
        fields = {name: from_json(item) for name, item in value.items() if name != "type"}
        return _TYPES[value["type"]](**fields)
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    return value


def fingerprint(value: Any) -> str:
    """SHA-256 of a spec or of JSON values, independent of key order."""
    text = json.dumps(to_json(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
