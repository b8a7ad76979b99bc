"""MXNet Gluon by hand: its fused LSTM and a small GPT of Gluon's blocks, hybridised."""

from collections.abc import Callable
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn, rnn

PLACES, COLUMNS, HEADS, BLOCKS, TOKENS = 64, 256, 4, 4, 64


class Reviews(nn.HybridBlock):
    """Words (N, T) to the logits of the last state. MXNet's second bias is left at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20_000, 128)
        self.lstm = rnn.LSTM(128, layout="NTC", input_size=128)
        self.lstm.l0_h2h_bias.grad_req = "null"
        self.dropout, self.head = nn.Dropout(0.2), nn.Dense(2, in_units=128)

    def hybrid_forward(self, F: Any, words: Any) -> Any:  # noqa: N803
        states = self.lstm(self.embedding(words))
        return self.head(self.dropout(F.slice_axis(states, axis=1, begin=-1, end=None)))


class Attention(nn.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Dense(3 * COLUMNS, in_units=COLUMNS, flatten=False)
        self.output = nn.Dense(COLUMNS, in_units=COLUMNS, flatten=False)
        self.mask = self.params.get_constant("mask", np.triu(np.full((1, PLACES, PLACES), -1e30, np.float32), 1))

    def hybrid_forward(self, F: Any, x: Any, mask: Any) -> Any:  # noqa: N803
        parts = F.reshape(self.inputs(x), (0, 0, 3 * HEADS, -1)).transpose((0, 2, 1, 3))
        q, k, v = (F.reshape(part, (-3, 0, 0)) for part in F.split(parts, 3, axis=1))
        scores = F.batch_dot(q, k, transpose_b=True) * (COLUMNS // HEADS) ** -0.5
        mixed = F.batch_dot(F.softmax(F.broadcast_add(scores, mask)), v)
        merged = F.reshape(mixed, (-4, -1, HEADS, 0, 0)).transpose((0, 2, 1, 3))
        return self.output(F.reshape(merged, (0, 0, -1)))


class Block(nn.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.feed_forward = nn.HybridSequential(), nn.HybridSequential()
        self.attention.add(nn.LayerNorm(in_channels=COLUMNS), Attention())
        widen = nn.Dense(4 * COLUMNS, in_units=COLUMNS, flatten=False)
        narrow = nn.Dense(COLUMNS, in_units=4 * COLUMNS, flatten=False)
        self.feed_forward.add(nn.LayerNorm(in_channels=COLUMNS), widen, nn.GELU(), narrow)

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        x = x + self.attention(x)
        return x + self.feed_forward(x)


class GPT(nn.HybridBlock):
    """Tokens (N, T) to the logits of the token after each."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.body = nn.Embedding(TOKENS, COLUMNS), nn.HybridSequential()
        self.places = self.params.get("places", shape=(1, PLACES, COLUMNS))
        self.body.add(*(Block() for _ in range(BLOCKS)), nn.LayerNorm(in_channels=COLUMNS))
        self.body.add(nn.Dense(TOKENS, in_units=COLUMNS, use_bias=False, flatten=False))

    def hybrid_forward(self, F: Any, tokens: Any, places: Any) -> Any:  # noqa: N803
        return self.body(F.broadcast_add(self.tokens(tokens), places))


def make_steps(model: str, tokens: np.ndarray) -> dict[str, Callable[[np.ndarray], Any]]:
    """Return the training step of a net, a function of the labels of `tokens` (N, T)."""
    net = {"imdb-lstm": Reviews, "gpt-nano": GPT}[model]()
    net.initialize(mx.init.Normal(0.02), ctx=mx.cpu())
    net.hybridize(static_alloc=True, static_shape=True)
    loss_fn = gluon.loss.SoftmaxCrossEntropyLoss()
    loss_fn.hybridize(static_alloc=True, static_shape=True)
    settings = {"beta2": 0.99, "epsilon": 1e-8} if model == "gpt-nano" else {"epsilon": 1e-7}
    optimizer = mx.optimizer.Adam(learning_rate=1e-3, **settings)
    trained = [parameter for parameter in net.collect_params().values() if parameter.grad_req != "null"]
    trainer = gluon.Trainer(trained, optimizer, kvstore=None)
    x = nd.array(tokens, dtype=np.int32)
    x.wait_to_read()

    def train(labels: np.ndarray) -> float:
        with autograd.record():
            losses = loss_fn(net(x), nd.array(labels, dtype=np.int32))
        losses.backward()
        trainer.step(len(labels))
        loss = losses.mean().asscalar()
        nd.waitall()
        return float(loss)

    return {"train": train}
