"""What this machine is: hardware and system, without the names of its user, host or folders."""

import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import pynvml


def available_cores() -> list[int]:
    """Return the numbers of the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def visible_gpu() -> str:
    """Return the one GPU that cells use: the first of CUDA_VISIBLE_DEVICES, or `0` in the order of the PCI bus."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()


def find_gpus() -> tuple[list[dict[str, Any]], str | None]:
    """Return each NVIDIA GPU's name and memory, or an empty list and why there is none."""
    if visible_gpu() in ("", "-1"):
        return [], "CUDA_VISIBLE_DEVICES hides every GPU"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"no NVIDIA GPU here ({error})"
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        gpus = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory_mib = pynvml.nvmlDeviceGetMemoryInfo(handle).total // 2**20
            gpus.append({"name": _text(pynvml.nvmlDeviceGetName(handle)), "memory_mib": memory_mib, "driver": driver})
        return gpus, None if gpus else "no NVIDIA GPU here (the driver lists none)"
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def describe_host() -> dict[str, Any]:
    """Return the facts that go into every record; `machine` is a hash that tells machines apart."""
    gpus, no_gpu = find_gpus()
    facts = {
        "cpu": _cpu_model(),
        "cores": len(available_cores()),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "gpus": gpus,
        "no_gpu": no_gpu,
    }
    machine_id = Path("/etc/machine-id")
    secret = machine_id.read_text() if machine_id.exists() else ""
    hardware = [secret, facts["cpu"], facts["cores"], [gpu["name"] for gpu in gpus]]
    return {"machine": hashlib.sha256(repr(hardware).encode()).hexdigest()[:12], **facts}
