"""MXNet Gluon by hand: the three nets as a performance-minded tutorial would train them."""

from collections.abc import Callable

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon
from mxnet.gluon import nn

BATCH_SIZES = {"mnist-cnn": 128, "mnist-mlp-1024": 128, "cifar10-cnn": 32}


def make_net(model: str) -> nn.HybridSequential:
    """Build one of the nets with Gluon's own layers, for images (N, C, H, W)."""
    net = nn.HybridSequential()
    if model == "mnist-cnn":
        net.add(
            nn.Conv2D(32, 4, activation="relu"), nn.MaxPool2D(2, 2),
            nn.Conv2D(16, 3, activation="relu"), nn.MaxPool2D(2, 2), nn.Dropout(0.2),
            nn.Dense(128, activation="relu"), nn.Dense(64, activation="relu"), nn.Dense(10),
        )  # fmt: skip
    elif model == "mnist-mlp-1024":
        for _ in range(3):
            net.add(nn.Dense(1024, activation="relu"), nn.Dropout(0.2))
        net.add(nn.Dense(10))
    else:
        net.add(
            nn.Conv2D(32, 3, padding=1, activation="relu"), nn.MaxPool2D(2, 2), nn.Dropout(0.25),
            nn.Conv2D(64, 3, padding=1, activation="relu"), nn.Conv2D(64, 3, activation="relu"),
            nn.MaxPool2D(2, 2), nn.Dropout(0.25),
            nn.Dense(512, activation="relu"), nn.Dropout(0.2), nn.Dense(10),
        )  # fmt: skip
    return net


def make_loop(model: str, images: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], None]:
    """Return a function that trains one epoch over `images[order]` and returns when all is computed."""
    x, y = mx.nd.array(images.transpose(0, 3, 1, 2)), mx.nd.array(labels)
    batch_size = BATCH_SIZES[model]
    net = make_net(model)
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    criterion = gluon.loss.SoftmaxCrossEntropyLoss()
    criterion.hybridize(static_alloc=True, static_shape=True)
    if model == "mnist-cnn":
        optimizer = mx.optimizer.SGD(learning_rate=0.05, momentum=0.9)
    else:
        optimizer = mx.optimizer.Adam(learning_rate=1e-3, epsilon=1e-7)
    trainer = gluon.Trainer(net.collect_params(), optimizer, kvstore=None)

    def epoch(order: np.ndarray) -> None:
        total = mx.nd.zeros(1)
        for start in range(0, len(order), batch_size):
            batch = mx.nd.array(order[start : start + batch_size], dtype="int32")
            with autograd.record():
                loss = criterion(net(x.take(batch)), y.take(batch))
            loss.backward()
            trainer.step(len(batch))
            total += loss.sum()
        assert np.isfinite(total.asscalar() / len(order))

    return epoch
