"""TensorFlow's device, for the adapters that run on it: threads, memory that grows, precisions, what it cannot do."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from frameworks.base import (
    Device,
    DeviceUnavailableError,
    Images,
    Labels,
    Precision,
    gpu_precisions,
    misread_convolution,
)
from workloads.spec import Conv2D, DepthwiseConv2D, Network

HOST = "CPU:0"


def refused(network: Network, device: str) -> str | None:
    """Return which layer of a network has no kernel, or a wrong one, or None.

    On CPU the kernel gradient of a 1 × 1 convolution whose strides differ writes outside its memory.
    """
    for node in network.nodes:
        match node.layer:
            case DepthwiseConv2D(strides=(down, across)) if down != across:
                return f"tf.nn.depthwise_conv2d has one stride for both directions ({node.name})"
            case Conv2D(kernel_size=(1, 1), strides=(down, across)) if down != across and device == HOST:
                return f"TensorFlow's 1 x 1 convolution with two strides corrupts memory on CPU ({node.name})"
    if device == HOST and (name := misread_convolution(network)):
        return f"TensorFlow's convolution of one channel that strides to a width of 1 is wrong on CPU ({name})"
    return None


def start_device(device: Device, cores: int) -> str:
    """Start the CPU or the first GPU and return TensorFlow's name for it."""
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
    gpus = tf.config.list_physical_devices("GPU")[:1] if device == "gpu" else []
    if device == "gpu" and not gpus:
        raise DeviceUnavailableError("tf.config.list_physical_devices('GPU') is empty")
    tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    name = "GPU:0" if gpus else HOST
    with tf.device(name):
        tf.zeros(1)
    return name


def precisions(device: str) -> tuple[Precision, ...]:
    """Return what TensorFlow trains in, and float64 for proofs."""
    if device == HOST:
        return ("float32", "float64", "bfloat16")
    details = tf.config.experimental.get_device_details(tf.config.get_visible_devices("GPU")[0])
    return ("float32", "float64", *gpu_precisions(details["compute_capability"]))


def allow_tf32(allowed: bool) -> None:
    """Say whether a GPU may round what it multiplies of float32 to ten bits of fraction."""
    tf.config.experimental.enable_tensor_float_32_execution(allowed)


def scale(loss: tf.Tensor, loss_scale: float) -> tf.Tensor:
    """Return what is differentiated: the loss, so many times as large."""
    return loss if loss_scale == 1.0 else loss * loss_scale


def unscale(gradients: Sequence[Any], loss_scale: float) -> list[tf.Tensor]:
    """Return dense gradients of a loss that was multiplied, of the loss itself; of a table rows alone may come."""
    dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
    return dense if loss_scale == 1.0 else [gradient / loss_scale for gradient in dense]


def synchronize() -> None:
    """Wait for all devices."""
    tf.test.experimental.sync_devices()


def peak_memory_bytes(name: str) -> int | None:
    """Return the peak of TensorFlow's allocator on a GPU."""
    return None if name == HOST else tf.config.experimental.get_memory_info(name)["peak"]


class HostTensors:
    """Keeps the training arrays as tensors in host memory from one call to the next."""

    def __init__(self) -> None:
        self._arrays: tuple[Images, Labels] | None = None

    def convert(self, images: Images, labels: Labels) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the arrays as tensors, copied only when they are other arrays than in the call before."""
        if self._arrays is None or self._arrays[0] is not images or self._arrays[1] is not labels:
            self._arrays = images, labels
            with tf.device(HOST):
                self._tensors = tf.constant(images), tf.constant(labels)
        return self._tensors
