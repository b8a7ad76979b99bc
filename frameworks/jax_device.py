"""JAX's device, for the adapters that run on it: memory that grows, IEEE float32; threads follow the affinity."""

import os

import jax

from frameworks.base import Device, DeviceUnavailableError


def start_device(device: Device) -> jax.Device:
    """Start the CPU or the first GPU and make it the default."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    try:
        started = jax.devices(device)[0]
    # An empty AssertionError is what JAX_PLATFORMS=cuda gives where no plug-in for it is installed.
    except (RuntimeError, AssertionError) as error:
        raise DeviceUnavailableError(f"jax.devices({device!r}): {str(error) or 'no plug-in for it'}") from error
    jax.config.update("jax_default_device", started)
    # On GPU anything less may be TF32.
    jax.config.update("jax_default_matmul_precision", "highest")
    jax.numpy.zeros(1).block_until_ready()
    return started


def peak_memory_bytes(device: jax.Device) -> int | None:
    """Return the peak of XLA's allocator, which there is on a GPU only."""
    statistics = device.memory_stats()
    return statistics["peak_bytes_in_use"] if statistics else None
