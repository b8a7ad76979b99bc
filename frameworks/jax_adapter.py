"""JAX: a jitted step per batch with donated state, optax optimisers."""

import math
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from numpy.typing import NDArray

from frameworks.base import (
    LOSS_SCALE,
    MIXED,
    Adapter,
    Device,
    Images,
    Labels,
    Model,
    Precision,
    batches,
    schedule,
    work_off,
)
from frameworks.jax_device import allow_tf32, peak_memory_bytes, precisions, start_device
from workloads.initial import Weights, by_node
from workloads.shapes import forward_flops, output_shapes, padding_amounts, weight_shapes, window_counts
from workloads.spec import (
    GELU,
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
    LayerNorm,
    LocalResponseNorm,
    MaxPool2D,
    MultiHeadAttention,
    Network,
    Node,
    PositionEmbedding,
    ReLU,
    Shape,
    Workload,
)

Arrays = dict[str, jax.Array]
State = tuple[Arrays, Arrays, optax.OptState, jax.Array]
"""Weights and moving statistics by name, the optimiser's state, and the key that the next dropout comes from."""


def _slices(x: jax.Array, layer: MaxPool2D | AveragePool2D, before: Shape, value: float) -> list[jax.Array]:
    """Return the strided slices (N, H', W', C) that a pool reduces, one for each place in its window.

    The same from lax.reduce_window has a gradient that is some 30 times slower on CPU for a max pool.
    """
    size = before[0], before[1]
    padding = padding_amounts(size, layer.pool_size, layer.strides, layer.padding)
    (row_step, column_step), (rows, columns) = layer.strides, window_counts(size, layer).shape
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)
    height, width = (rows - 1) * row_step + 1, (columns - 1) * column_step + 1
    return [
        x[:, top : top + height : row_step, left : left + width : column_step]
        for top, left in product(*map(range, layer.pool_size))
    ]


def _max_pool(x: jax.Array, layer: MaxPool2D, before: Shape) -> jax.Array:
    """Take the largest of each window; the gradient goes to the first of equals, as in other tools."""
    largest, *others = _slices(x, layer, before, -jnp.inf)
    for other in others:
        largest = jnp.where(other > largest, other, largest)
    return largest


def _average_pool(x: jax.Array, layer: AveragePool2D, before: Shape) -> jax.Array:
    counts = window_counts((before[0], before[1]), layer)
    return sum(_slices(x, layer, before, 0.0)) / counts[..., None].astype(x.dtype)


def _plus(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Add a weight that is never short, so that its gradient is no sum of short numbers, and return the type of x."""
    return (x + weight).astype(x.dtype)


def _normalize(x: jax.Array, layer: BatchNorm, own: Arrays, mean: jax.Array, variance: jax.Array) -> jax.Array:
    """Normalise by statistics that are never short, and return the type of x."""
    factor = lax.rsqrt(variance + layer.epsilon)
    factor = factor * own["gamma"] if layer.scale else factor
    y = (x - mean) * factor
    return (y + own["beta"] if layer.center else y).astype(x.dtype)


def _response_norm(x: jax.Array, layer: LocalResponseNorm) -> jax.Array:
    radius, channels = layer.radius, x.shape[-1]
    squares = jnp.pad(x**2, ((0, 0), (0, 0), (0, 0), (radius, radius)))
    sums = sum(squares[..., place : place + channels] for place in range(2 * radius + 1))
    return x * (layer.bias + layer.alpha * sums) ** -layer.beta


def _layer_norm(x: jax.Array, layer: LayerNorm, own: Arrays) -> jax.Array:
    # The fast algorithm's mean(x²) − mean(x)² cancels.
    y = jax.nn.standardize(x.astype(own["gamma"].dtype), epsilon=layer.epsilon, algorithm="stable")
    return (y * own["gamma"] + own["beta"]).astype(x.dtype)


def _lstm(x: jax.Array, layer: LSTM, own: Arrays) -> jax.Array:
    """Scan over the places.

    On CPU a step took 1.5 times the processor time with one product of all inputs before the scan.
    """

    def step(state: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], Any]:
        h, c = state
        parts = x @ own["kernel"] + h @ own["recurrent_kernel"] + own["bias"]
        i, f, g, o = jnp.split(parts, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = (jax.nn.sigmoid(o) * jnp.tanh(c)).astype(x.dtype)
        return (h, c), h if layer.return_sequences else None

    start = tuple(jnp.zeros((len(x), layer.units), dtype) for dtype in (x.dtype, own["bias"].dtype))
    (last, _), states = lax.scan(step, start, x.swapaxes(0, 1))
    return states.swapaxes(0, 1) if layer.return_sequences else last


def _attention(x: jax.Array, layer: MultiHeadAttention, own: Arrays) -> jax.Array:
    """Self-attention; jax.nn.dot_product_attention has its softmax in float32 whatever the precision."""
    samples, places, columns = x.shape

    def project(part: str, values: jax.Array) -> jax.Array:
        values = values @ own[f"{part}_kernel"]
        return _plus(values, own[f"{part}_bias"]) if layer.use_bias else values

    queries, keys, values = (
        project(part, x).reshape(samples, places, layer.heads, -1) for part in ("query", "key", "value")
    )
    scores = jnp.einsum("nthk,nshk->nhts", queries, keys) / math.sqrt(columns / layer.heads)
    if layer.causal:
        scores = jnp.where(jnp.tri(places, dtype=bool), scores, -jnp.inf)
    shares = jax.nn.softmax(scores.astype(jnp.promote_types(scores.dtype, jnp.float32))).astype(x.dtype)
    mixed = jnp.einsum("nhts,nshk->nthk", shares, values)
    return project("output", mixed.reshape(x.shape))


class Net:
    """A network of the spec as a pure function, whose products are of the type `dtype`."""

    def __init__(self, network: Network, dtype: str) -> None:
        self._steps = schedule(network)
        self._shapes = output_shapes(network)
        self._dtype = dtype

    def _short(self, weights: Arrays) -> Arrays:
        """Return the weights as the net takes them: those of products short."""
        return {name: x.astype(self._dtype) if name.endswith("kernel") else x for name, x in weights.items()}

    def _cast(self, x: jax.Array) -> jax.Array:
        """Return images in the type of products, and tokens as they are."""
        return x if jnp.issubdtype(x.dtype, jnp.integer) else x.astype(self._dtype)

    def infer(self, weights: Arrays, moving: Arrays, x: jax.Array, outputs: Arrays | None = None) -> jax.Array:
        """Return the output for images or tokens, and put every node's into `outputs` if given."""

        weights_of = by_node(self._short(weights | moving))

        def apply(node: Node, *inputs: jax.Array) -> jax.Array:
            own = weights_of.get(node.name, {})
            match node.layer:
                case BatchNorm():
                    return _normalize(inputs[0], node.layer, own, own["moving_mean"], own["moving_variance"])
                case Dropout():
                    return inputs[0]
            return self._apply(node, own, *inputs)

        return work_off(self._steps, self._cast(x), apply, outputs)

    def train(self, weights: Arrays, moving: Arrays, x: jax.Array, key: jax.Array) -> tuple[jax.Array, Arrays]:
        """Return the logits with dropout on, and the moving statistics after this batch."""
        moved, weights_of = dict(moving), by_node(self._short(weights))

        def apply(node: Node, *inputs: jax.Array) -> jax.Array:
            nonlocal key
            own, x = weights_of.get(node.name, {}), inputs[0]
            match node.layer:
                case BatchNorm(momentum=momentum):
                    axes, wide = tuple(range(x.ndim - 1)), x.astype(moving[f"{node.name}/moving_mean"].dtype)
                    mean, variance = wide.mean(axes), wide.var(axes)
                    count = x.size // x.shape[-1]
                    news = {"moving_mean": mean, "moving_variance": variance * (count / max(count - 1, 1))}
                    for name, value in news.items():
                        full = f"{node.name}/{name}"
                        moved[full] = momentum * moving[full] + (1 - momentum) * lax.stop_gradient(value)
                    return _normalize(x, node.layer, own, mean, variance)
                case Dropout(rate=rate):
                    key, mask_key = jax.random.split(key)
                    return jnp.where(jax.random.bernoulli(mask_key, 1 - rate, x.shape), x / (1 - rate), 0)
            return self._apply(node, own, *inputs)

        return work_off(self._steps, self._cast(x), apply), moved

    def _apply(self, node: Node, own: Arrays, *inputs: jax.Array) -> jax.Array:
        """Return what is the same in training and inference."""
        x, before = inputs[0], self._shapes[node.inputs[0]]
        match node.layer:
            case Conv2D(kernel_size=window, strides=strides) | DepthwiseConv2D(kernel_size=window, strides=strides):
                amounts = padding_amounts((before[0], before[1]), window, strides, node.layer.padding)
                kernel, groups = ("HWIO", 1) if isinstance(node.layer, Conv2D) else ("HWOI", before[-1])
                layouts = ("NHWC", kernel, "NHWC")
                x = lax.conv_general_dilated(
                    x, own["kernel"], strides, amounts, dimension_numbers=layouts, feature_group_count=groups
                )
                return _plus(x, own["bias"]) if node.layer.use_bias else x
            case Dense():
                x = x @ own["kernel"]
                return _plus(x, own["bias"]) if node.layer.use_bias else x
            case Embedding():
                return own["embeddings"][x].astype(self._dtype)
            case PositionEmbedding():
                return _plus(x, own["embeddings"])
            case LSTM():
                return _lstm(x, node.layer, own)
            case MultiHeadAttention():
                return _attention(x, node.layer, own)
            case LayerNorm():
                return _layer_norm(x, node.layer, own)
            case GELU(form=form):
                return jax.nn.gelu(x, approximate=form == "tanh")
            case MaxPool2D():
                return _max_pool(x, node.layer, before)
            case AveragePool2D():
                return _average_pool(x, node.layer, before)
            case GlobalAveragePool2D():
                return x.mean((1, 2))
            case LocalResponseNorm():
                return _response_norm(x, node.layer)
            case ReLU():
                return jax.nn.relu(x)
            case Flatten():
                return x.reshape(len(x), -1)
            case Crop2D(cropping=((top, bottom), (left, right))):
                return x[:, top : before[0] - bottom, left : before[1] - right]
            case Add():
                return sum(inputs[1:], start=x)
            case Concatenate():
                return jnp.concatenate(inputs, axis=-1)
        raise TypeError(f"JAX has no translation of {node}")


def _optimizer(spec: SGD | Adam | None) -> optax.GradientTransformation:
    match spec:
        case None:
            # It has no state, and no update is ever asked of it.
            return optax.identity()
        case SGD(learning_rate=rate, momentum=momentum, decay=decay, nesterov=nesterov):
            # The rate comes before the momentum, as it belongs inside the velocity.
            return optax.chain(
                optax.scale_by_schedule(lambda updates: -rate / (1 + decay * updates)),
                optax.trace(decay=momentum, nesterov=nesterov),
            )
        case Adam():
            return _adam(spec)


def _adam(spec: Adam) -> optax.GradientTransformation:
    """The spec's Adam from optax's parts; optax.adam itself has one of the two forms, and 1 − βᵗ written out.

    In float32 that is off by 1e-5 in the first steps, and −expm1(t·log β) is not.
    """

    def init(weights: Arrays) -> optax.ScaleByAdamState:
        zeros = optax.tree.zeros_like(weights)
        return optax.ScaleByAdamState(count=jnp.zeros((), jnp.int32), mu=zeros, nu=zeros)

    def update(gradients: Arrays, state: Any, weights: Arrays | None = None) -> tuple[Arrays, Any]:
        first = optax.tree.update_moment(gradients, state.mu, spec.beta_1, 1)
        second = optax.tree.update_moment_per_elem_norm(gradients, state.nu, spec.beta_2, 2)
        count = state.count + 1
        correction_1, correction_2 = (-jnp.expm1(count * math.log(beta)) for beta in (spec.beta_1, spec.beta_2))
        rate = spec.learning_rate * jnp.sqrt(correction_2) / correction_1
        epsilon = spec.epsilon * (jnp.sqrt(correction_2) if spec.epsilon_form == "algorithm-1" else 1)
        updates = jax.tree.map(lambda m, v: -rate * m / (jnp.sqrt(v) + epsilon), first, second)
        return updates, optax.ScaleByAdamState(count=count, mu=first, nu=second)

    return optax.GradientTransformation(init, update)


MOST_LOOPED_FLOPS = 10**9
"""How many FLOPs of a sample are tried in loops. The proof of resnet50-v1.5, with 8 × 10⁹, took over ten minutes."""
FLOAT64_OPTIONS = {"xla_backend_optimization_level": 0}
"""Float64 is for proofs alone and shows whether the functions are the net's: machine code is optimised in float32."""


class JaxAdapter(Adapter):
    """The threads follow the process's affinity: JAX has no call for them."""

    def __init__(self, *, device: Device, cores: int) -> None:
        self._device = start_device(device)
        self.precisions = precisions(self._device)

    def supports(self, workload: Workload, precision: Precision) -> str | None:
        """Return what XLA takes too long for: on CPU its convolutions of float64 are plain loops."""
        convolves = any(isinstance(node.layer, Conv2D | DepthwiseConv2D) for node in workload.network.nodes)
        slow = precision == "float64" and self._device.platform == "cpu" and convolves
        if slow and forward_flops(workload.network) > MOST_LOOPED_FLOPS:
            return "XLA takes from minutes to hours for the convolutions of so big a net in float64"
        return super().supports(workload, precision)

    def build(self, workload: Workload, weights: Weights, seed: int, precision: Precision) -> Model:
        """Make the functions and put the weights on the device. JAX has double precision as a mode of everything."""
        jax.config.update("jax_enable_x64", precision == "float64")
        allow_tf32(precision == "tf32")
        return JaxModel(workload, weights, seed, self._device, precision)


class JaxModel(Model):
    """Pure functions of the state, each compiled once for full batches and once for the rest."""

    def __init__(
        self, workload: Workload, weights: Weights, seed: int, device: jax.Device, precision: Precision
    ) -> None:
        self._device, self._dtype = device, "float64" if precision == "float64" else "float32"
        self._batch_size = workload.batch_size
        self._short = precision if precision in MIXED else self._dtype
        self._net = net = Net(workload.network, self._short)
        loss_scale = LOSS_SCALE if precision == "float16" else 1.0
        optimizer, l2 = _optimizer(workload.optimizer), workload.l2

        def loss_of(
            weights: Arrays, moving: Arrays, images: jax.Array, labels: jax.Array, key: jax.Array
        ) -> tuple[jax.Array, tuple[jax.Array, Arrays]]:
            logits, moved = net.train(weights, moving, images, key)
            logits = logits.astype(self._dtype)
            match workload.loss:
                case "softmax-cross-entropy":
                    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
                case "half-squared-sum":
                    loss = 0.5 * (logits**2).sum()
            if l2:
                loss += 0.5 * l2.rate * sum((weight**2).sum() for name, weight in weights.items() if l2.covers(name))
            return loss * loss_scale, (loss, moved)

        def differentiate(*batch: Any) -> tuple[jax.Array, Arrays, Arrays]:
            (_, (loss, moved)), gradients = jax.value_and_grad(loss_of, has_aux=True)(*batch)
            return loss, moved, jax.tree.map(lambda gradient: gradient / loss_scale, gradients)

        def predict(weights: Arrays, moving: Arrays, images: jax.Array) -> jax.Array:
            return net.infer(weights, moving, images).astype(self._dtype)

        def step(state: State, images: jax.Array, labels: jax.Array) -> tuple[State, jax.Array]:
            weights, moving, optimizer_state, key = state
            key, dropout_key = jax.random.split(key)
            loss, moving, gradients = differentiate(weights, moving, images, labels, dropout_key)
            updates, optimizer_state = optimizer.update(gradients, optimizer_state)
            return (optax.apply_updates(weights, updates), moving, optimizer_state, key), loss

        self._jit = jit = partial(jax.jit, compiler_options=FLOAT64_OPTIONS if precision == "float64" else None)
        self._predict, self._differentiate = jit(predict), jit(differentiate)
        self._step = jit(step, donate_argnums=0)
        trainable = weight_shapes(workload.network).keys()
        # The step gives the state's memory away, so it must not be the caller's.
        arrays = jax.device_put({name: self._cast(weight) for name, weight in weights.items()}, may_alias=False)
        moving = {name: arrays.pop(name) for name in weights if name not in trainable}
        self._state: State = (arrays, moving, jax.jit(optimizer.init)(arrays), jax.random.key(seed))

    def _cast(self, array: Images) -> NDArray[Any]:
        """Return numbers in the weights' precision, and tokens as they are."""
        return array if array.dtype == np.int32 else array.astype(self._dtype, copy=False)

    def forward(self, images: Images) -> NDArray[Any]:
        weights, moving, *_ = self._state
        parts = (images[start : start + self._batch_size] for start in range(0, len(images), self._batch_size))
        return np.concatenate(jax.device_get([self._predict(weights, moving, self._cast(part)) for part in parts]))

    def outputs(self, images: Images) -> dict[str, NDArray[Any]]:
        @self._jit
        def run(weights: Arrays, moving: Arrays, images: jax.Array) -> Arrays:
            outputs: Arrays = {}
            self._net.infer(weights, moving, images, outputs)
            return {name: output.astype(self._dtype) for name, output in outputs.items()}

        return jax.device_get(run(*self._state[:2], self._cast(images)))

    def gradients(self, images: Images, labels: Labels) -> tuple[float, Weights]:
        loss, gradients = self.gradient_step(self._cast(images), labels)
        return loss, {name: np.array(gradient) for name, gradient in gradients.items()}

    def train_batches(self, images: Images, labels: Labels, order: NDArray[np.int64]) -> float:
        parts, losses = batches(order, self._batch_size), []
        for batch in parts:
            self._state, loss = self._step(self._state, self._cast(images[batch]), labels[batch])
            losses.append(loss)
        return float(np.average(jax.device_get(losses), weights=[len(batch) for batch in parts]))

    def place(self, images: Images) -> jax.Array:
        return jax.block_until_ready(jax.device_put(self._cast(images), may_alias=False))

    def forward_step(self, placed: jax.Array) -> NDArray[Any]:
        weights, moving, *_ = self._state
        return jax.device_get(self._predict(weights, moving, placed))

    def gradient_step(self, placed: jax.Array, labels: Labels) -> tuple[float, dict[str, NDArray[Any]]]:
        weights, moving, _, key = self._state
        loss, _, gradients = self._differentiate(weights, moving, placed, labels, key)
        loss, gradients = jax.device_get((loss, gradients))
        return float(loss), gradients

    def train_step(self, placed: jax.Array, labels: Labels) -> float:
        self._state, loss = self._step(self._state, placed, labels)
        return float(loss)

    def weights(self) -> Weights:
        return {name: np.array(weight) for name, weight in {**self._state[0], **self._state[1]}.items()}

    def matmul(self, a: NDArray[np.float32], b: NDArray[np.float32], times: int) -> NDArray[np.float32]:
        x, y = (jax.device_put(array).astype(self._short) for array in (a, b))
        for _ in range(times):
            x = jnp.matmul(x, y)
        return np.asarray(x.astype(np.float32))

    def synchronize(self) -> None:
        jax.block_until_ready(self._state)

    def peak_memory_bytes(self) -> int | None:
        return peak_memory_bytes(self._device)
