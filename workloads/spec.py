"""What is trained, stated once: frozen dataclasses that every adapter translates and that travel as JSON.

Everything tools decide differently by default is a required field here. Layouts are canonical: images (N, H, W, C),
convolution kernels (H, W, in, out), dense kernels (in, out), flattening in H, W, C order. A network ends in logits; the
loss is softmax cross-entropy on them, averaged over the batch.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Pair = tuple[int, int]
Shape = tuple[int, ...]
Padding = Literal["same", "valid"] | tuple[Pair, Pair]
"""`"same"` is TensorFlow's rule (the odd row or column goes to the bottom or right), `"valid"` is none, and
`((top, bottom), (left, right))` states the amounts. A pool pads with minus infinity."""


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


@dataclass(frozen=True, kw_only=True)
class GlorotUniform:
    """Uniform on ±sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, equation 16); biases start at zero."""


@dataclass(frozen=True, kw_only=True)
class Conv2D:
    """Cross-correlation of (N, H, W, C) with `filters` kernels, and a bias per filter if `use_bias`."""

    filters: int
    kernel_size: Pair
    strides: Pair
    padding: Padding
    use_bias: bool
    kernel_initializer: GlorotUniform

    def __post_init__(self) -> None:
        _require(self.filters > 0 and min(self.kernel_size) > 0 and min(self.strides) > 0, f"not positive: {self}")
        _check_padding(self.padding)


@dataclass(frozen=True, kw_only=True)
class Dense:
    """(N, inputs) · (inputs, units), and a bias per unit if `use_bias`."""

    units: int
    use_bias: bool
    kernel_initializer: GlorotUniform

    def __post_init__(self) -> None:
        _require(self.units > 0, f"not positive: {self}")


@dataclass(frozen=True, kw_only=True)
class MaxPool2D:
    """Largest value of each window of (N, H, W, C); padding never wins."""

    pool_size: Pair
    strides: Pair
    padding: Padding

    def __post_init__(self) -> None:
        _require(min(self.pool_size) > 0 and min(self.strides) > 0, f"not positive: {self}")
        _check_padding(self.padding)


@dataclass(frozen=True, kw_only=True)
class ReLU:
    """max(x, 0)."""


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Inverted dropout: in training a share `rate` of the values becomes 0 and the rest is divided by 1 - rate."""

    rate: float

    def __post_init__(self) -> None:
        _require(0 <= self.rate < 1, f"dropout rate {self.rate}; accepted: 0 <= rate < 1")


@dataclass(frozen=True, kw_only=True)
class Flatten:
    """(N, H, W, C) to (N, H·W·C), C running fastest."""


Layer = Conv2D | Dense | MaxPool2D | ReLU | Dropout | Flatten


@dataclass(frozen=True, kw_only=True)
class Network:
    """A chain of layers on images of shape (H, W, C)."""

    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]

    def named_layers(self) -> Iterator[tuple[str, Layer]]:
        """Yield each layer with its name: its kind and its place among its kind, e.g. `conv2d_2`."""
        seen: Counter[str] = Counter()
        for layer in self.layers:
            kind = type(layer).__name__.lower()
            seen[kind] += 1
            yield f"{kind}_{seen[kind]}", layer


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Heavy-ball momentum with inverse-time decay: v ← momentum·v − lr_t·g; w ← w + v.

    lr_t = learning_rate / (1 + decay·t), t counting updates from 0 (Keras 1 and 2). The learning rate is inside the
    velocity, which matters while it changes.
    """

    learning_rate: float
    momentum: float
    decay: float


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam as in section 2 of Kingma and Ba 2015 (the efficient form, as in TensorFlow and Keras).

    m ← β₁·m + (1−β₁)·g; v ← β₂·v + (1−β₂)·g²; w ← w − lr·sqrt(1−β₂ᵗ)/(1−β₁ᵗ) · m / (sqrt(v) + ε), t counting from 1.
    ε is outside the bias correction. PyTorch and optax divide by sqrt(v/(1−β₂ᵗ)) + ε', which is the same update
    where ε' = ε / sqrt(1−β₂ᵗ).
    """

    learning_rate: float
    beta_1: float
    beta_2: float
    epsilon: float


Optimizer = SGD | Adam


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Images (N, H, W, C) float32 and labels (N,) int32, and how many of them are used.

    `scaling` is `"unit"` (divided by the largest possible pixel), `"min-max-per-pixel"` (each pixel to [0, 1] by its
    own extremes, train and test apart) or `"none"`. Training takes the first `train_samples` of the stored training
    set, validation its last `validation_samples`.
    """

    source: Literal["digits", "mnist", "cifar10", "synthetic"]
    scaling: Literal["unit", "min-max-per-pixel", "none"]
    image_shape: tuple[int, int, int]
    classes: int
    train_samples: int
    validation_samples: int
    test_samples: int

    def __post_init__(self) -> None:
        _require(
            self.train_samples > 0 and self.test_samples > 0 and self.validation_samples >= 0, f"not positive: {self}"
        )


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One training task, whole: `name` and the `parameters` that were chosen, then everything they stand for.

    The training set is put in a new order for every epoch and the last partial batch is kept. A validation pass, if
    the data set has validation samples, follows each epoch and is part of the timed training.
    """

    name: str
    data: DataSet
    network: Network
    optimizer: Optimizer
    batch_size: int
    epochs: int
    parameters: tuple[tuple[str, int | float | str], ...] = ()

    def __post_init__(self) -> None:
        _require(self.batch_size > 0 and self.epochs > 0, f"batch size {self.batch_size}, epochs {self.epochs}")
        _require(self.network.input_shape == self.data.image_shape, "the network does not fit the images")

    @property
    def label(self) -> str:
        """The name with the chosen parameters, e.g. `mnist-mlp units=64`."""
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.parameters)])


_TYPES = {
    kind.__name__: kind
    for kind in (
        GlorotUniform, Conv2D, Dense, MaxPool2D, ReLU, Dropout, Flatten, Network, SGD, Adam, DataSet, Workload,
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
