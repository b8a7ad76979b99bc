"""What this machine is: hardware and system, without the names of its user, host or folders."""

import contextlib
import hashlib
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pynvml

from harness.surroundings import UnreadableError, find_container, git_state, memory_limit_gib, text_of

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""By these the libraries below NumPy and the frameworks learn how many threads they get."""
CPUS = Path("/sys/devices/system/cpu")
GPU_READINGS: Mapping[str, Callable[[Any], Any]] = {
    "memory_mib": lambda gpu: pynvml.nvmlDeviceGetMemoryInfo(gpu).total // 2**20,
    "ecc": lambda gpu: bool(pynvml.nvmlDeviceGetEccMode(gpu)[0]),
    "mig": lambda gpu: bool(pynvml.nvmlDeviceGetMigMode(gpu)[0]),
    "max_sm_clock_mhz": lambda gpu: pynvml.nvmlDeviceGetMaxClockInfo(gpu, pynvml.NVML_CLOCK_SM),
    "compute_capability": lambda gpu: ".".join(map(str, pynvml.nvmlDeviceGetCudaComputeCapability(gpu))),
}
"""What NVML tells of a GPU besides its name; of ECC and MIG the current mode, not the one after the next reset."""


def available_cores() -> list[int]:
    """Return the numbers of the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextlib.contextmanager
def on_cores(cores: int) -> Iterator[None]:
    """Give this thread the first `cores` cores, so that a process it starts is born with them; then take it back."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = available_cores()
    os.sched_setaffinity(0, before[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def visible_gpu() -> str:
    """Return the one GPU that cells use: the first of CUDA_VISIBLE_DEVICES, or `0` in the order of the PCI bus."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()


def find_gpus() -> tuple[list[dict[str, Any]], str | None]:
    """Return each NVIDIA GPU's name, driver and readings, or an empty list and why there is none."""
    if visible_gpu() in ("", "-1"):
        return [], "CUDA_VISIBLE_DEVICES hides every GPU"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"no NVIDIA GPU here ({error})"
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        gpus = [_describe_gpu(handle) for handle in handles]
    except pynvml.NVMLError as error:
        return [], f"the NVIDIA GPUs cannot be read ({error})"
    finally:
        pynvml.nvmlShutdown()
    return gpus, None if gpus else "no NVIDIA GPU here (the driver lists none)"


def _describe_gpu(handle: Any) -> dict[str, Any]:
    return {
        "name": _text(pynvml.nvmlDeviceGetName(handle)),
        "driver": _text(pynvml.nvmlSystemGetDriverVersion()),
        **_read_facts(GPU_READINGS, handle),
    }


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _read_facts(readings: Mapping[str, Callable[..., Any]], *of: Any) -> dict[str, Any]:
    """Return what each reading gives, None where it cannot be had, and under `missing` why."""
    facts: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name, read in readings.items():
        try:
            facts[name] = read(*of)
        except (UnreadableError, ValueError, pynvml.NVMLError) as error:
            facts[name], missing[name] = None, str(error)
    return {**facts, "missing": missing}


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _caches() -> list[dict[str, Any]]:
    """Return one entry a level and type of cache; where big and little cores differ, one for each size."""
    found = set()
    for core in available_cores():
        for index in (CPUS / f"cpu{core}" / "cache").glob("index[0-9]*"):
            level, kind, size = (text_of(index / name) for name in ("level", "type", "size"))
            if level and kind and size:
                found.add((int(level), kind.lower(), int(size.removesuffix("K"))))
    if not found:
        raise UnreadableError("this system shows no caches")
    return [{"level": level, "type": kind, "size_kib": size} for level, kind, size in sorted(found)]


def _governor() -> str:
    """Return the frequency governor, or all of them where cores differ."""
    return ", ".join(sorted(set(_of_cores("scaling_governor", "frequency governor"))))


def _max_mhz() -> float:
    """Return the highest frequency of the fastest core."""
    return max(int(khz) for khz in _of_cores("cpuinfo_max_freq", "highest frequency")) / 1000


def _of_cores(file: str, name: str) -> Iterable[str]:
    """Return what the system's frequency driver says of each core. Raises UnreadableError if it says nothing."""
    found = [text for core in available_cores() if (text := text_of(CPUS / f"cpu{core}" / "cpufreq" / file))]
    if not found:
        raise UnreadableError(f"this system shows no {name}")
    return found


def _turbo() -> bool:
    """Return whether cores may go above their nominal frequency."""
    if (no_turbo := text_of(CPUS / "intel_pstate" / "no_turbo")) is not None:
        return no_turbo == "0"
    if (boost := text_of(CPUS / "cpufreq" / "boost")) is not None:
        return boost == "1"
    raise UnreadableError("this system shows no switch for turbo")


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _load_average() -> list[float]:
    """Return how many processes ran or waited to run in the last 1, 5 and 15 minutes."""
    try:
        return [round(load, 2) for load in os.getloadavg()]
    except OSError as error:
        raise UnreadableError("this system shows no load average") from error


READINGS: Mapping[str, Callable[[], Any]] = {
    "caches": _caches,
    "governor": _governor,
    "turbo": _turbo,
    "max_mhz": _max_mhz,
    "memory_limit_gib": lambda: memory_limit_gib(_memory_bytes()),
    "load_average": _load_average,
    "git": git_state,
}
"""What is read of a machine besides what tells it apart."""


def describe_host() -> dict[str, Any]:
    """Return the facts that go into every record of a session.

    `machine` is a hash that tells machines apart; `load_average` and `git` are of the moment of the call. What cannot
    be read is None, with its reason under `missing`.
    """
    gpus, no_gpu = find_gpus()
    facts = {
        "cpu": _cpu_model(),
        "cores": len(available_cores()),
        "memory_gib": round(_memory_bytes() / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "container": find_container(),
        "gpus": gpus,
        "no_gpu": no_gpu,
        **_read_facts(READINGS),
    }
    machine_id = Path("/etc/machine-id")
    secret = machine_id.read_text() if machine_id.exists() else ""
    hardware = [secret, facts["cpu"], facts["cores"], [gpu["name"] for gpu in gpus]]
    return {"machine": hashlib.sha256(repr(hardware).encode()).hexdigest()[:12], **facts}
