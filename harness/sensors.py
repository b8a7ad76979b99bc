"""Reads the counters that a watch samples: a process group, the cores, the CPU packages, the GPUs.

Each reader raises whatever its source raises; the watch turns that into a reason.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pynvml

CPU_COUNTERS = Path("/proc/stat")
POWERCAP = Path("/sys/class/powercap")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")

GPU_READINGS: Mapping[str, Callable[[Any], float]] = {
    "gpu_pct": lambda gpu: float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
    "gpu_memory_mib": lambda gpu: pynvml.nvmlDeviceGetMemoryInfo(gpu).used / 2**20,
    "gpu_power_w": lambda gpu: pynvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
    "sm_clock_mhz": lambda gpu: float(pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM)),
    "temperature_c": lambda gpu: float(pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU)),
    "throttle": lambda gpu: float(pynvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)),
    "energy_j": lambda gpu: pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000,
}
"""What NVML tells of a GPU in one sample; `energy_j` counts from the driver's start."""
THROTTLE_REASONS = {
    pynvml.nvmlClocksEventReasonSwPowerCap: "power cap",
    pynvml.nvmlClocksEventReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "thermal, by software",
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "thermal, by hardware",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "power brake",
}
"""Those of NVML's reasons for lower clocks that make a measurement slower; being idle is none."""


class Group:
    """A process group, named by its leader, as it changes. `pids` are all that were ever seen in it."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._members: dict[int, psutil.Process] = {}
        self._most_s = 0.0
        self.pids = {leader}

    def read(self) -> tuple[float, float] | None:
        """Return the CPU seconds so far and the MiB in memory, or None once the leader is gone. Raises psutil.Error.

        A process has in its own times those of the children it has waited for, so that the sum over the living counts
        everything once. What nobody waits for is lost when it ends; the sum never falls. Pages that processes share
        count for each of them.
        """
        pids = self._look()
        if self._leader not in pids:
            return None
        cpu_s, rss = 0.0, 0
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = self._members[pid].cpu_times()
                cpu_s += times.user + times.system + times.children_user + times.children_system
                rss += self._members[pid].memory_info().rss
        self._most_s = max(self._most_s, cpu_s)
        return self._most_s, rss / 2**20

    def _look(self) -> list[int]:
        """Return who is in the group now, parents first: a child that ends meanwhile is missed once, not doubled."""
        pids = sorted(pid for pid in psutil.pids() if _group_of(pid) == self._leader)
        for pid in pids:
            if pid not in self._members:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._members[pid] = psutil.Process(pid)
        self._members = {pid: self._members[pid] for pid in pids if pid in self._members}
        self.pids |= self._members.keys()
        return list(self._members)


def _group_of(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return os.getpgid(pid)
    return None


def read_cores(cores: Sequence[int]) -> tuple[float, ...]:
    """Return for each of these cores the seconds it was busy so far, for anybody. Raises OSError, KeyError, ValueError.

    Fields as in proc_stat(5): busy is all but idle and iowait, with what the hypervisor took; the two kinds of guest
    time stand in user and nice already.
    """
    busy_s: dict[str, float] = {}
    with CPU_COUNTERS.open(encoding="ascii") as lines:
        for line in lines:
            if not line.startswith("cpu"):
                break
            name, *ticks = line.split()
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
            busy_s[name] = (user + nice + system + irq + softirq + steal) * TICK_S
    return tuple(busy_s[f"cpu{core}"] for core in cores)


@dataclass
class Package:
    """A CPU package's energy counter (RAPL), which begins again at 0 after `range_j`."""

    counter: Path
    range_j: float
    _last_j: float = 0.0
    _turns: int = 0

    def read_j(self) -> float:
        """Return the joules since some moment before the first reading. Raises OSError, ValueError."""
        now_j = int(self.counter.read_text()) / 1e6
        if now_j < self._last_j:
            self._turns += 1
        self._last_j = now_j
        return now_j + self._turns * self.range_j


def find_packages() -> list[Package]:
    """Return every CPU package's counter; parts of a package and the whole platform are other domains of RAPL.

    Raises OSError, also if there is none.
    """
    packages = [
        Package(counter=domain / "energy_uj", range_j=int((domain / "max_energy_range_uj").read_text()) / 1e6)
        for domain in sorted(POWERCAP.glob("intel-rapl:*"))
        if (domain / "name").read_text().startswith("package")
    ]
    if not packages:
        raise FileNotFoundError(f"no CPU package has an energy counter in {POWERCAP}")
    return packages


def read_packages(packages: Sequence[Package]) -> float | None:
    """Return the joules that all packages have used since some moment, None for no package."""
    return sum(package.read_j() for package in packages) if packages else None


@contextlib.contextmanager
def open_gpus(gpus: Sequence[str]) -> Iterator[list[Any]]:
    """Give NVML's handles of GPUs: each an index in the order of the PCI bus, or a UUID. Raises NVMLError."""
    if not gpus:
        yield []
        return
    pynvml.nvmlInit()
    try:
        yield [_find_gpu(gpu) for gpu in gpus]
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _find_gpu(gpu: str) -> Any:
    if gpu.isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(gpu))
    return pynvml.nvmlDeviceGetHandleByUUID(gpu)


def pids_on(gpus: Sequence[Any]) -> frozenset[int]:
    """Return the processes that compute on these GPUs, by the ids that the driver knows them by. Raises NVMLError."""
    return frozenset(process.pid for gpu in gpus for process in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu))
