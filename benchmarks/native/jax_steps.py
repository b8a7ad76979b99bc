"""JAX with optax by hand: ResNet-50 and the convolutions of AlexNet as jitted functions, state donated."""

from collections.abc import Callable
from functools import partial, reduce
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Filters, blocks, and the stride of the first."""
LEARNING_RATE = 4.4e-6
L2_RATE = 4e-5
glorot = jax.nn.initializers.glorot_uniform()


def conv(x: jax.Array, kernel: jax.Array, stride: int, padding: Any) -> jax.Array:
    layouts = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=layouts)


def larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(b > a, b, a)


def max_pool_3x3(x: jax.Array) -> jax.Array:
    """Halve by strided slices: on CPU the gradient of lax.reduce_window is many times slower."""
    height, width = x.shape[1] - 2, x.shape[2] - 2
    parts = [x[:, row : row + height : 2, column : column + width : 2] for row, column in product(range(3), repeat=2)]
    return reduce(larger, parts)


def init_resnet50(key: jax.Array) -> tuple[Any, Any]:
    """Return the weights and the moving statistics, the convolutions of each in the order in which they run."""
    shapes, channels = [(7, 7, 3, 64)], 64
    for filters, blocks, _ in STAGES:
        for block in range(blocks):
            shapes += [(1, 1, channels, 4 * filters)] if block == 0 else []
            shapes += [(1, 1, channels, filters), (3, 3, filters, filters), (1, 1, filters, 4 * filters)]
            channels = 4 * filters
    dense_key, *keys = jax.random.split(key, len(shapes) + 1)
    weights = {
        "kernels": [glorot(key, shape) for key, shape in zip(keys, shapes, strict=True)],
        "norms": [(jnp.ones(shape[-1]), jnp.zeros(shape[-1])) for shape in shapes],
        "dense": (glorot(dense_key, (channels, 1001)), jnp.zeros(1001)),
    }
    return weights, [(jnp.zeros(shape[-1]), jnp.ones(shape[-1])) for shape in shapes]


def resnet50(weights: Any, x: jax.Array) -> tuple[jax.Array, Any]:
    """Return the logits for (N, H, W, C) in training mode and the mean and variance of every batch normalisation."""
    layers, statistics = zip(weights["kernels"], weights["norms"], strict=True), []

    def conv_norm(x: jax.Array, stride: int = 1) -> jax.Array:
        kernel, (gamma, beta) = next(layers)
        side = (len(kernel) // 2, len(kernel) // 2)
        x = conv(x, kernel, stride, (side, side))
        mean = x.mean((0, 1, 2))
        variance = jnp.square(x).mean((0, 1, 2)) - jnp.square(mean)
        statistics.append((mean, variance))
        return (x - mean) * (jax.lax.rsqrt(variance + 1e-5) * gamma) + beta

    x = jax.nn.relu(conv_norm(x, 2))
    x = max_pool_3x3(jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-jnp.inf))
    for _, blocks, stride in STAGES:
        for block in range(blocks):
            first = 1 if block else stride
            shortcut = x if block else conv_norm(x, first)
            x = jax.nn.relu(conv_norm(x, first))
            x = jax.nn.relu(conv_norm(x))
            x = jax.nn.relu(conv_norm(x) + shortcut)
    kernel, bias = weights["dense"]
    return x.mean((1, 2)) @ kernel + bias, statistics


def init_alexnet(key: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
    shapes = (11, 11, 3, 64), (5, 5, 64, 192), (3, 3, 192, 384), (3, 3, 384, 256), (3, 3, 256, 256)
    keys = jax.random.split(key, len(shapes))
    return [(glorot(key, shape), jnp.zeros(shape[-1])) for key, shape in zip(keys, shapes, strict=True)]


def response_norm(x: jax.Array) -> jax.Array:
    squares = jnp.pad(jnp.square(x), ((0, 0), (0, 0), (0, 0), (2, 2)))
    sums = sum(squares[..., place : place + x.shape[-1]] for place in range(5))
    return x * (2.0 + 1e-4 * sums) ** -0.75


def alexnet(weights: Any, x: jax.Array) -> jax.Array:
    """Return the last pool's output for (N, H, W, C)."""
    for layer, (kernel, bias) in enumerate(weights):
        x = jax.nn.relu(conv(x, kernel, 1 if layer else 4, "SAME") + bias)
        if layer < 2:
            x = response_norm(x)
        if layer in (0, 1, 4):
            x = max_pool_3x3(x)
    return x


def make_steps(model: str, images: np.ndarray) -> dict[str, Callable[[np.ndarray], Any]]:
    """Return the steps of a net by kind, functions of the labels (N,) of `images` (N, H, W, C)."""
    x = jnp.array(images)
    if model == "resnet50":
        return {"train": train_step(x)}
    weights = init_alexnet(jax.random.key(0))
    return {"forward": forward_step(weights, x), "gradients": gradient_step(weights, x)}


def train_step(x: jax.Array) -> Callable[[np.ndarray], float]:
    optimizer = optax.sgd(LEARNING_RATE)

    def loss_of(weights: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any]:
        logits, statistics = resnet50(weights, x)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        decayed = [*weights["kernels"], *weights["dense"]]
        return loss + 0.5 * L2_RATE * sum(jnp.square(weight).sum() for weight in decayed), statistics

    @partial(jax.jit, donate_argnums=0)
    def update(state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
        weights, moving, opt_state = state
        (loss, statistics), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights, x, y)
        updates, opt_state = optimizer.update(gradients, opt_state)
        moving = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, moving, statistics)
        return (optax.apply_updates(weights, updates), moving, opt_state), loss

    weights, moving = init_resnet50(jax.random.key(0))
    state = weights, moving, optimizer.init(weights)

    def train(labels: np.ndarray) -> float:
        nonlocal state
        state, loss = update(state, x, labels)
        jax.block_until_ready(state)
        return float(loss)

    return train


def forward_step(weights: Any, x: jax.Array) -> Callable[[np.ndarray], Any]:
    infer = jax.jit(alexnet)
    return lambda labels: jax.device_get(infer(weights, x))


def gradient_step(weights: Any, x: jax.Array) -> Callable[[np.ndarray], Any]:
    @jax.jit
    @jax.value_and_grad
    def differentiate(weights: Any, x: jax.Array) -> jax.Array:
        return 0.5 * jnp.square(alexnet(weights, x)).sum()

    return lambda labels: jax.device_get(differentiate(weights, x))
