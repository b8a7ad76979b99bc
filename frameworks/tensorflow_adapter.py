"""TensorFlow: one `tf.function` trains all batches of a call; its step is plain or compiled by XLA."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from frameworks.base import (
    LOSS_SCALE,
    MIXED,
    Adapter,
    Device,
    Images,
    Labels,
    Model,
    Precision,
    Window,
    named_padding,
    rounded,
    schedule,
    work_off,
)
from frameworks.tensorflow_device import (
    HOST,
    HostTensors,
    allow_tf32,
    peak_memory_bytes,
    precisions,
    refused,
    scale,
    start_device,
    synchronize,
    unscale,
)
from workloads.initial import Weights, by_node
from workloads.shapes import label_shape, weight_shapes, window_counts
from workloads.spec import (
    GELU,
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
    LayerNorm,
    LocalResponseNorm,
    MaxPool2D,
    MultiHeadAttention,
    Node,
    PositionEmbedding,
    ReLU,
    Workload,
)

Tensors = dict[str, tf.Tensor]


def _window_padding(x: tf.Tensor, layer: Window, value: float) -> tuple[tf.Tensor, str]:
    """Return what a window slides over and the padding it does itself; XLA's pools know no explicit amounts."""
    padding = named_padding(layer, x.shape[1:])
    if isinstance(padding, str):
        return x, padding.upper()
    return tf.pad(x, [(0, 0), *padding, (0, 0)], constant_values=tf.cast(value, x.dtype)), "VALID"


def _average_pool(x: tf.Tensor, layer: AveragePool2D) -> tf.Tensor:
    """Take the mean of each window; TensorFlow leaves its own padding out, and here the explicit one is."""
    padded, padding = _window_padding(x, layer, 0.0)
    pooled = tf.nn.avg_pool2d(padded, layer.pool_size, layer.strides, padding)
    if padded is x:
        return pooled
    counts = window_counts((x.shape[1], x.shape[2]), layer)
    return pooled * tf.constant(math.prod(layer.pool_size) / counts[..., None], x.dtype)


def _batch_norm(
    x: tf.Tensor, layer: BatchNorm, own: Tensors, moving: tuple[tf.Tensor, tf.Tensor] | None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the normalised x, and the statistics that enter the moving ones; `moving` given means inference.

    The fused kernel is for images of up to float32, with statistics and weights in float32; a flat input is an image of
    one pixel.
    """
    shape, channels = tf.shape(x), x.shape[-1]
    wide = tf.float64 if x.dtype == tf.float64 else tf.float32
    scale = own["gamma"] if layer.scale else tf.ones(channels, wide)
    offset = own["beta"] if layer.center else tf.zeros(channels, wide)
    if wide == tf.float32:
        mean, variance = moving or (tf.constant([], tf.float32),) * 2
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x if len(x.shape) == 4 else tf.reshape(x, (-1, 1, 1, channels)),
            scale=scale,
            offset=offset,
            mean=mean,
            variance=variance,
            epsilon=layer.epsilon,
            is_training=moving is None,
        )
        return tf.reshape(y, shape), mean, variance
    mean, variance = moving or tf.nn.moments(x, list(range(len(x.shape) - 1)))
    count = tf.cast(tf.size(x) // channels, x.dtype)
    y = tf.nn.batch_normalization(x, mean, variance, offset, scale, layer.epsilon)
    return y, mean, variance * count / tf.maximum(count - 1, 1)


def _product(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
    """Multiply the last axis and add a bias; a sequence goes as one matrix, not as one for each sample."""
    product = tf.matmul(tf.reshape(x, (-1, x.shape[-1])) if len(x.shape) > 2 else x, kernel)
    product = product if bias is None else tf.nn.bias_add(product, bias)
    return tf.reshape(product, (-1, *x.shape[1:-1], kernel.shape[-1])) if len(x.shape) > 2 else product


def _layer_norm(x: tf.Tensor, epsilon: float, own: Tensors) -> tf.Tensor:
    """Normalise the last axis in the precision of the weights; TensorFlow has no kernel for it."""
    wide = tf.cast(x, own["gamma"].dtype)
    mean, variance = tf.nn.moments(wide, -1, keepdims=True)
    return tf.cast((wide - mean) * tf.math.rsqrt(variance + epsilon) * own["gamma"] + own["beta"], x.dtype)


def _lstm(x: tf.Tensor, layer: LSTM, own: Tensors) -> tf.Tensor:
    """Multiply all places by the kernel at once, then go through them one by one.

    TensorFlow's kernel for all places takes longer on CPU, and the gradient of `BlockLSTMV2` mixes up the gates.
    """
    samples, places = tf.shape(x)[0], x.shape[1]
    by_place = tf.reshape(tf.transpose(x, (1, 0, 2)), (-1, x.shape[-1]))
    parts = tf.reshape(_product(by_place, own["kernel"], own["bias"]), (places, samples, 4 * layer.units))
    inputs = tf.TensorArray(x.dtype, places).unstack(parts)
    kernel = tf.convert_to_tensor(own["recurrent_kernel"])
    kept = [tf.TensorArray(x.dtype, places, element_shape=(None, layer.units))] if layer.return_sequences else []

    def step(place: tf.Tensor, h: tf.Tensor, c: tf.Tensor, *kept: tf.TensorArray) -> tuple[Any, ...]:
        i, f, g, o = tf.split(inputs.read(place) + tf.matmul(h, kernel), 4, axis=-1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        return place + 1, h, c, *(states.write(place, h) for states in kept)

    zeros = tf.zeros((samples, layer.units), x.dtype)
    start = tf.constant(0), zeros, zeros, *kept
    _, last, _, *kept = tf.while_loop(lambda place, *_: place < places, step, start, maximum_iterations=places)
    return tf.transpose(kept[0].stack(), (1, 0, 2)) if kept else last


def _attention(x: tf.Tensor, layer: MultiHeadAttention, own: Tensors) -> tf.Tensor:
    """Queries, keys and values come out of one product."""
    _, places, columns = x.shape
    kernel = tf.concat([own[f"{part}_kernel"] for part in ("query", "key", "value")], 1)
    bias = tf.concat([own[f"{part}_bias"] for part in ("query", "key", "value")], 0) if layer.use_bias else None
    by_head = tf.reshape(_product(x, kernel, bias), (-1, places, 3, layer.heads, columns // layer.heads))
    queries, keys, values = tf.unstack(tf.transpose(by_head, (2, 0, 3, 1, 4)))
    scores = tf.matmul(queries * math.sqrt(layer.heads / columns), keys, transpose_b=True)
    if layer.causal:
        scores += tf.constant(np.triu(np.full((places, places), -np.inf), 1), x.dtype)
    mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), values), (0, 2, 1, 3))
    return _product(tf.reshape(mixed, (-1, places, columns)), own["output_kernel"], own.get("output_bias"))


def _apply(node: Node, own: Tensors, *inputs: tf.Tensor) -> tf.Tensor:
    """Return what is the same in training and inference."""
    x = inputs[0]
    match node.layer:
        case Conv2D(strides=strides, use_bias=use_bias) | DepthwiseConv2D(strides=strides, use_bias=use_bias):
            x, padding = _window_padding(x, node.layer, 0.0)
            if isinstance(node.layer, Conv2D):
                x = tf.nn.conv2d(x, own["kernel"], strides, padding)
            else:
                x = tf.nn.depthwise_conv2d(x, own["kernel"], (1, *strides, 1), padding)
            return tf.nn.bias_add(x, own["bias"]) if use_bias else x
        case MaxPool2D(pool_size=window, strides=strides):
            x, padding = _window_padding(x, node.layer, -math.inf)
            return tf.nn.max_pool2d(x, window, strides, padding)
        case AveragePool2D():
            return _average_pool(x, node.layer)
        case GlobalAveragePool2D():
            return tf.reduce_mean(x, (1, 2))
        case LocalResponseNorm(radius=radius, bias=bias, alpha=alpha, beta=beta):
            # There is no kernel for bfloat16, and for float16 none on GPUs.
            wide = tf.cast(x, tf.float32) if x.dtype != tf.float64 else x
            return tf.cast(tf.nn.local_response_normalization(wide, radius, bias, alpha, beta), x.dtype)
        case Dense():
            return _product(x, own["kernel"], own.get("bias"))
        case Embedding():
            return tf.gather(own["embeddings"], x)
        case PositionEmbedding():
            return x + own["embeddings"]
        case LSTM():
            return _lstm(x, node.layer, own)
        case MultiHeadAttention():
            return _attention(x, node.layer, own)
        case LayerNorm(epsilon=epsilon):
            return _layer_norm(x, epsilon, own)
        case ReLU():
            return tf.nn.relu(x)
        case GELU(form="erf"):
            # tf.nn.gelu rounds its constants to float32, in float64 too.
            return 0.5 * x * tf.math.erfc(x * -math.sqrt(0.5))
        case GELU():
            return 0.5 * x * (1 + tf.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
        case Flatten():
            return tf.reshape(x, (-1, math.prod(x.shape[1:])))
        case Crop2D(cropping=((top, bottom), (left, right))):
            return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]
        case Add():
            return tf.add_n(inputs)
        case Concatenate():
            return tf.concat(inputs, -1)
    raise TypeError(f"TensorFlow has no translation of {node}")


class TensorFlowAdapter(Adapter):
    """Grappler and oneDNN or cuDNN kernels, or with the step compiled by XLA."""

    def __init__(self, *, device: Device, cores: int, jit_compile: bool = False) -> None:
        self._device = start_device(device, cores)
        self._jit_compile = jit_compile
        self.precisions = precisions(self._device)

    def supports(self, workload: Workload, precision: Precision) -> str | None:
        """Return what has no kernel, or a wrong one."""
        if precision == "float64" and any(isinstance(x.layer, LocalResponseNorm) for x in workload.network.nodes):
            return "tf.nn.lrn has no float64 kernel"
        return super().supports(workload, precision) or refused(workload.network, self._device)

    def build(self, workload: Workload, weights: Weights, seed: int, precision: Precision) -> Model:
        """Put the weights into variables; functions are traced when they are first called."""
        # Float64 is for proofs alone and shows whether the graph is the net's; what XLA makes of it, float32 shows.
        jit_compile = self._jit_compile and precision != "float64"
        allow_tf32(precision == "tf32")
        return TensorFlowModel(workload, weights, seed, precision, self._device, jit_compile)


class TensorFlowModel(Model):
    """Variables by name, the optimiser's slots, and the functions over them."""

    def __init__(
        self,
        workload: Workload,
        weights: Weights,
        seed: int,
        precision: Precision,
        device: str,
        jit_compile: bool,
    ) -> None:
        self._device = device
        self._seed = seed
        self._precision: Precision = "float64" if precision == "float64" else "float32"
        self._short = precision if precision in MIXED else self._precision
        self._loss_scale = LOSS_SCALE if precision == "float16" else 1.0
        self._batch_size = workload.batch_size
        self._loss_kind, self._l2 = workload.loss, workload.l2
        self._steps = schedule(workload.network)
        self._dropouts = [node.name for node in workload.network.nodes if isinstance(node.layer, Dropout)]
        with tf.device(device):
            variables = {name: tf.Variable(weight.astype(self._precision)) for name, weight in weights.items()}
            self._weights = {name: variables.pop(name) for name in weight_shapes(workload.network)}
            self._moving = variables
            if workload.optimizer:
                self._optimizer = Optimizer(workload.optimizer, list(self._weights.values()), self._precision)
        self._weights_of, self._moving_of = by_node(self._weights), by_node(self._moving)
        self._updates = 0
        self._host_tensors = HostTensors()

        shape = workload.network.input_shape
        images = tf.TensorSpec((None, *shape), tf.int32 if len(shape) == 1 else tf.float32)
        labels, order = tf.TensorSpec((None, *label_shape(workload)), tf.int32), tf.TensorSpec((None,), tf.int64)
        settings, update = tf.TensorSpec((None, 2), self._precision), tf.TensorSpec((), tf.int64)
        compiled = {"autograph": False, "jit_compile": jit_compile}
        self._product = tf.function(tf.matmul, **compiled)
        self._infer = tf.function(self._logits, input_signature=[images], **compiled)
        self._infer_placed = tf.function(self._logits, **compiled)
        self._differentiate = tf.function(self._loss_and_gradients, **compiled)
        self._step = tf.function(self._update, **compiled)
        self._train_one = tf.function(self._update_once, autograph=False)
        self._train = tf.function(self._train_in_order, input_signature=[images, labels, order, settings, update])

    def _seeds(self, update: tf.Tensor) -> Tensors:
        """Return a seed for each dropout that no other update has."""
        first = update * len(self._dropouts)
        return {name: tf.stack([self._seed, first + place]) for place, name in enumerate(self._dropouts)}

    def _inputs(self, images: tf.Tensor) -> tf.Tensor:
        """Return images in the type of the net's arithmetic, and tokens as they are."""
        return images if images.dtype == tf.int32 else tf.cast(images, self._short)

    def _own(self, node: Node) -> Tensors:
        """Return a node's weights by kind, in the type of the net's arithmetic but for normalisations.

        Of a table rows are cast once they have been taken.
        """
        own = self._weights_of.get(node.name, {})
        if isinstance(node.layer, BatchNorm | LayerNorm | Embedding) or self._short == self._precision:
            return own
        return {kind: tf.cast(weight, self._short) for kind, weight in own.items()}

    def _logits(self, images: tf.Tensor, outputs: Tensors | None = None) -> tf.Tensor:
        def apply(node: Node, *inputs: tf.Tensor) -> tf.Tensor:
            own = self._own(node)
            match node.layer:
                case BatchNorm():
                    moving = tuple(
                        self._moving_of[node.name][f"moving_{kind}"].value() for kind in ("mean", "variance")
                    )
                    return _batch_norm(inputs[0], node.layer, own, moving)[0]
                case Dropout():
                    return inputs[0]
            return tf.cast(_apply(node, own, *inputs), self._short)

        return tf.cast(work_off(self._steps, self._inputs(images), apply, outputs), self._precision)

    def _train_logits(self, images: tf.Tensor, seeds: Tensors) -> tuple[tf.Tensor, Tensors]:
        """Return the logits with dropout, and the statistics of this batch under the names of the moving ones."""
        statistics: Tensors = {}

        def apply(node: Node, *inputs: tf.Tensor) -> tf.Tensor:
            own = self._own(node)
            match node.layer:
                case BatchNorm():
                    y, mean, variance = _batch_norm(inputs[0], node.layer, own, None)
                    statistics[f"{node.name}/moving_mean"] = mean
                    statistics[f"{node.name}/moving_variance"] = variance
                    return y
                case Dropout(rate=rate):
                    return tf.nn.experimental.stateless_dropout(inputs[0], rate, seeds[node.name], rng_alg="philox")
            return tf.cast(_apply(node, own, *inputs), self._short)

        return tf.cast(work_off(self._steps, self._inputs(images), apply), self._precision), statistics

    def _loss_and_gradients(
        self, images: tf.Tensor, labels: tf.Tensor, seeds: Tensors
    ) -> tuple[tf.Tensor, list[tf.Tensor], Tensors]:
        with tf.GradientTape() as tape:
            logits, statistics = self._train_logits(images, seeds)
            match self._loss_kind:
                case "softmax-cross-entropy":
                    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
                case "half-squared-sum":
                    loss = tf.nn.l2_loss(logits)
            # A term may be about kinds of weights that the net has none of.
            if self._l2 and (covered := [x for name, x in self._weights.items() if self._l2.covers(name)]):
                loss += self._l2.rate * tf.add_n([tf.nn.l2_loss(weight) for weight in covered])
            scaled = scale(loss, self._loss_scale)
        gradients = tape.gradient(scaled, list(self._weights.values()))
        # Of a table TensorFlow differentiates the rows that were taken; Adam moves all.
        return loss, unscale(gradients, self._loss_scale), statistics

    def _update(
        self, images: tf.Tensor, labels: tf.Tensor, seeds: Tensors, rate: tf.Tensor, epsilon: tf.Tensor
    ) -> tf.Tensor:
        loss, gradients, statistics = self._loss_and_gradients(images, labels, seeds)
        self._optimizer.apply(gradients, rate, epsilon)
        for node, _ in self._steps:
            if isinstance(node.layer, BatchNorm):
                for kind, moving in self._moving_of[node.name].items():
                    share = tf.constant(1 - node.layer.momentum, moving.dtype)
                    moving.assign_sub(share * (moving - statistics[f"{node.name}/{kind}"]))
        return loss

    def _update_once(self, images: tf.Tensor, labels: tf.Tensor, settings: tf.Tensor, update: tf.Tensor) -> tf.Tensor:
        """Update the weights with one of the optimiser's settings and return the loss before.

        Counter and seeds stay on the host, where a GPU's kernels expect them: the device never has to be waited for.
        """
        with tf.device(HOST):
            seeds, rate, epsilon = self._seeds(update), settings[0], settings[1]
        with tf.device(self._device):
            return self._step(images, labels, seeds, rate, epsilon)

    def _train_in_order(
        self, images: tf.Tensor, labels: tf.Tensor, order: tf.Tensor, settings: tf.Tensor, first_update: tf.Tensor
    ) -> tf.Tensor:
        """Loop over the batches and their settings within one trace that leaves the batch size open."""
        with tf.device(self._device):
            total = tf.constant(0.0, tf.float64)
        with tf.device(HOST):
            for number in tf.range(tf.shape(settings, tf.int64)[0]):
                batch = order[number * self._batch_size : (number + 1) * self._batch_size]
                batch_images, batch_labels = tf.gather(images, batch), tf.gather(labels, batch)
                loss = self._update_once(batch_images, batch_labels, settings[number], first_update + number)
                with tf.device(self._device):
                    total += tf.cast(loss, tf.float64) * tf.cast(tf.size(batch), tf.float64)
        return total / tf.cast(tf.size(order), tf.float64)

    def forward(self, images: Images) -> NDArray[Any]:
        starts = range(0, len(images), self._batch_size)
        return tf.concat([self._infer(images[start : start + self._batch_size]) for start in starts], axis=0).numpy()

    def outputs(self, images: Images) -> dict[str, NDArray[Any]]:
        outputs: Tensors = {}
        with tf.device(self._device):
            self._logits(tf.constant(images), outputs)
        return {name: tf.cast(output, self._precision).numpy() for name, output in outputs.items()}

    def gradients(self, images: Images, labels: Labels) -> tuple[float, Weights]:
        return self.gradient_step(images, labels)

    def train_batches(self, images: Images, labels: Labels, order: NDArray[np.int64]) -> float:
        first, count = self._updates, math.ceil(len(order) / self._batch_size)
        self._updates += count
        with tf.device(HOST):
            arrays = self._host_tensors.convert(images, labels)
            return float(self._train(*arrays, order, self._optimizer.settings(first, count), first))

    def place(self, images: Images) -> tf.Tensor:
        with tf.device(self._device):
            placed = tf.constant(images)
        self.synchronize()
        return placed

    def forward_step(self, placed: tf.Tensor) -> NDArray[Any]:
        return self._infer_placed(placed).numpy()

    def gradient_step(self, placed: tf.Tensor, labels: Labels) -> tuple[float, Weights]:
        with tf.device(HOST):
            seeds = self._seeds(tf.constant(self._updates, tf.int64))
        loss, gradients, _ = self._differentiate(placed, labels, seeds)
        return float(loss), {name: gradient.numpy() for name, gradient in zip(self._weights, gradients, strict=True)}

    def train_step(self, placed: tf.Tensor, labels: Labels) -> float:
        with tf.device(HOST):
            (settings,), update = self._optimizer.settings(self._updates, 1), tf.constant(self._updates, tf.int64)
            self._updates += 1
            return float(self._train_one(placed, labels, settings, update))

    def weights(self) -> Weights:
        return {name: variable.numpy() for name, variable in {**self._weights, **self._moving}.items()}

    def matmul(self, a: NDArray[np.float32], b: NDArray[np.float32], times: int) -> NDArray[np.float32]:
        with tf.device(self._device):
            x, y = tf.cast(a, self._short), tf.cast(b, self._short)
            for _ in range(times):
                x = self._product(x, y)
            return tf.cast(x, tf.float32).numpy()

    def synchronize(self) -> None:
        synchronize()

    def peak_memory_bytes(self) -> int | None:
        return peak_memory_bytes(self._device)


class Optimizer:
    """TensorFlow's fused update kernels, which take each update's learning rate and epsilon as inputs."""

    def __init__(self, spec: SGD | Adam, variables: list[tf.Variable], precision: Precision) -> None:
        self._spec = spec
        self._variables = variables
        self._precision = precision
        slots = 1 if isinstance(spec, SGD) else 2
        self._slots = [[tf.Variable(tf.zeros_like(variable)) for _ in range(slots)] for variable in variables]

    def settings(self, first_update: int, count: int) -> NDArray[Any]:
        """Return (rate, epsilon) of `count` updates: SGD's rates after decay, Adam's with both bias corrections."""
        t = np.arange(first_update, first_update + count, dtype=np.float64)
        match self._spec:
            case SGD(learning_rate=rate, decay=decay):
                rates, epsilons = rate / (1 + decay * t), np.zeros_like(t)
            case Adam(learning_rate=rate):
                correction_1, correction_2 = (
                    1 - rounded(beta, self._precision) ** (t + 1) for beta in (self._spec.beta_1, self._spec.beta_2)
                )
                rates, epsilons = rate * np.sqrt(correction_2) / correction_1, np.full_like(t, self._spec.epsilon)
                # The kernel's epsilon is the paper's "epsilon hat".
                epsilons *= np.sqrt(correction_2) if self._spec.epsilon_form == "algorithm-1" else 1
        return np.stack([rates, epsilons], axis=1).astype(self._precision)

    def apply(self, gradients: list[tf.Tensor], rate: tf.Tensor, epsilon: tf.Tensor) -> None:
        """Update the variables. The powers of Adam's betas are given as 0, which leaves the rate as it is."""
        for variable, slots, gradient in zip(self._variables, self._slots, gradients, strict=True):
            handles: list[Any] = [slot.handle for slot in slots]
            match self._spec:
                case SGD(momentum=momentum, nesterov=nesterov):
                    tf.raw_ops.ResourceApplyKerasMomentum(
                        var=variable.handle, accum=handles[0], lr=rate, grad=gradient,
                        momentum=tf.constant(momentum, variable.dtype), use_nesterov=nesterov,
                    )  # fmt: skip
                case Adam():
                    zero, beta_1, beta_2 = (
                        tf.constant(value, variable.dtype) for value in (0.0, self._spec.beta_1, self._spec.beta_2)
                    )
                    tf.raw_ops.ResourceApplyAdam(
                        var=variable.handle, m=handles[0], v=handles[1], beta1_power=zero, beta2_power=zero,
                        lr=rate, beta1=beta_1, beta2=beta_2, epsilon=epsilon, grad=gradient,
                    )  # fmt: skip
