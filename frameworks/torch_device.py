"""PyTorch's device, for the adapters that run on it: threads, precisions, what the CPU gets wrong."""

from collections.abc import Sequence

import torch

from frameworks.base import Device, DeviceUnavailableError, Precision, gpu_precisions, misread_convolution
from workloads.spec import Network


def start_device(device: Device, cores: int) -> torch.device:
    """Start the CPU or the first GPU."""
    torch.set_num_threads(cores)
    if device == "gpu":
        if not torch.cuda.is_available():
            raise DeviceUnavailableError("torch.cuda.is_available() is False")
        torch.backends.cudnn.benchmark = True
    started = torch.device("cuda" if device == "gpu" else "cpu")
    torch.zeros(1, device=started)
    return started


def precisions(device: torch.device) -> tuple[Precision, ...]:
    """Return what PyTorch trains in, and float64 for proofs."""
    short = gpu_precisions(torch.cuda.get_device_capability(device)) if device.type == "cuda" else ("bfloat16",)
    return ("float32", "float64", *short)


def allow_tf32(allowed: bool) -> None:
    """Say whether a GPU may round what it multiplies of float32 to ten bits of fraction."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def refused(network: Network, device: torch.device) -> str | None:
    """Return which layer of a network PyTorch gets wrong, or None."""
    if device.type == "cpu" and (name := misread_convolution(network)):
        return f"PyTorch's convolution of one channel that strides to a width of 1 is wrong on CPU ({name})"
    return None


def synchronize(device: torch.device) -> None:
    """Wait for the GPU; the CPU never runs ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_memory_bytes(device: torch.device) -> int | None:
    """Return the peak of PyTorch's allocator on a GPU."""
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else None


def scale(loss: torch.Tensor, loss_scale: float) -> torch.Tensor:
    """Return what is differentiated: the loss, so many times as large."""
    return loss if loss_scale == 1.0 else loss * loss_scale


def unscale(gradients: Sequence[torch.Tensor], loss_scale: float) -> None:
    """Divide the gradients of a loss that was multiplied."""
    if loss_scale != 1.0:
        torch._foreach_div_(gradients, loss_scale)
