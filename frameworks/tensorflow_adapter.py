"""TensorFlow: one `tf.function` trains all batches of a call; its step is plain or compiled by XLA."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from frameworks.base import Adapter, Device, Images, Labels, Model, as_float32
from frameworks.tensorflow_device import HOST, HostTensors, peak_memory_bytes, start_device, synchronize
from workloads.initial import Weights
from workloads.spec import SGD, Adam, Conv2D, Dense, Dropout, Flatten, Layer, MaxPool2D, Padding, ReLU, Workload

Tensors = dict[str, tf.Tensor]


def _window_padding(x: tf.Tensor, padding: Padding, value: float) -> tuple[tf.Tensor, str]:
    """Return what a window slides over and the padding it does itself; XLA's pools know no explicit amounts."""
    if isinstance(padding, str):
        return x, padding.upper()
    return tf.pad(x, [(0, 0), *padding, (0, 0)], constant_values=value), "VALID"


def _apply(layer: Layer, name: str, x: tf.Tensor, weights: Tensors, seeds: Tensors | None) -> tf.Tensor:
    """Return `layer` of `x`. `seeds` has a (2,) int64 for each dropout in this update; None means inference."""
    match layer:
        case Conv2D():
            x, padding = _window_padding(x, layer.padding, 0.0)
            x = tf.nn.conv2d(x, weights[f"{name}/kernel"], layer.strides, padding)
            return tf.nn.bias_add(x, weights[f"{name}/bias"]) if layer.use_bias else x
        case MaxPool2D():
            x, padding = _window_padding(x, layer.padding, -math.inf)
            return tf.nn.max_pool2d(x, layer.pool_size, layer.strides, padding)
        case Dense():
            x = tf.matmul(x, weights[f"{name}/kernel"])
            return tf.nn.bias_add(x, weights[f"{name}/bias"]) if layer.use_bias else x
        case ReLU():
            return tf.nn.relu(x)
        case Dropout():
            if seeds is None:
                return x
            return tf.nn.experimental.stateless_dropout(x, layer.rate, seeds[name], rng_alg="philox")
        case Flatten():
            return tf.reshape(x, (-1, math.prod(x.shape[1:])))


class TensorFlowAdapter(Adapter):
    """Grappler and oneDNN or cuDNN kernels, or with the step compiled by XLA."""

    def __init__(self, *, device: Device, cores: int, jit_compile: bool = False) -> None:
        self._device = start_device(device, cores)
        self._jit_compile = jit_compile

    def build(self, workload: Workload, weights: Weights, seed: int) -> Model:
        """Put the weights into variables; functions are traced when they are first called."""
        return TensorFlowModel(workload, weights, seed, self._device, self._jit_compile)


class TensorFlowModel(Model):
    """Variables by name, the optimiser's slots, and the functions over them."""

    def __init__(self, workload: Workload, weights: Weights, seed: int, device: str, jit_compile: bool) -> None:
        self._device = device
        self._seed = seed
        self._batch_size = workload.batch_size
        self._layers = list(workload.network.named_layers())
        self._dropouts = [name for name, layer in self._layers if isinstance(layer, Dropout)]
        with tf.device(device):
            self._weights = {name: tf.Variable(weight) for name, weight in weights.items()}
            self._optimizer = Optimizer(workload.optimizer, list(self._weights.values()))
        self._updates = 0
        self._host_tensors = HostTensors()

        images = tf.TensorSpec((None, *workload.network.input_shape), tf.float32)
        labels, order = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.int64)
        rates, update = tf.TensorSpec((None,), tf.float32), tf.TensorSpec((), tf.int64)
        compiled = {"autograph": False, "jit_compile": jit_compile}
        self._infer = tf.function(self._logits, input_signature=[images], **compiled)
        self._differentiate = tf.function(self._loss_and_gradients, **compiled)
        self._step = tf.function(self._update, **compiled)
        self._train = tf.function(self._train_in_order, input_signature=[images, labels, order, rates, update])

    def _seeds(self, update: tf.Tensor) -> Tensors:
        """Return a seed for each dropout that no other update has."""
        first = update * len(self._dropouts)
        return {name: tf.stack([self._seed, first + place]) for place, name in enumerate(self._dropouts)}

    def _logits(self, x: tf.Tensor, seeds: Tensors | None = None) -> tf.Tensor:
        for name, layer in self._layers:
            x = _apply(layer, name, x, self._weights, seeds)
        return x

    def _loss_and_gradients(
        self, images: tf.Tensor, labels: tf.Tensor, seeds: Tensors
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            logits = self._logits(images, seeds)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        return loss, tape.gradient(loss, list(self._weights.values()))

    def _update(self, images: tf.Tensor, labels: tf.Tensor, seeds: Tensors, rate: tf.Tensor) -> tf.Tensor:
        loss, gradients = self._loss_and_gradients(images, labels, seeds)
        self._optimizer.apply(gradients, rate)
        return loss

    def _train_in_order(
        self, images: tf.Tensor, labels: tf.Tensor, order: tf.Tensor, rates: tf.Tensor, first_update: tf.Tensor
    ) -> tf.Tensor:
        """Loop over the batches, one rate for each, within one trace that leaves the batch size open.

        Counter and seeds stay on the host, where a GPU's kernels expect them: the device never has to be waited for.
        """
        with tf.device(self._device):
            total = tf.constant(0.0, tf.float64)
        with tf.device(HOST):
            for number in tf.range(tf.size(rates, tf.int64)):
                batch = order[number * self._batch_size : (number + 1) * self._batch_size]
                batch_images, batch_labels = tf.gather(images, batch), tf.gather(labels, batch)
                seeds, rate = self._seeds(first_update + number), rates[number]
                with tf.device(self._device):
                    loss = self._step(batch_images, batch_labels, seeds, rate)
                    total += tf.cast(loss, tf.float64) * tf.cast(tf.size(batch), tf.float64)
        return total / tf.cast(tf.size(order), tf.float64)

    def forward(self, images: Images) -> NDArray[np.float32]:
        starts = range(0, len(images), self._batch_size)
        return tf.concat([self._infer(images[start : start + self._batch_size]) for start in starts], axis=0).numpy()

    def gradients(self, images: Images, labels: Labels) -> tuple[float, Weights]:
        seeds = self._seeds(tf.constant(self._updates, tf.int64))
        loss, gradients = self._differentiate(images, labels, seeds)
        return float(loss), {name: gradient.numpy() for name, gradient in zip(self._weights, gradients, strict=True)}

    def train_batches(self, images: Images, labels: Labels, order: NDArray[np.int64]) -> float:
        first, count = self._updates, math.ceil(len(order) / self._batch_size)
        self._updates += count
        with tf.device(HOST):
            arrays = self._host_tensors.convert(images, labels)
            return float(self._train(*arrays, order, self._optimizer.rates(first, count), first))

    def weights(self) -> Weights:
        return {name: variable.numpy() for name, variable in self._weights.items()}

    def synchronize(self) -> None:
        synchronize()

    def peak_memory_bytes(self) -> int | None:
        return peak_memory_bytes(self._device)


class Optimizer:
    """TensorFlow's fused update kernels, which take each update's learning rate as an input."""

    def __init__(self, spec: SGD | Adam, variables: list[tf.Variable]) -> None:
        self._spec = spec
        self._variables = variables
        slots = 1 if isinstance(spec, SGD) else 2
        self._slots = [[tf.Variable(tf.zeros_like(variable)) for _ in range(slots)] for variable in variables]

    def rates(self, first_update: int, count: int) -> NDArray[np.float32]:
        """Return the rates of `count` updates: SGD's after decay, Adam's with both bias corrections."""
        t = np.arange(first_update, first_update + count, dtype=np.float64)
        match self._spec:
            case SGD(learning_rate=rate, decay=decay):
                rates = rate / (1 + decay * t)
            case Adam(learning_rate=rate, beta_1=beta_1, beta_2=beta_2):
                rates = rate * np.sqrt(1 - as_float32(beta_2) ** (t + 1)) / (1 - as_float32(beta_1) ** (t + 1))
        return rates.astype(np.float32)

    def apply(self, gradients: list[tf.Tensor], rate: tf.Tensor) -> None:
        """Update the variables. The powers of Adam's betas are given as 0, which leaves the rate as it is."""
        for variable, slots, gradient in zip(self._variables, self._slots, gradients, strict=True):
            handles: list[Any] = [slot.handle for slot in slots]
            match self._spec:
                case SGD(momentum=momentum):
                    tf.raw_ops.ResourceApplyKerasMomentum(
                        var=variable.handle, accum=handles[0], lr=rate, grad=gradient, momentum=momentum
                    )
                case Adam(beta_1=beta_1, beta_2=beta_2, epsilon=epsilon):
                    tf.raw_ops.ResourceApplyAdam(
                        var=variable.handle, m=handles[0], v=handles[1], beta1_power=0.0, beta2_power=0.0,
                        lr=rate, beta1=beta_1, beta2=beta_2, epsilon=epsilon, grad=gradient,
                    )  # fmt: skip
