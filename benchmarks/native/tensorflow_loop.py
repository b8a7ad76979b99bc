"""Hand-written TensorFlow: Keras layers, stock Keras optimisers, and a `tf.function` over the epoch fed by tf.data."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow import keras

layers = keras.layers


def make_net(model: str) -> tuple[keras.Model, Any, int]:
    """Return a net, its optimiser and its batch size."""
    if model == "mnist-cnn":
        net = keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(32, 4, activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(16, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Dropout(0.2),
                layers.Flatten(),
                layers.Dense(128, activation="relu"),
                layers.Dense(64, activation="relu"),
                layers.Dense(10),
            ]
        )
        rate = keras.optimizers.schedules.InverseTimeDecay(0.05, decay_steps=1, decay_rate=1e-5)
        return net, keras.optimizers.SGD(rate, momentum=0.9), 128
    if model == "mnist-mlp-1024":
        net = keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Flatten(),
                layers.Dense(1024, activation="relu"),
                layers.Dropout(0.2),
                layers.Dense(1024, activation="relu"),
                layers.Dropout(0.2),
                layers.Dense(1024, activation="relu"),
                layers.Dropout(0.2),
                layers.Dense(10),
            ]
        )
        return net, keras.optimizers.Adam(1e-3, epsilon=1e-7), 128
    if model == "cifar10-cnn":
        net = keras.Sequential(
            [
                keras.Input((32, 32, 3)),
                layers.Conv2D(32, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(),
                layers.Dropout(0.25),
                layers.Conv2D(64, 3, padding="same", activation="relu"),
                layers.Conv2D(64, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Dropout(0.25),
                layers.Flatten(),
                layers.Dense(512, activation="relu"),
                layers.Dropout(0.2),
                layers.Dense(10),
            ]
        )
        return net, keras.optimizers.Adam(1e-3, epsilon=1e-7), 32
    raise ValueError(f"model {model!r}; accepted: cifar10-cnn, mnist-cnn, mnist-mlp-1024")


def make_loop(model: str, images: Any, labels: Any, *, jit_compile: bool = False) -> Callable[[Any], None]:
    """Return a function that trains one epoch over `images[order]` and returns when it is done."""
    net, optimizer, batch_size = make_net(model)
    optimizer.build(net.trainable_variables)
    images, labels = tf.constant(images), tf.constant(labels)
    options = tf.data.Options()
    options.autotune.enabled = False

    @tf.function(jit_compile=jit_compile)
    def train_step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = net(x, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        optimizer.apply(tape.gradient(loss, net.trainable_variables), net.trainable_variables)
        return loss

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def train_epoch(order: tf.Tensor) -> tf.Tensor:
        dataset = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        dataset = dataset.map(lambda batch: (tf.gather(images, batch), tf.gather(labels, batch)))
        total = tf.constant(0.0)
        for x, y in iter(dataset.prefetch(2).with_options(options)):
            total += train_step(x, y) * tf.cast(tf.size(y), tf.float32)
        return total / tf.cast(tf.size(order), tf.float32)

    return lambda order: float(train_epoch(order))
