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

from frameworks.base import Adapter, Device, Images, Labels, Model, batches
from frameworks.jax_device import peak_memory_bytes, start_device
from workloads.initial import Weights
from workloads.shapes import layer_shapes, padding_amounts
from workloads.spec import SGD, Adam, Conv2D, Dense, Dropout, Flatten, MaxPool2D, Network, ReLU, Shape, Workload

Arrays = dict[str, jax.Array]
State = tuple[Arrays, optax.OptState, jax.Array]
"""Weights by name, the optimiser's state, and the key that the next dropout comes from."""


def _max_pool(x: jax.Array, layer: MaxPool2D, padding: Any, after: Shape) -> jax.Array:
    """Take the largest of the window's strided slices; the gradient goes to the first of equals, as in other tools.

    The same from lax.reduce_window has a gradient (select-and-scatter) that is some 30 times slower on CPU.
    """
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-jnp.inf)
    (row_step, column_step), (rows, columns, _) = layer.strides, after
    largest = None
    for top, left in product(*map(range, layer.pool_size)):
        bottom, right = top + (rows - 1) * row_step + 1, left + (columns - 1) * column_step + 1
        candidate = x[:, top:bottom:row_step, left:right:column_step]
        largest = candidate if largest is None else jnp.where(candidate > largest, candidate, largest)
    return largest


def _logits(network: Network, weights: Arrays, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """Return the logits (N, classes) of (N, H, W, C); a key turns dropout on."""
    shapes = layer_shapes(network)
    for name, layer in network.named_layers():
        before, after = shapes[name]
        match layer:
            case Conv2D(kernel_size=window, strides=strides):
                padding = padding_amounts(before[:2], window, strides, layer.padding)
                layouts = ("NHWC", "HWIO", "NHWC")
                x = lax.conv_general_dilated(x, weights[f"{name}/kernel"], strides, padding, dimension_numbers=layouts)
                x = x + weights[f"{name}/bias"] if layer.use_bias else x
            case MaxPool2D(pool_size=window, strides=strides):
                x = _max_pool(x, layer, padding_amounts(before[:2], window, strides, layer.padding), after)
            case Dense():
                x = x @ weights[f"{name}/kernel"]
                x = x + weights[f"{name}/bias"] if layer.use_bias else x
            case ReLU():
                x = jax.nn.relu(x)
            case Dropout(rate=rate):
                if key is not None:
                    key, mask_key = jax.random.split(key)
                    x = jnp.where(jax.random.bernoulli(mask_key, 1 - rate, x.shape), x / (1 - rate), 0)
            case Flatten():
                x = x.reshape(len(x), -1)
    return x


def _optimizer(spec: SGD | Adam) -> optax.GradientTransformation:
    match spec:
        case SGD(learning_rate=rate, momentum=momentum, decay=decay):
            # The rate comes before the momentum, as it belongs inside the velocity.
            return optax.chain(
                optax.scale_by_schedule(lambda updates: -rate / (1 + decay * updates)),
                optax.trace(decay=momentum, nesterov=False),
            )
        case Adam():
            return _adam(spec)


def _adam(spec: Adam) -> optax.GradientTransformation:
    """The spec's Adam from optax's parts; optax.adam itself has epsilon on the other side of the bias correction.

    1 − βᵗ is −expm1(t·log β): written out in float32 it is off by 1e-5 in the first steps.
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
        updates = jax.tree.map(lambda m, v: -rate * m / (jnp.sqrt(v) + spec.epsilon), first, second)
        return updates, optax.ScaleByAdamState(count=count, mu=first, nu=second)

    return optax.GradientTransformation(init, update)


class JaxAdapter(Adapter):
    """The threads follow the process's affinity: JAX has no call for them."""

    def __init__(self, *, device: Device, cores: int) -> None:
        self._device = start_device(device)

    def build(self, workload: Workload, weights: Weights, seed: int) -> Model:
        """Make the functions and put the weights on the device."""
        return JaxModel(workload, weights, seed, self._device)


class JaxModel(Model):
    """Pure functions of the state, each compiled once for full batches and once for the rest."""

    def __init__(self, workload: Workload, weights: Weights, seed: int, device: jax.Device) -> None:
        self._device = device
        self._batch_size = workload.batch_size
        network, optimizer = workload.network, _optimizer(workload.optimizer)

        def loss_of(weights: Arrays, images: jax.Array, labels: jax.Array, key: jax.Array) -> jax.Array:
            logits = _logits(network, weights, images, key)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        def step(state: State, images: jax.Array, labels: jax.Array) -> tuple[State, jax.Array]:
            weights, optimizer_state, key = state
            key, dropout_key = jax.random.split(key)
            loss, gradients = jax.value_and_grad(loss_of)(weights, images, labels, dropout_key)
            updates, optimizer_state = optimizer.update(gradients, optimizer_state)
            return (optax.apply_updates(weights, updates), optimizer_state, key), loss

        self._predict = jax.jit(partial(_logits, network))
        self._loss_and_gradients = jax.jit(jax.value_and_grad(loss_of))
        self._step = jax.jit(step, donate_argnums=0)
        # The step gives the state's memory away, so it must not be the caller's.
        arrays = jax.device_put(weights, may_alias=False)
        self._state: State = (arrays, jax.jit(optimizer.init)(arrays), jax.random.key(seed))

    def forward(self, images: Images) -> NDArray[np.float32]:
        starts = range(0, len(images), self._batch_size)
        logits = [self._predict(self._state[0], images[start : start + self._batch_size]) for start in starts]
        return np.concatenate(jax.device_get(logits))

    def gradients(self, images: Images, labels: Labels) -> tuple[float, Weights]:
        weights, _, key = self._state
        loss, gradients = self._loss_and_gradients(weights, images, labels, key)
        return float(loss), {name: np.array(gradient) for name, gradient in gradients.items()}

    def train_batches(self, images: Images, labels: Labels, order: NDArray[np.int64]) -> float:
        parts, losses = batches(order, self._batch_size), []
        for batch in parts:
            self._state, loss = self._step(self._state, images[batch], labels[batch])
            losses.append(loss)
        return float(np.average(jax.device_get(losses), weights=[len(batch) for batch in parts]))

    def weights(self) -> Weights:
        return {name: np.array(weight) for name, weight in self._state[0].items()}

    def synchronize(self) -> None:
        jax.block_until_ready(self._state)

    def peak_memory_bytes(self) -> int | None:
        return peak_memory_bytes(self._device)
