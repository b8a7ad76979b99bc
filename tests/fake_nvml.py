"""A stand-in for the module pynvml: the same functions with the same parameters and the same kinds of answers."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pynvml


@dataclass
class FakeGpu:
    """A GPU and what NVML would tell of it. `errors` has the error code of each function that fails."""

    uuid: str = "GPU-0"
    busy_pct: int = 50
    memory_bytes: int = 3 * 2**30
    power_mw: int = 250_500
    sm_clock_mhz: int = 1980
    temperature_c: int = 61
    event_reasons: int = 0
    energy_mj: int = 7_000_500
    pids: list[int] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    lost: bool = False


class FakeNvml:
    """NVML on a machine with the given GPUs, in the order of the PCI bus; None is a machine without a driver."""

    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU
    NVMLError = pynvml.NVMLError

    def __init__(self, gpus: list[FakeGpu] | None) -> None:
        self.gpus = gpus
        self.users = 0

    def nvmlInit(self):  # noqa: N802
        if self.gpus is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
        self.users += 1

    def nvmlShutdown(self):  # noqa: N802
        self._check()
        self.users -= 1

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        self._check()
        if not 0 <= index < len(self.gpus):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        self._check()
        for gpu in self.gpus:
            if gpu.uuid == uuid:
                return gpu
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802
        self._check(handle, "nvmlDeviceGetUtilizationRates")
        return pynvml.c_nvmlUtilization_t(gpu=handle.busy_pct, memory=1)

    def nvmlDeviceGetMemoryInfo(self, handle, version=None):  # noqa: N802
        self._check(handle, "nvmlDeviceGetMemoryInfo")
        return pynvml.c_nvmlMemory_t(total=8 * 2**30, free=8 * 2**30 - handle.memory_bytes, used=handle.memory_bytes)

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: N802
        self._check(handle, "nvmlDeviceGetPowerUsage")
        return handle.power_mw

    def nvmlDeviceGetClockInfo(self, handle, type):  # noqa: A002, N802
        self._check(handle, "nvmlDeviceGetClockInfo")
        return {pynvml.NVML_CLOCK_SM: handle.sm_clock_mhz}[type]

    def nvmlDeviceGetTemperature(self, handle, sensor):  # noqa: N802
        self._check(handle, "nvmlDeviceGetTemperature")
        return {pynvml.NVML_TEMPERATURE_GPU: handle.temperature_c}[sensor]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):  # noqa: N802
        self._check(handle, "nvmlDeviceGetCurrentClocksEventReasons")
        return handle.event_reasons

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        self._check(handle, "nvmlDeviceGetTotalEnergyConsumption")
        return handle.energy_mj

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        self._check(handle, "nvmlDeviceGetComputeRunningProcesses")
        return [SimpleNamespace(pid=pid, usedGpuMemory=2**20) for pid in handle.pids]

    def _check(self, handle: FakeGpu | None = None, function: str = "") -> None:
        """Fail as the driver would."""
        if self.users == 0:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        if handle is not None and handle.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        if handle is not None and function in handle.errors:
            raise pynvml.NVMLError(handle.errors[function])
