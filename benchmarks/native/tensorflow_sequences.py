"""TensorFlow by hand: an LSTM as a loop in a `tf.function`, and a small GPT of matrix products."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

PLACES, COLUMNS, HEADS, BLOCKS, TOKENS = 64, 256, 4, 4, 64
normal = tf.random_normal_initializer(stddev=0.02)


class Dense(tf.Module):
    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.kernel, self.bias = tf.Variable(normal((inputs, units))), tf.Variable(tf.zeros(units))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Multiply (N, T, D) as one matrix."""
        flat = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), self.kernel) + self.bias
        return tf.reshape(flat, (*x.shape[:-1], self.bias.shape[0]))


class LayerNorm(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma, self.beta = tf.Variable(tf.ones(COLUMNS)), tf.Variable(tf.zeros(COLUMNS))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        mean, variance = tf.nn.moments(x, -1, keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, self.beta, self.gamma, 1e-5)


class Reviews(tf.Module):
    """Words (N, T) to the logits of the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.words = tf.Variable(normal((20_000, 128)))
        self.input, self.head = Dense(128, 512), Dense(128, 2)
        self.state = tf.Variable(normal((128, 512)))

    def __call__(self, words: tf.Tensor) -> tf.Tensor:
        gates = self.input(tf.gather(self.words, tf.transpose(words)))
        steps = tf.TensorArray(tf.float32, words.shape[1]).unstack(gates)
        h = c = tf.zeros((words.shape[0], 128))
        for t in tf.range(words.shape[1]):
            i, f, g, o = tf.split(steps.read(t) + tf.matmul(h, self.state), 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
        return self.head(tf.nn.dropout(h, 0.2))


class Block(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = [LayerNorm(), LayerNorm()]
        self.project, self.merge = Dense(COLUMNS, 3 * COLUMNS), Dense(COLUMNS, COLUMNS)
        self.widen, self.narrow = Dense(COLUMNS, 4 * COLUMNS), Dense(4 * COLUMNS, COLUMNS)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        parts = tf.reshape(self.project(self.norms[0](x)), (*x.shape[:2], 3, HEADS, COLUMNS // HEADS))
        q, k, v = tf.unstack(tf.transpose(parts, (2, 0, 3, 1, 4)))
        scores = tf.matmul(q, k, transpose_b=True) * (COLUMNS // HEADS) ** -0.5
        seen = tf.linalg.band_part(tf.ones((PLACES, PLACES), tf.bool), -1, 0)
        mixed = tf.matmul(tf.nn.softmax(tf.where(seen, scores, -1e9)), v)
        x += self.merge(tf.reshape(tf.transpose(mixed, (0, 2, 1, 3)), x.shape))
        return x + self.narrow(tf.nn.gelu(self.widen(self.norms[1](x))))


class GPT(tf.Module):
    """Tokens (N, T) to the logits of the token after each."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = tf.Variable(normal((TOKENS, COLUMNS))), tf.Variable(normal((PLACES, COLUMNS)))
        self.blocks, self.norm = [Block() for _ in range(BLOCKS)], LayerNorm()
        self.head = tf.Variable(normal((COLUMNS, TOKENS)))

    def __call__(self, tokens: tf.Tensor) -> tf.Tensor:
        x = tf.gather(self.tokens, tokens) + self.places
        for block in self.blocks:
            x = block(x)
        return tf.matmul(tf.reshape(self.norm(x), (-1, COLUMNS)), self.head)


def make_steps(model: str, tokens: Any, *, jit_compile: bool = False) -> dict[str, Callable[[Any], Any]]:
    """Return the training step of a net, a function of the labels of `tokens` (N, T)."""
    net = {"imdb-lstm": Reviews, "gpt-nano": GPT}[model]()
    beta_2, epsilon = (0.99, 1e-8) if model == "gpt-nano" else (0.999, 1e-7)
    weights = list(net.trainable_variables)
    slots = [[tf.Variable(tf.zeros_like(weight)) for _ in range(2)] for weight in weights]
    updates = tf.Variable(0.0)
    x = tf.constant(tokens)

    @tf.function(jit_compile=jit_compile)
    def update(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.reshape(y, (-1,)), net(x))
            loss = tf.reduce_mean(losses)
        t = updates.assign_add(1.0)
        for weight, (m, v), gradient in zip(weights, slots, tape.gradient(loss, weights), strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle, m=m.handle, v=v.handle, beta1_power=0.9**t, beta2_power=beta_2**t,
                lr=1e-3, beta1=0.9, beta2=beta_2, epsilon=epsilon, grad=tf.convert_to_tensor(gradient),
            )  # fmt: skip
        return loss

    def train(labels: Any) -> float:
        loss = float(update(x, tf.constant(labels)))
        tf.test.experimental.sync_devices()
        return loss

    return {"train": train}
