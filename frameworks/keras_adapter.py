"""Keras 3: layers and optimisers of its own, trained by `fit` on TensorFlow, PyTorch or JAX."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from frameworks.base import (
    LOSS_SCALE,
    Adapter,
    Device,
    Images,
    Labels,
    Model,
    Precision,
    check_names,
    named_padding,
    rounded,
    schedule,
    work_off,
)
from workloads.initial import Weights
from workloads.shapes import ATTENTION_PARTS, output_shapes, padding_amounts, window_counts
from workloads.spec import (
    GELU,
    L2,
    LSTM,
    SGD,
    Adam,
    Add,
    AveragePool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Crop2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    LayerNorm,
    LocalResponseNorm,
    MaxPool2D,
    MultiHeadAttention,
    Network,
    Node,
    Padding,
    PositionEmbedding,
    ReLU,
    Shape,
    Workload,
)

match keras.config.backend():
    case "tensorflow":
        import tensorflow as tf

        from frameworks import tensorflow_device
    case "torch":
        import torch

        from frameworks import torch_device
    case "jax":
        import jax

        from frameworks import jax_device


class InfinityPadding2D(keras.layers.Layer):
    """Pads (N, H, W, C) with minus infinity, which no pool ever takes."""

    def __init__(self, padding: Padding, name: str) -> None:
        super().__init__(name=name)
        self._padding = ((0, 0), *padding, (0, 0))

    def call(self, x: Any) -> Any:
        """Return the padded images."""
        return keras.ops.pad(x, self._padding, constant_values=-math.inf)


class Rescale(keras.layers.Layer):
    """Each place of (N, H, W, C) times its constant."""

    def __init__(self, factors: NDArray[np.float64], name: str) -> None:
        super().__init__(name=name)
        self._factors = factors[..., None].astype(np.float32)

    def call(self, x: Any) -> Any:
        """Return the scaled images."""
        return x * keras.ops.convert_to_tensor(self._factors, self.compute_dtype)


class ResponseNorm(keras.layers.Layer):
    """Local response normalisation over channels, which Keras does not have."""

    def __init__(self, layer: LocalResponseNorm, name: str) -> None:
        super().__init__(name=name)
        self._layer = layer

    def call(self, x: Any) -> Any:
        """Return x times a negative power of the sum of squares in its neighbourhood."""
        radius, channels = self._layer.radius, x.shape[-1]
        squares = keras.ops.pad(keras.ops.square(x), ((0, 0), (0, 0), (0, 0), (radius, radius)))
        sums = sum(squares[..., place : place + channels] for place in range(2 * radius + 1))
        return x * (self._layer.bias + self._layer.alpha * sums) ** -self._layer.beta


class Positions(keras.layers.Layer):
    """(N, T, D) plus a table (T, D), which Keras has in KerasHub alone."""

    def __init__(self, regularizer: keras.Regularizer | None, name: str) -> None:
        super().__init__(name=name)
        self._regularizer = regularizer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the table."""
        settings = {"shape": input_shape[1:], "initializer": "zeros", "regularizer": self._regularizer}
        self.embeddings = self.add_weight(name="embeddings", **settings)

    def call(self, x: Any) -> Any:
        """Return the sum."""
        return x + self.embeddings


class HalfSquaredSum(keras.losses.Loss):
    """Half the sum of the squares of a net's whole output, labels aside."""

    def __init__(self) -> None:
        super().__init__(reduction=None)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of the whole batch."""
        return 0.5 * keras.ops.sum(keras.ops.square(y_pred))


def _loss(kind: str) -> keras.losses.Loss:
    match kind:
        case "softmax-cross-entropy":
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        case "half-squared-sum":
            return HalfSquaredSum()
    raise TypeError(f"Keras has no translation of {kind}")


def _window_padding(
    kind: type[keras.layers.Layer], name: str, padding: Padding
) -> tuple[str, list[keras.layers.Layer]]:
    """Return the padding that a layer does by itself and, for explicit amounts, the layer that pads before it."""
    if isinstance(padding, str):
        return padding, []
    return "valid", [kind(padding, name=f"{name}_padding")]


def _regularizers(l2: L2 | None, kinds: tuple[str, ...]) -> dict[str, keras.Regularizer]:
    """Return the regularisers of a layer's weights; Keras' L2 has no ½ of its own."""
    return {f"{kind}_regularizer": keras.regularizers.L2(0.5 * l2.rate) for kind in kinds if l2 and kind in l2.kinds}


def _layers(layer: Layer, name: str, l2: L2 | None, before: Shape) -> list[keras.layers.Layer]:
    """Translate a layer; kernels start as zeros because the weights are handed over afterwards."""
    match layer:
        case Conv2D(kernel_size=window, strides=strides, use_bias=bias):
            padding, pad = _window_padding(keras.layers.ZeroPadding2D, name, named_padding(layer, before))
            settings = {"use_bias": bias, "kernel_initializer": "zeros", **_regularizers(l2, ("kernel", "bias"))}
            return [*pad, keras.layers.Conv2D(layer.filters, window, strides, padding, name=name, **settings)]
        case DepthwiseConv2D(kernel_size=window, strides=strides, use_bias=bias):
            padding, pad = _window_padding(keras.layers.ZeroPadding2D, name, named_padding(layer, before))
            regularizers = _regularizers(l2, ("kernel", "bias"))
            settings = {
                "use_bias": bias,
                "depthwise_initializer": "zeros",
                "depthwise_regularizer": regularizers.get("kernel_regularizer"),
                "bias_regularizer": regularizers.get("bias_regularizer"),
            }
            return [*pad, keras.layers.DepthwiseConv2D(window, strides, padding, name=name, **settings)]
        case MaxPool2D(pool_size=window, strides=strides):
            padding, pad = _window_padding(InfinityPadding2D, name, named_padding(layer, before))
            return [*pad, keras.layers.MaxPooling2D(window, strides, padding, name=name)]
        case AveragePool2D(pool_size=window, strides=strides):
            return _average_pool(layer, name, before)
        case GlobalAveragePool2D():
            return [keras.layers.GlobalAveragePooling2D(name=name)]
        case BatchNorm(momentum=momentum, epsilon=epsilon, center=center, scale=scale):
            settings = {"center": center, "scale": scale, **_regularizers(l2, ("gamma", "beta"))}
            return [keras.layers.BatchNormalization(-1, momentum, epsilon, name=name, **settings)]
        case LocalResponseNorm():
            return [ResponseNorm(layer, name)]
        case Dense(units=units, use_bias=bias):
            settings = {"use_bias": bias, "kernel_initializer": "zeros", **_regularizers(l2, ("kernel", "bias"))}
            return [keras.layers.Dense(units, name=name, **settings)]
        case Embedding():
            regularizers = _regularizers(l2, ("embeddings",))
            return [keras.layers.Embedding(layer.input_dim, layer.output_dim, "zeros", name=name, **regularizers)]
        case PositionEmbedding():
            return [Positions(_regularizers(l2, ("embeddings",)).get("embeddings_regularizer"), name)]
        case LSTM(units=units, return_sequences=every):
            zeros = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
            regularizers = _regularizers(l2, ("kernel", "bias"))
            regularizers["recurrent_regularizer"] = regularizers.get("kernel_regularizer")
            settings = {"return_sequences": every, **zeros, **regularizers}
            return [keras.layers.LSTM(units, "tanh", "sigmoid", True, name=name, **settings)]
        case MultiHeadAttention(heads=heads, use_bias=bias):
            settings = {"use_bias": bias, "kernel_initializer": "zeros", **_regularizers(l2, ("kernel", "bias"))}
            return [keras.layers.MultiHeadAttention(heads, before[-1] // heads, name=name, **settings)]
        case LayerNorm(epsilon=epsilon):
            return [keras.layers.LayerNormalization(-1, epsilon, name=name, **_regularizers(l2, ("gamma", "beta")))]
        case GELU(form=form):
            gelu = partial(keras.ops.gelu, approximate=form == "tanh")
            return [keras.layers.Activation(gelu, name=name)]
        case ReLU():
            return [keras.layers.ReLU(name=name)]
        case Dropout(rate=rate):
            return [keras.layers.Dropout(rate, name=name)]
        case Flatten():
            return [keras.layers.Flatten(name=name)]
        case Crop2D(cropping=cropping):
            return [keras.layers.Cropping2D(cropping, name=name)]
        case Add():
            return [keras.layers.Add(name=name)]
        case Concatenate():
            return [keras.layers.Concatenate(name=name)]


def _average_pool(layer: AveragePool2D, name: str, before: Shape) -> list[keras.layers.Layer]:
    """Pool with its own padding, or pad with zeros and let the mean be one of what is not padding.

    Keras' "same" is of no use on PyTorch where it is uneven: there it repeats the edge and counts it.
    """
    padding = named_padding(layer, before)
    amounts = padding_amounts((before[0], before[1]), layer.pool_size, layer.strides, layer.padding)
    if keras.config.backend() == "torch" and any(first != last for first, last in amounts):
        padding = amounts
    padding, pad = _window_padding(keras.layers.ZeroPadding2D, name, padding)
    pool = keras.layers.AveragePooling2D(layer.pool_size, layer.strides, padding, name=name)
    if not pad:
        return [pool]
    factors = math.prod(layer.pool_size) / window_counts((before[0], before[1]), layer)
    return [*pad, pool, Rescale(factors, f"{name}_rescaling")]


def _functional(workload: Workload) -> tuple[keras.Model, dict[str, Any]]:
    """Return the net, and the symbolic output of every node."""
    shapes = output_shapes(workload.network)

    def apply(node: Node, *inputs: Any) -> Any:
        x = list(inputs) if len(inputs) > 1 else inputs[0]
        for layer in _layers(node.layer, node.name, workload.l2, shapes[node.inputs[0]]):
            if isinstance(node.layer, MultiHeadAttention):
                x = layer(x, x, use_causal_mask=node.layer.causal)
            else:
                x = layer(x)
        return x

    shape = workload.network.input_shape
    images, outputs = keras.Input(shape, dtype="int32" if len(shape) == 1 else "float32"), {}
    logits = work_off(schedule(workload.network), images, apply, outputs)
    if keras.config.dtype_policy().compute_dtype != "float32":
        logits = keras.layers.Activation("linear", dtype="float32", name="logits")(logits)
    return keras.Model(images, logits), outputs


def _variables(layer: keras.layers.Layer) -> dict[str, Any]:
    """Return a layer's variables by canonical name; an attention's are those of the dense layers within it."""
    if not isinstance(layer, keras.layers.MultiHeadAttention):
        return {f"{layer.name}/{variable.name}": variable for variable in layer.weights}
    parts = (layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense)
    return {
        f"{layer.name}/{name}_{variable.name}": variable
        for name, part in zip(ATTENTION_PARTS, parts, strict=True)
        for variable in part.weights
    }


def _optimizer(spec: SGD | Adam | None, loss_scale: float | None) -> keras.optimizers.Optimizer | None:
    """Keras' own formulas are the spec's: the rate inside the velocity, epsilon outside the bias correction."""
    match spec:
        case None:
            return None
        case SGD(learning_rate=rate, momentum=momentum, decay=decay, nesterov=nesterov):
            schedule = keras.optimizers.schedules.InverseTimeDecay(rate, decay_steps=1, decay_rate=decay)
            return _sgd()(schedule, momentum=momentum, nesterov=nesterov, loss_scale_factor=loss_scale)
        case Adam(epsilon=epsilon, epsilon_form=form):
            beta_1, beta_2 = rounded(spec.beta_1, "float32"), rounded(spec.beta_2, "float32")
            rate = CorrectedRate(spec.learning_rate, beta_1, beta_2)
            betas = {"beta_1": beta_1, "beta_2": beta_2}
            return _adam(form)(rate, epsilon=epsilon, loss_scale_factor=loss_scale, **betas)


class CorrectedRate(keras.optimizers.schedules.LearningRateSchedule):
    """A constant rate that makes up for the rounding of Keras' bias corrections.

    Keras takes 1 − βᵗ in float32, which is off by up to 1e-5 of itself in the first steps; −expm1(t·log β) is not.
    """

    def __init__(self, rate: float, beta_1: float, beta_2: float) -> None:
        super().__init__()
        self._rate, self._betas = rate, (beta_1, beta_2)

    def __call__(self, step: Any) -> Any:
        """Return the rate of the update after `step` others."""
        t = keras.ops.cast(step + 1, "float32")
        exact = [-keras.ops.expm1(t * math.log(beta)) for beta in self._betas]
        written_out = [1 - keras.ops.power(keras.ops.cast(beta, "float32"), t) for beta in self._betas]
        return self._rate * keras.ops.sqrt(exact[1] / written_out[1]) * written_out[0] / exact[0]


def _sgd() -> type[keras.optimizers.SGD]:
    """Return Keras' own class where it can: on PyTorch it updates all weights at once, and a derived one does not."""
    return DenseSGD if keras.config.backend() == "tensorflow" else keras.optimizers.SGD


def _adam(form: str) -> type[keras.optimizers.Adam]:
    """Return Keras' own class where it has the spec's formula."""
    if form == "algorithm-1":
        return AlgorithmOneAdam
    return DenseAdam if keras.config.backend() == "tensorflow" else keras.optimizers.Adam


class DenseGradients:
    """What an optimiser of Keras takes dense gradients by.

    TensorFlow's gradient of an embedding is a list of rows, in which a token has one for each of its places. Keras'
    Adam would square each by itself, and not their sum, and a loss scale cannot be divided out of rows.
    """

    def apply(self, grads: list[Any], trainable_variables: Any = None) -> None:
        """Add up the rows of a token before Keras' formula sees them."""
        if keras.config.backend() == "tensorflow":
            grads = [tf.convert_to_tensor(gradient) for gradient in grads]
        super().apply(grads, trainable_variables)


class DenseSGD(DenseGradients, keras.optimizers.SGD):
    """Keras' SGD."""


class DenseAdam(DenseGradients, keras.optimizers.Adam):
    """Keras' Adam."""


class AlgorithmOneAdam(DenseAdam):
    """Adam with epsilon inside the bias correction; Keras has the other form alone."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Give Keras' formula the epsilon that makes it algorithm 1."""
        given = self.epsilon
        t = keras.ops.cast(self.iterations + 1, "float32")
        self.epsilon = given * keras.ops.sqrt(-keras.ops.expm1(t * math.log(self.beta_2)))
        super().update_step(gradient, variable, learning_rate)
        self.epsilon = given


class Batches(keras.utils.PyDataset):
    """Consecutive batches of `order`, gathered when `fit` asks for them; the last may be partial."""

    def __init__(self, images: Images, labels: Labels, order: NDArray[np.int64], batch_size: int) -> None:
        super().__init__()
        self._images, self._labels, self._order, self._batch_size = images, labels, order, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self._batch_size)

    def __getitem__(self, number: int) -> tuple[Images, Labels]:
        batch = self._order[number * self._batch_size : (number + 1) * self._batch_size]
        return self._images[batch], self._labels[batch]


Gradients = Callable[[Any, Labels], tuple[Any, list[Any]]]
"""From images and labels to the loss and its gradient for each trainable variable."""


class Backend(ABC):
    """What Keras leaves to the framework below it."""

    feed: Callable[[Images, Labels, NDArray[np.int64], int], Any] = Batches

    @abstractmethod
    def __init__(self, device: Device, cores: int) -> None:
        """Start the device."""

    @abstractmethod
    def precisions(self) -> tuple[Precision, ...]:
        """Return what the framework trains in on the device."""

    @abstractmethod
    def allow_tf32(self, allowed: bool) -> None:
        """Say whether a GPU may round what it multiplies of float32 to ten bits of fraction."""

    def refused(self, network: Network) -> str | None:
        """Return what the framework lacks or gets wrong, or None."""
        return None

    @abstractmethod
    def place(self, images: Images) -> Any:
        """Copy images to the device and return them once they are there."""

    @abstractmethod
    def make_gradients(self, net: keras.Model, loss: Any, loss_scale: float) -> Gradients:
        """Return the function that goes through a net in training mode, compiled as `fit` compiles its step.

        It differentiates a loss that is `loss_scale` times as large, and returns the gradients of the loss.
        """

    @abstractmethod
    def synchronize(self, net: keras.Model) -> None:
        """Return when the device has finished."""

    @abstractmethod
    def peak_memory_bytes(self) -> int | None:
        """Return the peak of the framework's allocator on a GPU."""


class TensorFlowBackend(Backend):
    """Feeds `fit` by tf.data, which costs less a step here than a PyDataset."""

    def __init__(self, device: Device, cores: int) -> None:
        self._device = tensorflow_device.start_device(device, cores)
        self._host_tensors = tensorflow_device.HostTensors()

    def precisions(self) -> tuple[Precision, ...]:
        return tensorflow_device.precisions(self._device)

    def allow_tf32(self, allowed: bool) -> None:
        tensorflow_device.allow_tf32(allowed)

    def refused(self, network: Network) -> str | None:
        return tensorflow_device.refused(network, self._device)

    def feed(self, images: Images, labels: Labels, order: NDArray[np.int64], batch_size: int) -> Any:
        """Return the batches, gathered while the step before runs; with autotuning some epochs would stall."""
        options = tf.data.Options()
        options.autotune.enabled = False
        x, y = self._host_tensors.convert(images, labels)
        with tf.device(tensorflow_device.HOST):
            batches = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
            batches = batches.map(lambda batch: (tf.gather(x, batch), tf.gather(y, batch)))
            return batches.prefetch(2).with_options(options)

    def place(self, images: Images) -> Any:
        with tf.device(self._device):
            placed = tf.constant(images)
        tensorflow_device.synchronize()
        return placed

    def make_gradients(self, net: keras.Model, loss: Any, loss_scale: float) -> Gradients:
        @tf.function(autograph=False, jit_compile=net.jit_compile)
        def gradients(images: Any, labels: Any) -> tuple[Any, list[Any]]:
            with tf.GradientTape() as tape:
                value = loss(labels, net(images, training=True)) + sum(net.losses)
                scaled = tensorflow_device.scale(value, loss_scale)
            variables = [variable.value for variable in net.trainable_variables]
            return value, tensorflow_device.unscale(tape.gradient(scaled, variables), loss_scale)

        return gradients

    def synchronize(self, net: keras.Model) -> None:
        tensorflow_device.synchronize()

    def peak_memory_bytes(self) -> int | None:
        return tensorflow_device.peak_memory_bytes(self._device)


class TorchBackend(Backend):
    """Keras itself takes the first GPU that torch can see, and else the CPU."""

    def __init__(self, device: Device, cores: int) -> None:
        self._device = torch_device.start_device(device, cores)

    def precisions(self) -> tuple[Precision, ...]:
        return torch_device.precisions(self._device)

    def allow_tf32(self, allowed: bool) -> None:
        torch_device.allow_tf32(allowed)

    def refused(self, network: Network) -> str | None:
        return torch_device.refused(network, self._device)

    def place(self, images: Images) -> Any:
        placed = torch.tensor(images, device=self._device)
        torch_device.synchronize(self._device)
        return placed

    def make_gradients(self, net: keras.Model, loss: Any, loss_scale: float) -> Gradients:
        def gradients(images: Any, labels: Any) -> tuple[Any, list[Any]]:
            value = loss(labels, net(images, training=True)) + sum(net.losses)
            weights = [variable.value for variable in net.trainable_variables]
            found = torch.autograd.grad(torch_device.scale(value, loss_scale), weights)
            torch_device.unscale(found, loss_scale)
            return value, list(found)

        return gradients

    def synchronize(self, net: keras.Model) -> None:
        torch_device.synchronize(self._device)

    def peak_memory_bytes(self) -> int | None:
        return torch_device.peak_memory_bytes(self._device)


class JaxBackend(Backend):
    """Its threads follow the affinity, so `cores` has nothing to set."""

    def __init__(self, device: Device, cores: int) -> None:
        self._device = jax_device.start_device(device)

    def precisions(self) -> tuple[Precision, ...]:
        return jax_device.precisions(self._device)

    def allow_tf32(self, allowed: bool) -> None:
        jax_device.allow_tf32(allowed)

    def place(self, images: Images) -> Any:
        return jax.block_until_ready(jax.device_put(images, may_alias=False))

    def make_gradients(self, net: keras.Model, loss: Any, loss_scale: float) -> Gradients:
        def value(trainable: list[Any], others: list[Any], images: Any, labels: Any) -> Any:
            logits, _, losses = net.stateless_call(trainable, others, images, training=True, return_losses=True)
            return (loss(labels, logits) + sum(losses)) * loss_scale

        @jax.jit
        def differentiate(*batch: Any) -> tuple[Any, list[Any]]:
            scaled, found = jax.value_and_grad(value)(*batch)
            return scaled / loss_scale, [gradient / loss_scale for gradient in found]

        def gradients(images: Any, labels: Any) -> tuple[Any, list[Any]]:
            variables = net.trainable_variables, net.non_trainable_variables
            return differentiate(*([variable.value for variable in kind] for kind in variables), images, labels)

        return gradients

    def synchronize(self, net: keras.Model) -> None:
        slots = net.optimizer.variables if net.optimizer else []
        jax.block_until_ready([variable.value for variable in (*net.variables, *slots)])

    def peak_memory_bytes(self) -> int | None:
        return jax_device.peak_memory_bytes(self._device)


BACKENDS: dict[str, type[Backend]] = {"tensorflow": TensorFlowBackend, "torch": TorchBackend, "jax": JaxBackend}


POLICIES: dict[Precision, str] = {
    "float32": "float32",
    "tf32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
"""What Keras calls a precision."""


class KerasAdapter(Adapter):
    """Keras on the backend that KERAS_BACKEND names, which has to be the tool's."""

    differences = ("biased moving variance",)

    def __init__(self, *, device: Device, cores: int, backend: Literal["tensorflow", "torch", "jax"]) -> None:
        if keras.config.backend() != backend:
            raise ValueError(
                f"Keras runs on {keras.config.backend()!r} and this tool on {backend!r}: "
                f"set KERAS_BACKEND={backend} before the start"
            )
        keras.config.set_image_data_format("channels_last")
        self._backend = BACKENDS[backend](device, cores)
        self.precisions = tuple(precision for precision in self._backend.precisions() if precision in POLICIES)

    def supports(self, workload: Workload, precision: Precision) -> str | None:
        """Return what the backend cannot do."""
        return super().supports(workload, precision) or self._backend.refused(workload.network)

    def build(self, workload: Workload, weights: Weights, seed: int, precision: Precision) -> Model:
        """Make the layers and assign the weights to their variables."""
        keras.config.set_dtype_policy(POLICIES[precision])
        self._backend.allow_tf32(precision == "tf32")
        return KerasModel(workload, weights, seed, precision, self._backend)


class KerasModel(Model):
    """A compiled functional model."""

    def __init__(self, workload: Workload, weights: Weights, seed: int, precision: Precision, backend: Backend) -> None:
        keras.utils.set_random_seed(seed)
        self._backend = backend
        self._batch_size = workload.batch_size
        self._net, self._symbols = _functional(workload)
        variables = {name: variable for layer in self._net.layers for name, variable in _variables(layer).items()}
        check_names(variables, weights)
        self._variables = {name: variables[name] for name in weights}
        self._shapes = {name: weight.shape for name, weight in weights.items()}
        for name, variable in self._variables.items():
            variable.assign(weights[name].reshape(variable.shape))
        names = {variable.path: name for name, variable in variables.items()}
        self._trainable = [names[variable.path] for variable in self._net.trainable_variables]
        loss = _loss(workload.loss)
        # "auto" is what Keras' users get: XLA on JAX and on TensorFlow with a GPU, none on TensorFlow's CPU or torch.
        loss_scale = LOSS_SCALE if precision == "float16" else None
        # Keras' own choice for float16 is a scale that it moves.
        settings = {"run_eagerly": False, "jit_compile": "auto", "auto_scale_loss": False}
        self._net.compile(_optimizer(workload.optimizer, loss_scale), loss, **settings)
        self._gradients = backend.make_gradients(self._net, loss, loss_scale or 1.0)

    def forward(self, images: Images) -> NDArray[np.float32]:
        starts = range(0, len(images), self._batch_size)
        return np.concatenate([self._net.predict_on_batch(images[s : s + self._batch_size]) for s in starts])

    def outputs(self, images: Images) -> dict[str, NDArray[Any]]:
        outputs = keras.Model(self._net.inputs, self._symbols).predict_on_batch(images)
        return {name: np.asarray(output, np.float32) for name, output in outputs.items()}

    def gradients(self, images: Images, labels: Labels) -> tuple[float, Weights]:
        moving = [keras.ops.convert_to_numpy(variable).copy() for variable in self._net.non_trainable_variables]
        loss, gradients = self.gradient_step(images, labels)
        for variable, before in zip(self._net.non_trainable_variables, moving, strict=True):
            variable.assign(before)
        return loss, self._canonical(gradients)

    def train_batches(self, images: Images, labels: Labels, order: NDArray[np.int64]) -> float:
        batches = self._backend.feed(images, labels, order, self._batch_size)
        return self._net.fit(batches, epochs=1, shuffle=False, verbose=0).history["loss"][0]

    def place(self, images: Images) -> Any:
        return self._backend.place(images)

    def forward_step(self, placed: Any) -> NDArray[np.float32]:
        return self._net.predict_on_batch(placed)

    def gradient_step(self, placed: Any, labels: Labels) -> tuple[float, Weights]:
        loss, gradients = self._gradients(placed, labels)
        arrays = [keras.ops.convert_to_numpy(gradient) for gradient in gradients]
        return float(keras.ops.convert_to_numpy(loss)), dict(zip(self._trainable, arrays, strict=True))

    def train_step(self, placed: Any, labels: Labels) -> float:
        return float(self._net.train_on_batch(placed, labels, return_dict=True)["loss"])

    def weights(self) -> Weights:
        """Return copies."""
        arrays = {name: np.array(keras.ops.convert_to_numpy(variable)) for name, variable in self._variables.items()}
        return self._canonical(arrays)

    def _canonical(self, arrays: Weights) -> Weights:
        """Return views in canonical shapes; an attention has an axis for its heads."""
        return {name: array.reshape(self._shapes[name]) for name, array in arrays.items()}

    def matmul(self, a: NDArray[np.float32], b: NDArray[np.float32], times: int) -> NDArray[np.float32]:
        layer = keras.layers.Dense(len(b), use_bias=False)
        layer.build(a.shape)
        layer.trainable = False
        layer.kernel.assign(b)
        x = keras.ops.convert_to_tensor(a)
        for _ in range(times):
            x = layer(x)
        return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")))

    def synchronize(self) -> None:
        self._backend.synchronize(self._net)

    def peak_memory_bytes(self) -> int | None:
        return self._backend.peak_memory_bytes()
