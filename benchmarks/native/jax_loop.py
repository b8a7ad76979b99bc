"""The three nets by hand in JAX with optax: a jitted step per batch, state donated."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

glorot = jax.nn.initializers.glorot_uniform()


def init_layers(key: jax.Array, shapes: list[tuple[int, ...]]) -> list[tuple[jax.Array, jax.Array]]:
    keys = jax.random.split(key, len(shapes))
    return [(glorot(k, shape), jnp.zeros(shape[-1])) for k, shape in zip(keys, shapes, strict=True)]


def conv(x: jax.Array, layer: tuple[jax.Array, jax.Array], padding: str) -> jax.Array:
    kernel, bias = layer
    x = jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jax.nn.relu(x + bias)


def larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(b > a, b, a)


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Strided slices: on CPU the gradient of lax.reduce_window is many times slower."""
    top = larger(x[:, 0:-1:2, 0:-1:2], x[:, 0:-1:2, 1::2])
    bottom = larger(x[:, 1::2, 0:-1:2], x[:, 1::2, 1::2])
    return larger(top, bottom)


def dropout(key: jax.Array, rate: float, x: jax.Array) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)


def mnist_cnn(params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    conv1, conv2, (w1, b1), (w2, b2), (w3, b3) = params
    x = max_pool_2x2(conv(x, conv1, "VALID"))
    x = max_pool_2x2(conv(x, conv2, "VALID"))
    x = dropout(key, 0.2, x).reshape(len(x), -1)
    x = jax.nn.relu(x @ w1 + b1)
    x = jax.nn.relu(x @ w2 + b2)
    return x @ w3 + b3


def mnist_mlp(params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    (w1, b1), (w2, b2), (w3, b3), (w4, b4) = params
    key1, key2, key3 = jax.random.split(key, 3)
    x = x.reshape(len(x), -1)
    x = dropout(key1, 0.2, jax.nn.relu(x @ w1 + b1))
    x = dropout(key2, 0.2, jax.nn.relu(x @ w2 + b2))
    x = dropout(key3, 0.2, jax.nn.relu(x @ w3 + b3))
    return x @ w4 + b4


def cifar10_cnn(params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    conv1, conv2, conv3, (w1, b1), (w2, b2) = params
    key1, key2, key3 = jax.random.split(key, 3)
    x = dropout(key1, 0.25, max_pool_2x2(conv(x, conv1, "SAME")))
    x = conv(x, conv2, "SAME")
    x = dropout(key2, 0.25, max_pool_2x2(conv(x, conv3, "VALID"))).reshape(len(x), -1)
    x = dropout(key3, 0.2, jax.nn.relu(x @ w1 + b1))
    return x @ w2 + b2


def adam() -> optax.GradientTransformation:
    return optax.adam(1e-3, b1=0.9, b2=0.999, eps=1e-7)


def make_loop(model: str, images: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], None]:
    """Return a function that trains one epoch over `images[order]`."""
    if model == "mnist-cnn":
        net, batch_size = mnist_cnn, 128
        shapes = [(4, 4, 1, 32), (3, 3, 32, 16), (400, 128), (128, 64), (64, 10)]
        optimizer = optax.sgd(lambda step: 0.05 / (1 + 1e-5 * step), momentum=0.9)
    elif model == "mnist-mlp-1024":
        net, batch_size = mnist_mlp, 128
        shapes = [(784, 1024), (1024, 1024), (1024, 1024), (1024, 10)]
        optimizer = adam()
    elif model == "cifar10-cnn":
        net, batch_size = cifar10_cnn, 32
        shapes = [(3, 3, 3, 32), (3, 3, 32, 64), (3, 3, 64, 64), (3136, 512), (512, 10)]
        optimizer = adam()
    else:
        raise ValueError(f"model {model!r}; accepted: 'cifar10-cnn', 'mnist-cnn', 'mnist-mlp-1024'")

    def mean_loss(params: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(net(params, x, key), y).mean()

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def train_step(params: Any, opt_state: Any, key: jax.Array, x: jax.Array, y: jax.Array) -> tuple[Any, ...]:
        key, dropout_key = jax.random.split(key)
        loss, grads = jax.value_and_grad(mean_loss)(params, x, y, dropout_key)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, key, loss

    params = init_layers(jax.random.key(0), shapes)
    opt_state, key = optimizer.init(params), jax.random.key(1)

    def train_epoch(order: np.ndarray) -> None:
        nonlocal params, opt_state, key
        losses = []
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            params, opt_state, key, loss = train_step(params, opt_state, key, images[batch], labels[batch])
            losses.append(loss)
        np.mean(jax.device_get(losses))
        jax.block_until_ready(params)

    return train_epoch
