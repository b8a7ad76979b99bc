"""TensorFlow by hand: ResNet-50 and the convolutions of AlexNet in `tf.nn`, with a `tf.function` over each step."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Filters, blocks, and the stride of the first."""
LEARNING_RATE = 4.4e-6
L2_RATE = 4e-5
GLOROT = tf.keras.initializers.GlorotUniform(seed=0)


class ConvNorm(tf.Module):
    """A convolution and its batch normalisation in training mode."""

    def __init__(self, channels: int, filters: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel = tf.Variable(GLOROT((kernel, kernel, channels, filters)))
        self.gamma, self.beta = tf.Variable(tf.ones(filters)), tf.Variable(tf.zeros(filters))
        self.moving_mean = tf.Variable(tf.zeros(filters), trainable=False)
        self.moving_variance = tf.Variable(tf.ones(filters), trainable=False)
        side = [kernel // 2, kernel // 2]
        # "SAME" would pad the first convolution, which strides, by 2 and 3; explicit amounts cost a copy elsewhere.
        self.stride = stride
        self.padding = [[0, 0], side, side, [0, 0]] if kernel > 1 and stride > 1 else "SAME"

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.nn.conv2d(x, self.kernel, self.stride, self.padding)
        x, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, self.gamma, self.beta, epsilon=1e-5)
        self.moving_mean.assign_sub(0.1 * (self.moving_mean - mean))
        self.moving_variance.assign_sub(0.1 * (self.moving_variance - variance))
        return x


class Bottleneck(tf.Module):
    """Version 1: the first convolution strides."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.reduce = ConvNorm(channels, filters, 1, stride)
        self.convolve = ConvNorm(filters, filters, 3)
        self.expand = ConvNorm(filters, 4 * filters, 1)
        widens = channels != 4 * filters
        self.shortcut = ConvNorm(channels, 4 * filters, 1, stride) if widens else tf.identity

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        residual = tf.nn.relu(self.convolve(tf.nn.relu(self.reduce(x))))
        return tf.nn.relu(self.expand(residual) + self.shortcut(x))


class ResNet50(tf.Module):
    """The net for images (N, H, W, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 64, 7, 2)
        self.blocks = []
        channels = 64
        for filters, blocks, stride in STAGES:
            for block in range(blocks):
                self.blocks.append(Bottleneck(channels, filters, 1 if block else stride))
                channels = 4 * filters
        self.kernel, self.bias = tf.Variable(GLOROT((channels, 1001))), tf.Variable(tf.zeros(1001))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.nn.max_pool2d(tf.nn.relu(self.stem(x)), 3, 2, "SAME")
        for block in self.blocks:
            x = block(x)
        return tf.nn.bias_add(tf.matmul(tf.reduce_mean(x, (1, 2)), self.kernel), self.bias)

    def decayed(self) -> list[tf.Variable]:
        """Return all weights but those of batch normalisation."""
        return [*(part.kernel for part in self.submodules if isinstance(part, ConvNorm)), self.kernel, self.bias]


class AlexNet(tf.Module):
    """The convolutions for images (N, H, W, C)."""

    def __init__(self) -> None:
        super().__init__()
        shapes = (11, 11, 3, 64), (5, 5, 64, 192), (3, 3, 192, 384), (3, 3, 384, 256), (3, 3, 256, 256)
        self.kernels = [tf.Variable(GLOROT(shape)) for shape in shapes]
        self.biases = [tf.Variable(tf.zeros(shape[-1])) for shape in shapes]

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        for layer, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            x = tf.nn.conv2d(x, kernel, 1 if layer else 4, "SAME")
            x = tf.nn.relu(tf.nn.bias_add(x, bias))
            if layer < 2:
                x = tf.nn.local_response_normalization(x, depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75)
            if layer in (0, 1, 4):
                x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        return x


def make_steps(model: str, images: Any, *, jit_compile: bool = False) -> dict[str, Callable[[Any], Any]]:
    """Return the steps of a net by kind, functions of the labels (N,) of `images` (N, H, W, C)."""
    x = tf.constant(images)
    if model == "resnet50":
        return {"train": train_step(ResNet50(), x, jit_compile)}
    net = AlexNet()
    return {"forward": forward_step(net, x, jit_compile), "gradients": gradient_step(net, x, jit_compile)}


def train_step(net: ResNet50, x: tf.Tensor, jit_compile: bool) -> Callable[[Any], float]:
    weights, decayed = list(net.trainable_variables), net.decayed()

    @tf.function(jit_compile=jit_compile)
    def update(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, net(x)))
            loss += L2_RATE * tf.add_n([tf.nn.l2_loss(weight) for weight in decayed])
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            tf.raw_ops.ResourceApplyGradientDescent(var=weight.handle, alpha=LEARNING_RATE, delta=gradient)
        return loss

    def train(labels: Any) -> float:
        loss = float(update(x, tf.constant(labels)))
        tf.test.experimental.sync_devices()
        return loss

    return train


def forward_step(net: AlexNet, x: tf.Tensor, jit_compile: bool) -> Callable[[Any], Any]:
    infer = tf.function(net, jit_compile=jit_compile)
    return lambda labels: infer(x).numpy()


def gradient_step(net: AlexNet, x: tf.Tensor, jit_compile: bool) -> Callable[[Any], Any]:
    weights = list(net.trainable_variables)

    @tf.function(jit_compile=jit_compile)
    def differentiate(x: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            loss = tf.nn.l2_loss(net(x))
        return loss, tape.gradient(loss, weights)

    def step(labels: Any) -> tuple[float, list[Any]]:
        loss, gradients = differentiate(x)
        return float(loss), [gradient.numpy() for gradient in gradients]

    return step
