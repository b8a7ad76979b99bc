"""PyTorch's device, for the adapters that run on it: threads, IEEE float32 on the GPU, what the CPU gets wrong."""

import torch

from frameworks.base import Device, DeviceUnavailableError
from workloads.shapes import output_shapes
from workloads.spec import Conv2D, DepthwiseConv2D, Network


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
    """Return which convolution of a network PyTorch 2.13 gets wrong, or None.

    On CPU, of one channel in channels-last memory, whose strides are ambiguous, with a width of 1 behind a stride: what
    comes out is other memory.
    """
    shapes = output_shapes(network)
    for node in network.nodes if device.type == "cpu" else ():
        match node.layer:
            case Conv2D(strides=(_, across)) | DepthwiseConv2D(strides=(_, across)) if (
                across > 1 and shapes[node.inputs[0]][-1] == 1 and shapes[node.name][1] == 1
            ):
                return (
                    f"PyTorch's convolution of one channel that strides to a width of 1 is wrong on CPU ({node.name})"
                )
    return None


def synchronize(device: torch.device) -> None:
    """Wait for the GPU; the CPU never runs ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_memory_bytes(device: torch.device) -> int | None:
    """Return the peak of PyTorch's allocator on a GPU."""
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else None
