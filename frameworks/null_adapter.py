"""The tool that learns nothing: the floor of every table, and what carries the tests of the harness."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from frameworks.base import Adapter, Device, Images, Labels, Model, Precision
from workloads.initial import Weights
from workloads.shapes import output_shapes, weight_shapes
from workloads.spec import INPUT, Workload


class NullAdapter(Adapter):
    """Needs no framework and has every device and precision."""

    precisions = ("float32", "tf32", "bfloat16", "float16")

    def __init__(self, *, device: Device, cores: int, **options: Any) -> None:
        """There is nothing to start."""

    def build(self, workload: Workload, weights: Weights, seed: int, precision: Precision) -> Model:
        """Keep the weights as they are."""
        return NullModel(workload, weights)


class NullModel(Model):
    """Gives every class the same logit, so the cross-entropy is the logarithm of the number of classes."""

    def __init__(self, workload: Workload, weights: Weights) -> None:
        self._classes = workload.data.classes
        self._shapes = output_shapes(workload.network)
        self._output_shape = self._shapes[workload.network.nodes[-1].name]
        self._trainable = weight_shapes(workload.network)
        self._weights = {name: weight.copy() for name, weight in weights.items()}

    def forward(self, images: Images) -> NDArray[np.float32]:
        return np.zeros((len(images), *self._output_shape), np.float32)

    def outputs(self, images: Images) -> dict[str, NDArray[Any]]:
        return {
            name: np.zeros((len(images), *shape), np.float32) for name, shape in self._shapes.items() if name != INPUT
        }

    def gradients(self, images: Images, labels: Labels) -> tuple[float, Weights]:
        return float(np.log(self._classes)), {
            name: np.zeros(shape, np.float32) for name, shape in self._trainable.items()
        }

    def train_batches(self, images: Images, labels: Labels, order: NDArray[np.int64]) -> float:
        return float(np.log(self._classes))

    def place(self, images: Images) -> Images:
        return images

    def forward_step(self, placed: Images) -> NDArray[np.float32]:
        return self.forward(placed)

    def gradient_step(self, placed: Images, labels: Labels) -> tuple[float, Weights]:
        return self.gradients(placed, labels)

    def train_step(self, placed: Images, labels: Labels) -> float:
        return float(np.log(self._classes))

    def weights(self) -> Weights:
        return {name: weight.copy() for name, weight in self._weights.items()}

    def matmul(self, a: NDArray[np.float32], b: NDArray[np.float32], times: int) -> NDArray[np.float32]:
        raise NotImplementedError("a tool that multiplies nothing is not asked")

    def synchronize(self) -> None:
        """Nothing is ever under way."""

    def peak_memory_bytes(self) -> int | None:
        return None
