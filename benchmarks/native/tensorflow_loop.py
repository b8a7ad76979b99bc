"""Hand-written TensorFlow: one `tf.function` over the epoch, batches gathered in the graph, fused update kernels.

Keras layers and optimisers and a tf.data set instead were tried here too and took about a tenth longer.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

GLOROT = tf.keras.initializers.GlorotUniform(seed=0)


def variables(*shapes: tuple[int, ...]) -> list[tf.Variable]:
    """Return a kernel and a bias for each kernel shape."""
    return [tf.Variable(value) for shape in shapes for value in (GLOROT(shape), tf.zeros(shape[-1:]))]


def zeros_like(weights: list[tf.Variable]) -> list[tf.Variable]:
    """Return optimiser slots for the weights."""
    return [tf.Variable(tf.zeros_like(weight)) for weight in weights]


def conv_relu(x: tf.Tensor, kernel: tf.Variable, bias: tf.Variable, padding: str = "VALID") -> tf.Tensor:
    """Convolve with stride 1."""
    return tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, padding), bias))


def dense(x: tf.Tensor, kernel: tf.Variable, bias: tf.Variable) -> tf.Tensor:
    """Multiply and add."""
    return tf.nn.bias_add(tf.matmul(x, kernel), bias)


def pool(x: tf.Tensor) -> tf.Tensor:
    """Halve height and width."""
    return tf.nn.max_pool2d(x, 2, 2, "VALID")


def mnist_cnn() -> tuple[Any, list[tf.Variable]]:
    """Return the net's function and its weights."""
    w = variables((4, 4, 1, 32), (3, 3, 32, 16), (400, 128), (128, 64), (64, 10))

    def net(x: tf.Tensor) -> tf.Tensor:
        x = pool(conv_relu(x, w[0], w[1]))
        x = pool(conv_relu(x, w[2], w[3]))
        x = tf.reshape(tf.nn.dropout(x, 0.2), (-1, 400))
        x = tf.nn.relu(dense(x, w[4], w[5]))
        x = tf.nn.relu(dense(x, w[6], w[7]))
        return dense(x, w[8], w[9])

    return net, w


def mnist_mlp() -> tuple[Any, list[tf.Variable]]:
    """Return the net's function and its weights."""
    w = variables((784, 1024), (1024, 1024), (1024, 1024), (1024, 10))

    def net(x: tf.Tensor) -> tf.Tensor:
        x = tf.reshape(x, (-1, 784))
        x = tf.nn.dropout(tf.nn.relu(dense(x, w[0], w[1])), 0.2)
        x = tf.nn.dropout(tf.nn.relu(dense(x, w[2], w[3])), 0.2)
        x = tf.nn.dropout(tf.nn.relu(dense(x, w[4], w[5])), 0.2)
        return dense(x, w[6], w[7])

    return net, w


def cifar10_cnn() -> tuple[Any, list[tf.Variable]]:
    """Return the net's function and its weights."""
    w = variables((3, 3, 3, 32), (3, 3, 32, 64), (3, 3, 64, 64), (3136, 512), (512, 10))

    def net(x: tf.Tensor) -> tf.Tensor:
        x = tf.nn.dropout(pool(conv_relu(x, w[0], w[1], "SAME")), 0.25)
        x = conv_relu(x, w[2], w[3], "SAME")
        x = tf.nn.dropout(pool(conv_relu(x, w[4], w[5])), 0.25)
        x = tf.nn.dropout(tf.nn.relu(dense(tf.reshape(x, (-1, 3136)), w[6], w[7])), 0.2)
        return dense(x, w[8], w[9])

    return net, w


def sgd(weights: list[tf.Variable]) -> Callable[[list[tf.Tensor]], None]:
    """Return the update: momentum 0.9, rate 0.05 / (1 + 1e-5·updates)."""
    velocities, updates = zeros_like(weights), tf.Variable(0.0)

    def update(gradients: list[tf.Tensor]) -> None:
        rate = 0.05 / (1 + 1e-5 * updates)
        for weight, velocity, gradient in zip(weights, velocities, gradients, strict=True):
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=weight.handle, accum=velocity.handle, lr=rate, grad=gradient, momentum=0.9
            )
        updates.assign_add(1)

    return update


def adam(weights: list[tf.Variable]) -> Callable[[list[tf.Tensor]], None]:
    """Return the update: rate 0.001, betas 0.9 and 0.999, epsilon 1e-7."""
    first, second = zeros_like(weights), zeros_like(weights)
    power_1, power_2 = tf.Variable(0.9), tf.Variable(0.999)

    def update(gradients: list[tf.Tensor]) -> None:
        powers = {"beta1_power": power_1.read_value(), "beta2_power": power_2.read_value()}
        for weight, m, v, gradient in zip(weights, first, second, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle, m=m.handle, v=v.handle, grad=gradient,
                lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-7, **powers,
            )  # fmt: skip
        power_1.assign(power_1 * 0.9)
        power_2.assign(power_2 * 0.999)

    return update


MODELS = {
    "mnist-cnn": (mnist_cnn, sgd, 128),
    "mnist-mlp-1024": (mnist_mlp, adam, 128),
    "cifar10-cnn": (cifar10_cnn, adam, 32),
}


def make_loop(model: str, images: Any, labels: Any, *, jit_compile: bool = False) -> Callable[[Any], None]:
    """Return a function that trains one epoch over `images[order]` and returns when it is done."""
    make_net, make_update, batch_size = MODELS[model]
    net, weights = make_net()
    update = make_update(weights)
    with tf.device("CPU:0"):
        images, labels = tf.constant(images), tf.constant(labels)

    @tf.function(jit_compile=jit_compile)
    def train_step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, net(x)))
        update(tape.gradient(loss, weights))
        return loss

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def train_epoch(order: tf.Tensor) -> tf.Tensor:
        total = tf.constant(0.0)
        for start in tf.range(0, tf.size(order), batch_size):
            with tf.device("CPU:0"):
                batch = order[start : start + batch_size]
                x, y = tf.gather(images, batch), tf.gather(labels, batch)
            total += train_step(x, y) * tf.cast(tf.size(batch), tf.float32)
        return total / tf.cast(tf.size(order), tf.float32)

    def train(order: Any) -> None:
        train_epoch(tf.constant(order)).numpy()
        tf.test.experimental.sync_devices()

    return train
