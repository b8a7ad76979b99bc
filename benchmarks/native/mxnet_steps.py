"""MXNet Gluon by hand: ResNet-50 as the model zoo writes it and AlexNet's convolutions, hybridised, in NCHW."""

from collections.abc import Callable
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Filters, blocks, and the stride of the first."""
LEARNING_RATE = 4.4e-6
L2_RATE = 4e-5


def chain(*parts: nn.HybridBlock) -> nn.HybridSequential:
    net = nn.HybridSequential()
    net.add(*parts)
    return net


def conv_norm(channels: int, filters: int, kernel: int, stride: int = 1) -> nn.HybridSequential:
    return chain(
        nn.Conv2D(filters, kernel, stride, kernel // 2, use_bias=False, in_channels=channels),
        nn.BatchNorm(momentum=0.9, epsilon=1e-5, in_channels=filters),
    )


class Bottleneck(nn.HybridBlock):
    """Version 1: the first convolution strides."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.residual = chain(
            conv_norm(channels, filters, 1, stride), nn.Activation("relu"),
            conv_norm(filters, filters, 3), nn.Activation("relu"),
            conv_norm(filters, 4 * filters, 1),
        )  # fmt: skip
        self.shortcut = conv_norm(channels, 4 * filters, 1, stride) if channels != 4 * filters else None

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return F.Activation(self.residual(x) + shortcut, act_type="relu")


def resnet50() -> nn.HybridSequential:
    """Build the net; the pool, which pads below and to the right alone, rounds up instead."""
    parts = [conv_norm(3, 64, 7, 2), nn.Activation("relu"), nn.MaxPool2D(3, 2, ceil_mode=True)]
    channels = 64
    for filters, blocks, stride in STAGES:
        for block in range(blocks):
            parts.append(Bottleneck(channels, filters, 1 if block else stride))
            channels = 4 * filters
    return chain(*parts, nn.GlobalAvgPool2D(), nn.Dense(1001, in_units=channels))


class Pad(nn.HybridBlock):
    """Three rows and columns of zeros before, four behind."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        return F.pad(x, mode="constant", pad_width=(0, 0, 0, 0, 3, 4, 3, 4), constant_value=0)


class ResponseNorm(nn.HybridBlock):
    """MXNet divides alpha by the size of the window."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803
        x = F.LRN(x, nsize=5, alpha=5e-4, beta=0.75, knorm=2.0)
        # The slice of everything takes oneDNN's own layouts off: in those the gradient is wrong before a max pool.
        return F.slice_axis(x, axis=1, begin=0, end=None)


def alexnet() -> nn.HybridSequential:
    return chain(
        Pad(),
        nn.Conv2D(64, 11, 4, in_channels=3, activation="relu"), ResponseNorm(), nn.MaxPool2D(3, 2),
        nn.Conv2D(192, 5, padding=2, in_channels=64, activation="relu"), ResponseNorm(), nn.MaxPool2D(3, 2),
        nn.Conv2D(384, 3, padding=1, in_channels=192, activation="relu"),
        nn.Conv2D(256, 3, padding=1, in_channels=384, activation="relu"),
        nn.Conv2D(256, 3, padding=1, in_channels=256, activation="relu"), nn.MaxPool2D(3, 2),
    )  # fmt: skip


def make_steps(model: str, images: np.ndarray) -> dict[str, Callable[[np.ndarray], Any]]:
    """Return the steps of a net by kind, functions of the labels (N,) of `images` (N, H, W, C)."""
    net = {"resnet50": resnet50, "alexnet-owt": alexnet}[model]()
    net.initialize(mx.init.Xavier(), ctx=mx.cpu())
    net.hybridize(static_alloc=True, static_shape=True)
    x = nd.array(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    x.wait_to_read()
    if model == "resnet50":
        return {"train": train_step(net, x)}
    return {"forward": lambda labels: net(x).asnumpy(), "gradients": gradient_step(net, x)}


def train_step(net: nn.HybridSequential, x: nd.NDArray) -> Callable[[np.ndarray], float]:
    """Return SGD whose weight decay is the gradient of the L2 term, which leaves batch normalisation out."""
    net.collect_params(".*(gamma|beta)").setattr("wd_mult", 0.0)
    decayed = list(net.collect_params(".*(weight|bias)").values())
    loss_fn = gluon.loss.SoftmaxCrossEntropyLoss()
    loss_fn.hybridize(static_alloc=True, static_shape=True)
    optimizer = mx.optimizer.SGD(learning_rate=LEARNING_RATE, wd=L2_RATE)
    trainer = gluon.Trainer(net.collect_params(), optimizer, kvstore=None)

    def train(labels: np.ndarray) -> float:
        with autograd.record():
            losses = loss_fn(net(x), nd.array(labels))
        losses.backward()
        flat = [parameter.data().reshape(-1) for parameter in decayed]
        squares = nd.add_n(*[nd.dot(weight, weight) for weight in flat])
        trainer.step(len(labels))
        loss = losses.mean().asscalar() + 0.5 * L2_RATE * squares.asscalar()
        nd.waitall()
        return float(loss)

    return train


def gradient_step(net: nn.HybridSequential, x: nd.NDArray) -> Callable[[np.ndarray], Any]:
    parameters = list(net.collect_params().values())

    def differentiate(labels: np.ndarray) -> tuple[float, list[np.ndarray]]:
        with autograd.record():
            loss = 0.5 * nd.square(net(x)).sum()
        loss.backward()
        return float(loss.asscalar()), [parameter.grad().asnumpy() for parameter in parameters]

    return differentiate
