"""Keras 3 by hand: the three nets trained by `fit` as Keras' own guides do, on the backend of KERAS_BACKEND."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

BATCH_SIZES = {"mnist-cnn": 128, "mnist-mlp-1024": 128, "cifar10-cnn": 32}


def make_net(model: str) -> keras.Model:
    """Build and compile one of the nets with Keras' own initialisation."""
    if model == "mnist-cnn":
        parts = [
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
        rate = keras.optimizers.schedules.InverseTimeDecay(0.05, decay_steps=1, decay_rate=1e-5)
        optimizer = keras.optimizers.SGD(rate, momentum=0.9)
    elif model == "mnist-mlp-1024":
        parts = [
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
        optimizer = keras.optimizers.Adam(1e-3)
    else:
        parts = [
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
        optimizer = keras.optimizers.Adam(1e-3)
    net = keras.Sequential(parts)
    net.compile(optimizer=optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return net


def make_loop(model: str, images: Any, labels: Any) -> Callable[[Any], None]:
    """Return a function that trains one epoch over `images[order]` and returns when it is done."""
    net, batch_size = make_net(model), BATCH_SIZES[model]
    if keras.config.backend() == "tensorflow":
        batches = tensorflow_batches(images, labels, batch_size)
        return lambda order: net.fit(batches(order), verbose=0)
    return lambda order: net.fit(images[order], labels[order], batch_size=batch_size, shuffle=False, verbose=0)


def tensorflow_batches(images: Any, labels: Any, batch_size: int) -> Callable[[Any], Any]:
    """Return a function from an order to a tf.data set without the autotuning that holds up some epochs by a second."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    with tf.device("CPU:0"):
        x, y = tf.constant(images), tf.constant(labels)

    def batches(order: Any) -> Any:
        parts = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        return parts.map(lambda part: (tf.gather(x, part), tf.gather(y, part))).prefetch(2).with_options(options)

    return batches
