"""JAX with optax by hand: an LSTM by lax.scan and a small GPT, as jitted functions, state donated."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

PLACES, COLUMNS, HEADS, BLOCKS, TOKENS = 64, 256, 4, 4, 64
normal = jax.nn.initializers.normal(0.02)


def init_reviews(key: jax.Array) -> dict[str, jax.Array]:
    shapes = {"words": (20_000, 128), "input": (128, 512), "state": (128, 512), "head": (128, 2)}
    keys = jax.random.split(key, len(shapes))
    kernels = {name: normal(key, shape) for key, (name, shape) in zip(keys, shapes.items(), strict=True)}
    return {**kernels, "bias": jnp.zeros(512), "head_bias": jnp.zeros(2)}


def reviews(weights: Any, words: jax.Array, key: jax.Array) -> jax.Array:
    """Return the logits of the last state of words (N, T), with dropout."""

    def cell(carry: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        h, c = carry
        i, f, g, o = jnp.split(x @ weights["input"] + h @ weights["state"] + weights["bias"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    start = jnp.zeros((len(words), 128))
    (h, _), _ = jax.lax.scan(cell, (start, start), weights["words"][words].swapaxes(0, 1))
    h = jnp.where(jax.random.bernoulli(key, 0.8, h.shape), h / 0.8, 0)
    return h @ weights["head"] + weights["head_bias"]


def init_gpt(key: jax.Array) -> dict[str, Any]:
    def init_block(key: jax.Array) -> dict[str, Any]:
        shapes = ((COLUMNS, 3 * COLUMNS), (COLUMNS, COLUMNS), (COLUMNS, 4 * COLUMNS), (4 * COLUMNS, COLUMNS))
        keys = jax.random.split(key, len(shapes))
        dense = [(normal(key, shape), jnp.zeros(shape[1])) for key, shape in zip(keys, shapes, strict=True)]
        return {"dense": dense, "norms": [(jnp.ones(COLUMNS), jnp.zeros(COLUMNS)) for _ in range(2)]}

    tokens_key, places_key, head_key, *keys = jax.random.split(key, 3 + BLOCKS)
    return {
        "tokens": normal(tokens_key, (TOKENS, COLUMNS)),
        "places": normal(places_key, (PLACES, COLUMNS)),
        "blocks": [init_block(key) for key in keys],
        "norm": (jnp.ones(COLUMNS), jnp.zeros(COLUMNS)),
        "head": normal(head_key, (COLUMNS, TOKENS)),
    }


def layer_norm(x: jax.Array, gamma: jax.Array, beta: jax.Array) -> jax.Array:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * gamma + beta


def gpt(weights: Any, tokens: jax.Array, key: jax.Array) -> jax.Array:
    """Return the logits of the token after each of (N, T)."""
    x = weights["tokens"][tokens] + weights["places"]
    for block in weights["blocks"]:
        project, merge, widen, narrow = (lambda x, k=kernel, b=bias: x @ k + b for kernel, bias in block["dense"])
        parts = project(layer_norm(x, *block["norms"][0])).reshape(*x.shape[:2], 3, HEADS, COLUMNS // HEADS)
        mixed = jax.nn.dot_product_attention(parts[:, :, 0], parts[:, :, 1], parts[:, :, 2], is_causal=True)
        x = x + merge(mixed.reshape(x.shape))
        x = x + narrow(jax.nn.gelu(widen(layer_norm(x, *block["norms"][1])), approximate=False))
    return layer_norm(x, *weights["norm"]) @ weights["head"]


def make_steps(model: str, tokens: np.ndarray) -> dict[str, Callable[[np.ndarray], Any]]:
    """Return the training step of a net, a function of the labels of `tokens` (N, T)."""
    init, net = {"imdb-lstm": (init_reviews, reviews), "gpt-nano": (init_gpt, gpt)}[model]
    optimizer = optax.adam(1e-3, b2=0.99, eps=1e-8) if model == "gpt-nano" else optax.adam(1e-3, eps=1e-7)
    x = jnp.array(tokens)

    def loss_of(weights: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(net(weights, x, key), y).mean()

    @partial(jax.jit, donate_argnums=0)
    def update(state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
        weights, opt_state, key = state
        key, dropout_key = jax.random.split(key)
        loss, gradients = jax.value_and_grad(loss_of)(weights, x, y, dropout_key)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return (optax.apply_updates(weights, updates), opt_state, key), loss

    weights = init(jax.random.key(0))
    state = weights, optimizer.init(weights), jax.random.key(1)

    def train(labels: np.ndarray) -> float:
        nonlocal state
        state, loss = update(state, x, labels)
        jax.block_until_ready(state)
        return float(loss)

    return {"train": train}
