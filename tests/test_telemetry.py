"""The GPU is watched through NVML's own calls, here answered by a fake library."""

import threading
import types

import pynvml
import pytest

import harness.telemetry
from harness.host import describe_host, find_gpus
from harness.telemetry import GpuWatch


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One GPU that is busier with every look; returns the calls of init and shutdown."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    calls: list[str] = []
    looks = iter(range(0, 10_000, 10))
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: calls.append("init"))
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: calls.append("shutdown"))
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: b"580.1")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 1)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: f"handle {index}")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: "Testla H1")
    memory = types.SimpleNamespace(total=8 * 2**30)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: memory)
    rates = types.SimpleNamespace
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", lambda handle: rates(gpu=next(looks), memory=0))
    return calls


def test_the_mean_is_over_the_window_alone(nvml: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(harness.telemetry.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(harness.telemetry, "PERIOD_S", 0.001)
    with GpuWatch("0") as watch:
        while len(watch._samples) < 6:
            threading.Event().wait(0.001)
    assert watch.mean_pct(1.0, 3.0) == 20.0
    assert watch.mean_pct(-2.0, -1.0) is None
    assert nvml == ["init", "shutdown"]


def test_a_gpu_that_tells_nothing_leaves_no_number(nvml: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(uuid: str) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", refuse, raising=False)
    with GpuWatch("GPU-1234") as watch:
        pass
    assert watch.mean_pct(0.0, 1e9) is None
    assert nvml == ["init", "shutdown"]


def test_a_hidden_gpu_is_no_gpu(nvml: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert find_gpus() == ([], "CUDA_VISIBLE_DEVICES hides every GPU")


def test_gpus_are_listed_with_driver_and_memory(nvml: list[str]) -> None:
    assert find_gpus() == ([{"name": "Testla H1", "memory_mib": 8192, "driver": "580.1"}], None)
    assert nvml == ["init", "shutdown"]


def test_no_gpu_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    gpus, reason = find_gpus()
    assert gpus == []
    assert reason is not None
    assert reason.startswith("no NVIDIA GPU here (")


def test_the_host_is_told_by_a_hash_and_names_nobody() -> None:
    facts = describe_host()
    assert facts == describe_host()
    assert len(facts["machine"]) == 12
    assert set(facts) == {"machine", "cpu", "cores", "memory_gib", "system", "gpus", "no_gpu"}
