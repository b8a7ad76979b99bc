"""JAX's device, for the adapters that run on it: memory that grows, precisions; threads follow the affinity."""

import os

import jax

from frameworks.base import Device, DeviceUnavailableError, Precision, gpu_precisions


def start_device(device: Device) -> jax.Device:
    """Start the CPU or the first GPU and make it the default."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    try:
        started = jax.devices(device)[0]
    # An empty AssertionError is what JAX_PLATFORMS=cuda gives where no plug-in for it is installed.
    except (RuntimeError, AssertionError) as error:
        raise DeviceUnavailableError(f"jax.devices({device!r}): {str(error) or 'no plug-in for it'}") from error
    jax.config.update("jax_default_device", started)
    jax.numpy.zeros(1).block_until_ready()
    return started


def precisions(device: jax.Device) -> tuple[Precision, ...]:
    """Return what JAX trains in, and float64 for proofs."""
    if device.platform == "cpu":
        return ("float32", "float64", "bfloat16")
    return ("float32", "float64", *gpu_precisions(tuple(map(int, device.compute_capability.split(".")))))


def allow_tf32(allowed: bool) -> None:
    """Say whether a GPU may round what it multiplies of float32 to ten bits of fraction."""
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if allowed else "highest")


def peak_memory_bytes(device: jax.Device) -> int | None:
    """Return the peak of XLA's allocator, which there is on a GPU only."""
    statistics = device.memory_stats()
    return statistics["peak_bytes_in_use"] if statistics else None
