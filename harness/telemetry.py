"""Watches the GPU from the parent while a worker trains; the worker's own clock counts its CPU time."""

import threading
import time
from types import TracebackType

import pynvml

PERIOD_S = 0.1


class GpuWatch:
    """Samples one GPU's utilisation on a thread that sleeps between samples, from entering to leaving the block."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._samples: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "GpuWatch":
        pynvml.nvmlInit()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        pynvml.nvmlShutdown()

    def _watch(self) -> None:
        handle = pynvml.nvmlDeviceGetHandleByIndex(self._index)
        while not self._stop.wait(PERIOD_S):
            self._samples.append((time.monotonic(), pynvml.nvmlDeviceGetUtilizationRates(handle).gpu))

    def mean_pct(self, start: float, end: float) -> float | None:
        """Return the mean utilisation between two moments of the monotonic clock, or None without a sample."""
        inside = [pct for at, pct in self._samples if start <= at <= end]
        return sum(inside) / len(inside) if inside else None
