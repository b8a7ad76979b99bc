"""Keras 3 by hand: the IMDB example's LSTM and a small GPT of Keras' own layers, on the backend of KERAS_BACKEND."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

PLACES, COLUMNS, HEADS, BLOCKS, TOKENS = 64, 256, 4, 4, 64


def reviews() -> keras.Model:
    parts = [
        keras.Input((80,), dtype="int32"),
        layers.Embedding(20_000, 128),
        layers.LSTM(128),
        layers.Dropout(0.2),
        layers.Dense(2),
    ]
    return keras.Sequential(parts)


class Positions(layers.Layer):
    """Adds a learnt row to each place, as the position embedding of Keras' GPT example does."""

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=(PLACES, COLUMNS), initializer="uniform")

    def call(self, x: Any) -> Any:
        return x + self.table


def gpt() -> keras.Model:
    """Build the net for tokens (N, T)."""
    tokens = keras.Input((PLACES,), dtype="int32")
    x = Positions()(layers.Embedding(TOKENS, COLUMNS)(tokens))
    for _ in range(BLOCKS):
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        x = x + layers.MultiHeadAttention(HEADS, COLUMNS // HEADS)(y, y, use_causal_mask=True)
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        x = x + layers.Dense(COLUMNS)(layers.Dense(4 * COLUMNS, activation=keras.activations.gelu)(y))
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    return keras.Model(tokens, layers.Dense(TOKENS, use_bias=False)(x))


def make_steps(model: str, tokens: Any) -> dict[str, Callable[[Any], Any]]:
    """Return the training step of a net, a function of the labels of `tokens` (N, T)."""
    net = {"imdb-lstm": reviews, "gpt-nano": gpt}[model]()
    settings = {"beta_2": 0.99, "epsilon": 1e-8} if model == "gpt-nano" else {}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(keras.optimizers.Adam(1e-3, **settings), loss)
    x = ops.convert_to_tensor(tokens)

    def train(labels: Any) -> float:
        loss = float(net.train_on_batch(x, labels))
        if keras.config.backend() == "jax":
            import jax

            jax.block_until_ready([variable.value for variable in (*net.variables, *net.optimizer.variables)])
        return loss

    return {"train": train}
