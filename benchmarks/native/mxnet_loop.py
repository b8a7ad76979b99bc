"""The three nets by hand in MXNet Gluon: a hybridised net and a Trainer, images turned to MXNet's NCHW beforehand."""

from collections.abc import Callable

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

QUEUED_STEPS = 4


def mnist_cnn() -> nn.HybridSequential:
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(32, 4, in_channels=1, activation="relu"),
        nn.MaxPool2D(2, 2),
        nn.Conv2D(16, 3, in_channels=32, activation="relu"),
        nn.MaxPool2D(2, 2),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Dense(128, in_units=400, activation="relu"),
        nn.Dense(64, in_units=128, activation="relu"),
        nn.Dense(10, in_units=64),
    )
    return net


def mnist_mlp() -> nn.HybridSequential:
    net = nn.HybridSequential()
    net.add(
        nn.Flatten(),
        nn.Dense(1024, in_units=784, activation="relu"),
        nn.Dropout(0.2),
        nn.Dense(1024, in_units=1024, activation="relu"),
        nn.Dropout(0.2),
        nn.Dense(1024, in_units=1024, activation="relu"),
        nn.Dropout(0.2),
        nn.Dense(10, in_units=1024),
    )
    return net


def cifar10_cnn() -> nn.HybridSequential:
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(32, 3, padding=1, in_channels=3, activation="relu"),
        nn.MaxPool2D(2, 2),
        nn.Dropout(0.25),
        nn.Conv2D(64, 3, padding=1, in_channels=32, activation="relu"),
        nn.Conv2D(64, 3, in_channels=64, activation="relu"),
        nn.MaxPool2D(2, 2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Dense(512, in_units=3136, activation="relu"),
        nn.Dropout(0.2),
        nn.Dense(10, in_units=512),
    )
    return net


class InverseTimeDecay(mx.lr_scheduler.LRScheduler):
    """0.05 / (1 + 1e-5·t)."""

    def __call__(self, num_update: int) -> float:
        return self.base_lr / (1 + 1e-5 * (num_update - 1))


def make_loop(model: str, images: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], None]:
    """Return a function that trains one epoch over `images[order]`."""
    if model == "mnist-cnn":
        net, batch_size = mnist_cnn(), 128
        optimizer = mx.optimizer.SGD(momentum=0.9, lr_scheduler=InverseTimeDecay(base_lr=0.05))
    elif model == "mnist-mlp-1024":
        net, batch_size = mnist_mlp(), 128
        optimizer = mx.optimizer.Adam(learning_rate=1e-3, epsilon=1e-7)
    elif model == "cifar10-cnn":
        net, batch_size = cifar10_cnn(), 32
        optimizer = mx.optimizer.Adam(learning_rate=1e-3, epsilon=1e-7)
    else:
        raise ValueError(f"model {model!r}; accepted: 'cifar10-cnn', 'mnist-cnn', 'mnist-mlp-1024'")
    net.initialize(mx.init.Xavier(), ctx=mx.cpu())
    net.hybridize(static_alloc=True, static_shape=True)
    loss_fn = gluon.loss.SoftmaxCrossEntropyLoss()
    loss_fn.hybridize(static_alloc=True, static_shape=True)
    trainer = gluon.Trainer(net.collect_params(), optimizer, kvstore=None)
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    def train_epoch(order: np.ndarray) -> None:
        losses = []
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            x, y = nd.array(channels_first[batch]), nd.array(labels[batch])
            with autograd.record():
                loss = loss_fn(net(x), y)
            loss.backward()
            trainer.step(len(batch))
            losses.append(loss)
            # Let Python run ahead of the engine, but not by a whole epoch of batches.
            losses[-QUEUED_STEPS:][0].wait_to_read()
        nd.concat(*losses, dim=0).mean().asscalar()
        nd.waitall()

    return train_epoch
