"""PyTorch's device, for the adapters that run on it: threads, IEEE float32 on the GPU, what the CPU gets wrong."""

import torch

from frameworks.base import Device, DeviceUnavailableError, misread_convolution
from workloads.spec import Network


def start_device(device: Device, cores: int) -> torch.device:
    """Start the CPU or the first GPU."""
    torch.set_num_threads(cores)
    if device == "gpu":
        if not torch.cuda.is_available():
            raise DeviceUnavailableError("torch.cuda.is_available() is False")
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
    started = torch.device("cuda" if device == "gpu" else "cpu")
    torch.zeros(1, device=started)
    return started


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
