"""What a machine is told to be, from folders of the system and from NVML's own calls, both made up here."""

import hashlib
import json
import platform
import types
from pathlib import Path
from typing import Any

import pynvml
import pytest

import harness.host
from harness.doctor import examine
from harness.host import describe_host, find_gpus
from harness.places import PROJECT


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One GPU; returns the calls of init and shutdown."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    calls: list[str] = []
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: calls.append("init"))
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: calls.append("shutdown"))
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: b"580.1")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 1)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: f"handle {index}")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: "Testla H1")
    memory = types.SimpleNamespace(total=8 * 2**30)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle, version=None: memory)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetEccMode", lambda handle: [1, 0])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMigMode", lambda device: [0, 1])
    clocks = {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 3201}
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMaxClockInfo", lambda handle, type: clocks[type])  # noqa: A006
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCudaComputeCapability", lambda handle: (9, 0))
    return calls


def refuse(monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> None:
    """Let a call of NVML fail."""

    def fail(*arguments: Any) -> None:
        raise pynvml.NVMLError(code)

    monkeypatch.setattr(pynvml, call, fail)


@pytest.fixture
def cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a system of two cores, empty as yet."""
    monkeypatch.setattr(harness.host, "CPUS", tmp_path)
    monkeypatch.setattr(harness.host, "available_cores", lambda: [0, 1])
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def write_cache(cpus: Path, core: int, index: int, level: int, kind: str, size: str) -> None:
    for name, text in (("level", str(level)), ("type", kind), ("size", size)):
        write(cpus / f"cpu{core}" / "cache" / f"index{index}" / name, text)


def test_a_hidden_gpu_is_no_gpu(nvml: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert find_gpus() == ([], "CUDA_VISIBLE_DEVICES hides every GPU")
    assert nvml == []


def test_gpus_are_told_with_driver_memory_modes_and_clock(nvml: list[str]) -> None:
    gpu = {
        "name": "Testla H1",
        "driver": "580.1",
        "memory_mib": 8192,
        "ecc": True,
        "mig": False,
        "max_sm_clock_mhz": 1980,
        "compute_capability": "9.0",
        "missing": {},
    }
    assert find_gpus() == ([gpu], None)
    assert nvml == ["init", "shutdown"]


def test_what_a_gpu_does_not_tell_is_none_with_a_reason(nvml: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "nvmlDeviceGetMigMode", pynvml.NVML_ERROR_NOT_SUPPORTED)
    refuse(monkeypatch, "nvmlDeviceGetMemoryInfo", pynvml.NVML_ERROR_NO_PERMISSION)
    (gpu,), reason = find_gpus()
    assert reason is None
    assert gpu["missing"] == {"memory_mib": "Insufficient Permissions", "mig": "Not Supported"}
    assert gpu["memory_mib"] is None
    assert gpu["mig"] is None
    assert (gpu["ecc"], gpu["max_sm_clock_mhz"], gpu["compute_capability"]) == (True, 1980, "9.0")


@pytest.mark.usefixtures("home")
def test_the_doctor_says_what_a_gpu_tells(nvml: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "gpu: Testla H1, 8192 MiB, driver 580.1" in list(examine())
    refuse(monkeypatch, "nvmlDeviceGetMemoryInfo", pynvml.NVML_ERROR_NOT_SUPPORTED)
    assert "gpu: Testla H1, memory not told, driver 580.1" in list(examine())


def test_gpus_without_a_name_are_no_gpus(nvml: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "nvmlDeviceGetName", pynvml.NVML_ERROR_GPU_IS_LOST)
    assert find_gpus() == ([], "the NVIDIA GPUs cannot be read (GPU is lost)")
    assert nvml == ["init", "shutdown"]


def test_no_gpu_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    refuse(monkeypatch, "nvmlInit", pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    gpus, reason = find_gpus()
    assert gpus == []
    assert reason is not None
    assert reason.startswith("no NVIDIA GPU here (")


def test_a_cache_is_told_once_for_all_cores(cpus: Path) -> None:
    for core in (0, 1):
        write_cache(cpus, core, 0, 1, "Data", "32K")
        write_cache(cpus, core, 1, 1, "Instruction", "64K")
        write_cache(cpus, core, 3, 3, "Unified", "32768K")
    write_cache(cpus, 2, 0, 1, "Data", "16K")
    assert describe_host()["caches"] == [
        {"level": 1, "type": "data", "size_kib": 32},
        {"level": 1, "type": "instruction", "size_kib": 64},
        {"level": 3, "type": "unified", "size_kib": 32768},
    ]


def test_big_and_little_cores_have_each_their_caches(cpus: Path) -> None:
    write_cache(cpus, 0, 0, 1, "Data", "48K")
    write_cache(cpus, 1, 0, 1, "Data", "32K")
    assert [cache["size_kib"] for cache in describe_host()["caches"]] == [32, 48]


def test_governor_and_highest_frequency_are_those_of_the_cores_in_use(cpus: Path) -> None:
    for core, governor, khz in ((0, "powersave", 3_400_000), (1, "performance", 4_700_000), (2, "userspace", 9e6)):
        write(cpus / f"cpu{core}" / "cpufreq" / "scaling_governor", governor)
        write(cpus / f"cpu{core}" / "cpufreq" / "cpuinfo_max_freq", str(khz))
    host = describe_host()
    assert host["governor"] == "performance, powersave"
    assert host["max_mhz"] == 4700.0
    write(cpus / "cpu1" / "cpufreq" / "scaling_governor", "powersave")
    assert describe_host()["governor"] == "powersave"


@pytest.mark.parametrize(
    ("file", "text", "turbo"),
    [
        ("intel_pstate/no_turbo", "0", True),
        ("intel_pstate/no_turbo", "1", False),
        ("cpufreq/boost", "1", True),
        ("cpufreq/boost", "0", False),
    ],
)
def test_turbo_is_what_either_driver_says(cpus: Path, file: str, text: str, turbo: bool) -> None:
    write(cpus / file, text)
    assert describe_host()["turbo"] is turbo


def test_what_the_system_does_not_show_is_none_with_a_reason(cpus: Path) -> None:
    host = describe_host()
    reasons = {
        "caches": "this system shows no caches",
        "governor": "this system shows no frequency governor",
        "turbo": "this system shows no switch for turbo",
        "max_mhz": "this system shows no highest frequency",
    }
    assert host["missing"] | reasons == host["missing"]
    assert [host[name] for name in reasons] == [None] * 4


def test_the_load_is_that_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.host.os, "getloadavg", lambda: (0.514, 1.0, 2.25))
    assert describe_host()["load_average"] == [0.51, 1.0, 2.25]


def test_the_host_is_told_by_a_hash_and_names_nobody() -> None:
    facts = describe_host()
    assert facts["machine"] == describe_host()["machine"]
    assert set(facts) == {
        "machine", "cpu", "cores", "memory_gib", "system", "container", "gpus", "no_gpu", "caches", "governor", "turbo",
        "max_mhz", "memory_limit_gib", "load_average", "git", "missing",
    }  # fmt: skip
    told = json.dumps(facts)
    for name in (f'"{platform.node()}"', f"{Path.home()}/", str(PROJECT)):
        assert name not in told


def test_the_hash_stays_what_records_are_kept_under(nvml: list[str]) -> None:
    """Identity of the system, CPU, cores and GPU names; nothing that comes and goes."""
    machine_id = Path("/etc/machine-id")
    facts = describe_host()
    hardware = [machine_id.read_text() if machine_id.exists() else "", facts["cpu"], facts["cores"], ["Testla H1"]]
    assert facts["machine"] == hashlib.sha256(repr(hardware).encode()).hexdigest()[:12]
