"""Keras 3 by hand: functional models of ResNet-50 and of AlexNet's convolutions, on the backend of KERAS_BACKEND."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import layers, ops

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Filters, blocks, and the stride of the first."""
LEARNING_RATE = 4.4e-6
L2 = keras.regularizers.L2(2e-5)
"""Half of 4e-5: Keras' L2 has no ½ of its own."""


def conv_norm(x: Any, filters: int, kernel: int, stride: int = 1) -> Any:
    if kernel == 7:
        x = layers.ZeroPadding2D(3)(x)
    padding = "valid" if kernel == 7 else "same"
    x = layers.Conv2D(filters, kernel, stride, padding, use_bias=False, kernel_regularizer=L2)(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def bottleneck(x: Any, filters: int, stride: int, *, widens: bool) -> Any:
    """Add a block of version 1: the first convolution strides."""
    shortcut = conv_norm(x, 4 * filters, 1, stride) if widens else x
    x = layers.ReLU()(conv_norm(x, filters, 1, stride))
    x = layers.ReLU()(conv_norm(x, filters, 3))
    x = conv_norm(x, 4 * filters, 1)
    return layers.ReLU()(layers.Add()([shortcut, x]))


def resnet50() -> keras.Model:
    """Build the net for images (N, H, W, C)."""
    images = keras.Input((224, 224, 3))
    x = layers.ReLU()(conv_norm(images, 64, 7, 2))
    x = layers.MaxPooling2D(3, 2, "same")(x)
    for filters, blocks, stride in STAGES:
        for block in range(blocks):
            x = bottleneck(x, filters, 1 if block else stride, widens=block == 0)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(1001, kernel_regularizer=L2, bias_regularizer=L2)(x))


class ResponseNorm(layers.Layer):
    """Local response normalisation, which Keras does not have."""

    def call(self, x: Any) -> Any:
        channels = x.shape[-1]
        squares = ops.pad(ops.square(x), ((0, 0), (0, 0), (0, 0), (2, 2)))
        sums = sum(squares[..., place : place + channels] for place in range(5))
        return x * (2.0 + 1e-4 * sums) ** -0.75


def alexnet() -> keras.Model:
    """Build the convolutions for images (N, H, W, C)."""
    conv = partial(layers.Conv2D, padding="same", activation="relu")
    parts = [
        keras.Input((224, 224, 3)),
        conv(64, 11, strides=4), ResponseNorm(), layers.MaxPooling2D(3, 2),
        conv(192, 5), ResponseNorm(), layers.MaxPooling2D(3, 2),
        conv(384, 3), conv(256, 3), conv(256, 3), layers.MaxPooling2D(3, 2),
    ]  # fmt: skip
    return keras.Sequential(parts)


def make_steps(model: str, images: Any) -> dict[str, Callable[[Any], Any]]:
    """Return the steps of a net by kind, functions of the labels (N,) of `images` (N, H, W, C)."""
    x = ops.convert_to_tensor(images)
    if model == "resnet50":
        return {"train": train_step(resnet50(), x)}
    net = alexnet()
    net.compile()
    return {"forward": lambda labels: net.predict_on_batch(x), "gradients": gradient_step(net, x)}


def train_step(net: keras.Model, x: Any) -> Callable[[Any], float]:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(keras.optimizers.SGD(LEARNING_RATE), loss)

    def train(labels: Any) -> float:
        loss = float(net.train_on_batch(x, labels))
        if keras.config.backend() == "jax":
            import jax

            jax.block_until_ready([variable.value for variable in net.variables])
        return loss

    return train


def gradient_step(net: keras.Model, x: Any) -> Callable[[Any], Any]:
    differentiate = DIFFERENTIATE[keras.config.backend()](net)

    def step(labels: Any) -> tuple[float, list[Any]]:
        loss, gradients = differentiate(x)
        return float(ops.convert_to_numpy(loss)), [ops.convert_to_numpy(gradient) for gradient in gradients]

    return step


def half_squared_sum(x: Any) -> Any:
    return 0.5 * ops.sum(ops.square(x))


def tensorflow_gradients(net: keras.Model) -> Callable[[Any], Any]:
    """Return a function from images to the loss and its gradients, as Keras' guides to training loops write it."""
    import tensorflow as tf

    @tf.function
    def differentiate(x: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            loss = half_squared_sum(net(x, training=True))
        return loss, tape.gradient(loss, net.trainable_weights)

    return differentiate


def torch_gradients(net: keras.Model) -> Callable[[Any], Any]:
    """Return the same on PyTorch."""
    import torch

    weights = [variable.value for variable in net.trainable_variables]

    def differentiate(x: Any) -> tuple[Any, Any]:
        loss = half_squared_sum(net(x, training=True))
        return loss, torch.autograd.grad(loss, weights)

    return differentiate


def jax_gradients(net: keras.Model) -> Callable[[Any], Any]:
    """Return the same on JAX."""
    import jax

    @jax.jit
    @jax.value_and_grad
    def gradients(trainable: Any, others: Any, x: Any) -> Any:
        return half_squared_sum(net.stateless_call(trainable, others, x, training=True)[0])

    def differentiate(x: Any) -> tuple[Any, Any]:
        variables = net.trainable_variables, net.non_trainable_variables
        return gradients(*([variable.value for variable in kind] for kind in variables), x)

    return differentiate


DIFFERENTIATE = {"tensorflow": tensorflow_gradients, "torch": torch_gradients, "jax": jax_gradients}
