"""The contract between the worker and a framework: what an adapter must do, in canonical layouts, and nothing more.

Importing an adapter's module imports its framework; making the adapter starts the device; `build` makes the net. The
worker times each of these, so none may do another's work.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workloads.initial import Weights
from workloads.spec import Workload

Device = Literal["cpu", "gpu"]
Images = NDArray[np.float32]
Labels = NDArray[np.int32]


class DeviceUnavailableError(Exception):
    """The framework finds no device of the kind asked for; the text says what it looked for."""


class Model(ABC):
    """A net on its device with its optimiser's state, fed from NumPy arrays in host memory."""

    @abstractmethod
    def forward(self, images: Images) -> NDArray[np.float32]:
        """Return the logits (N, classes) of (N, H, W, C) in inference mode, worked off in batches of the workload."""

    @abstractmethod
    def gradients(self, images: Images, labels: Labels) -> tuple[float, Weights]:
        """Return the mean loss of one batch in training mode and its gradient by weight name, without an update."""

    @abstractmethod
    def train_batches(self, images: Images, labels: Labels, order: NDArray[np.int64]) -> float:
        """Train once on `images[order]` in consecutive batches, the last one partial, and return the mean loss.

        The mean is over samples; each sample's loss is the one before its batch's update.
        """

    @abstractmethod
    def weights(self) -> Weights:
        """Return a copy of the trainable weights by name, in canonical layouts."""

    @abstractmethod
    def synchronize(self) -> None:
        """Return when the device has finished all work given to it."""

    @abstractmethod
    def peak_memory_bytes(self) -> int | None:
        """Return the most device memory in use so far as the framework counts it, or None where it does not."""


class Adapter(ABC):
    """A framework on one device. Making it raises DeviceUnavailableError where there is no such device."""

    @abstractmethod
    def __init__(self, *, device: Device, cores: int, **options: Any) -> None:
        """Start the device and set the framework's own threads to `cores`. `options` come from the tool table."""

    def supports(self, workload: Workload) -> str | None:
        """Return why this framework cannot train the workload as it is specified, or None if it can."""
        return None

    @abstractmethod
    def build(self, workload: Workload, weights: Weights, seed: int) -> Model:
        """Make the workload's net from canonical `weights`; `seed` is for dropout alone."""


def as_float32(constant: float) -> float:
    """Round a constant as a float32 kernel does.

    Where a kernel takes β in float32 and the bias correction 1 − βᵗ is made elsewhere, both must mean the same β: for
    β = 0.999 the rounding changes 1 − β by 1.3e-5 of itself.
    """
    return float(np.float32(constant))


def batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Cut an order into consecutive batches; the last may be partial."""
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
