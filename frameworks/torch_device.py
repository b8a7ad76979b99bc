"""PyTorch's device, for the adapters that run on it: threads, IEEE float32 on the GPU."""

import torch

from frameworks.base import Device, DeviceUnavailableError


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


def synchronize(device: torch.device) -> None:
    """Wait for the GPU; the CPU never runs ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_memory_bytes(device: torch.device) -> int | None:
    """Return the peak of PyTorch's allocator on a GPU."""
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else None
