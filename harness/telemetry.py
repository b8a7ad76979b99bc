"""Watches the GPU from the parent while a worker trains; the worker's own clock counts its CPU time."""

import contextlib
import threading
import time
from typing import Any

import pynvml

PERIOD_S = 0.1


class GpuWatch:
    """Samples a GPU's utilisation on a thread that sleeps between samples, from entering to leaving the block.

    `gpu` is an index in the order of the PCI bus or a UUID. What NVML does not tell leaves no sample.
    """

    def __init__(self, gpu: str) -> None:
        self._gpu = gpu
        self._samples: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "GpuWatch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            try:
                handle = self._find()
                while not self._stop.wait(PERIOD_S):
                    self._samples.append((time.monotonic(), pynvml.nvmlDeviceGetUtilizationRates(handle).gpu))
            finally:
                pynvml.nvmlShutdown()

    def _find(self) -> Any:
        if self._gpu.isdigit():
            return pynvml.nvmlDeviceGetHandleByIndex(int(self._gpu))
        return pynvml.nvmlDeviceGetHandleByUUID(self._gpu)

    def mean_pct(self, start: float, end: float) -> float | None:
        """Return the mean utilisation between two moments of the monotonic clock, or None without a sample."""
        inside = [pct for at, pct in self._samples if start <= at <= end]
        return sum(inside) / len(inside) if inside else None
