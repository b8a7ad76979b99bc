"""A watch samples on a thread of its own, and nothing that fails there reaches who it watches for."""

import errno
import inspect
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pynvml
import pytest

from harness import sensors, telemetry
from harness.telemetry import Watch
from tests.fake_nvml import FakeGpu, FakeNvml

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
READINGS = {
    "gpu_pct": 50.0,
    "gpu_memory_mib": 3072.0,
    "gpu_power_w": 250.5,
    "sm_clock_mhz": 1980.0,
    "temperature_c": 61.0,
    "throttle": 0.0,
    "energy_j": 7000.5,
}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample without much of a pause."""
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.002)


def put_in(monkeypatch: pytest.MonkeyPatch, gpus: list[FakeGpu] | None) -> FakeNvml:
    """Put a fake in the place of NVML."""
    nvml = FakeNvml(gpus)
    monkeypatch.setattr(sensors, "pynvml", nvml)
    return nvml


def wait_for(watch: Watch, more: int) -> None:
    """Wait until a watch has so many samples more."""
    wait_until(watch, len(watch.samples) + more)


def wait_until(watch: Watch, number: int) -> None:
    """Wait until a watch has so many samples."""
    while len(watch.samples) < number:
        assert watch._thread.is_alive()
        threading.Event().wait(0.001)


def watch_here(*gpus: str) -> Watch:
    """A watch of this process's own group; in a background job, the leader of the one it was started in may be gone."""
    if not psutil.pid_exists(os.getpgid(0)):
        os.setpgid(0, 0)
    return Watch(os.getpgid(0), [min(os.sched_getaffinity(0))], gpus)


def test_the_fake_has_the_functions_of_the_real_library() -> None:
    fakes = inspect.getmembers(FakeNvml(None), inspect.ismethod)
    fakes = [(name, function) for name, function in fakes if name.startswith("nvml")]
    assert len(fakes) == 12
    for name, function in fakes:
        real = inspect.signature(getattr(pynvml, name)).parameters.values()
        fake = inspect.signature(function).parameters.values()
        assert [(p.name, p.kind, p.default) for p in fake] == [(p.name, p.kind, p.default) for p in real], name


@pytest.mark.parametrize("name", ["1", "GPU-1"])
def test_a_gpu_is_found_by_index_or_uuid_and_read_in_our_units(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = put_in(monkeypatch, [FakeGpu(busy_pct=99), FakeGpu(uuid="GPU-1", pids=[77])])
    with watch_here(name) as watch:
        wait_for(watch, 1)
    assert watch.samples[0].gpus == (READINGS,)
    assert watch.samples[0].gpu_pids == {77}
    assert set(watch.reasons) <= {"package_energy_j"}
    assert nvml.users == 0


def test_several_gpus_are_read_each_with_all_processes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in(monkeypatch, [FakeGpu(pids=[5, 6]), FakeGpu(busy_pct=10, pids=[6, 7])])
    with watch_here("0", "1") as watch:
        wait_for(watch, 1)
    assert watch.samples[0].gpus == (READINGS, READINGS | {"gpu_pct": 10.0})
    assert watch.samples[0].gpu_pids == {5, 6, 7}


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("nvmlDeviceGetUtilizationRates", "gpu_pct"),
        ("nvmlDeviceGetMemoryInfo", "gpu_memory_mib"),
        ("nvmlDeviceGetPowerUsage", "gpu_power_w"),
        ("nvmlDeviceGetClockInfo", "sm_clock_mhz"),
        ("nvmlDeviceGetTemperature", "temperature_c"),
        ("nvmlDeviceGetCurrentClocksEventReasons", "throttle"),
        ("nvmlDeviceGetTotalEnergyConsumption", "energy_j"),
    ],
)
def test_a_reading_that_a_gpu_lacks_is_missing_alone(function: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in(monkeypatch, [FakeGpu(errors={function: pynvml.NVML_ERROR_NOT_SUPPORTED}), FakeGpu()])
    with watch_here("0", "1") as watch:
        wait_for(watch, 1)
    assert watch.samples[0].gpus == (READINGS | {name: None}, READINGS)
    assert watch.reasons[name] == "NVMLError_NotSupported: Not Supported"


def test_processes_that_the_driver_does_not_list_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {"nvmlDeviceGetComputeRunningProcesses": pynvml.NVML_ERROR_NO_PERMISSION}
    put_in(monkeypatch, [FakeGpu(errors=refused)])
    with watch_here("0") as watch:
        wait_for(watch, 1)
    assert watch.samples[0].gpu_pids is None
    assert watch.reasons["gpu_strangers"] == "NVMLError_NoPermission: Insufficient Permissions"


def test_a_driver_of_another_version_than_the_library_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: FakeGpu) -> None:
        raise pynvml.NVMLLibraryMismatchError("versions differ")

    nvml = put_in(monkeypatch, [FakeGpu()])
    monkeypatch.setattr(nvml, "nvmlDeviceGetComputeRunningProcesses", refuse)
    with watch_here("0") as watch:
        wait_for(watch, 3)
    assert watch.samples[-1].gpus == (READINGS,)
    assert watch.reasons["gpu_strangers"] == "NVMLLibraryMismatchError: versions differ"


@pytest.mark.parametrize(
    ("gpus", "name", "reason"),
    [
        (None, "0", "NVMLError_LibraryNotFound: NVML Shared Library Not Found"),
        ([FakeGpu()], "1", "NVMLError_InvalidArgument: Invalid Argument"),
        ([FakeGpu()], "GPU-9", "NVMLError_NotFound: Not Found"),
    ],
    ids=["no driver", "no such index", "no such UUID"],
)
def test_a_gpu_that_cannot_be_had_leaves_a_reason_for_each_reading(
    gpus: list[FakeGpu] | None, name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml = put_in(monkeypatch, gpus)
    with watch_here(name) as watch:
        wait_for(watch, 2)
    assert watch.samples[0].gpus == ()
    assert {watch.reasons[name] for name in (*READINGS, "gpu_strangers")} == {reason}
    assert nvml.users == 0


def test_a_gpu_that_is_lost_and_comes_back_leaves_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu()
    nvml = put_in(monkeypatch, [gpu])
    with watch_here("0") as watch:
        wait_for(watch, 2)
        gpu.lost = True
        wait_for(watch, 2)
        lost = watch.samples[-1]
        gpu.lost = False
        wait_for(watch, 2)
    assert lost.gpus == (dict.fromkeys(READINGS),)
    assert (lost.gpu_pids, lost.cpu_s is None) == (None, False)
    assert watch.samples[0].gpus == watch.samples[-1].gpus == (READINGS,)
    assert watch.reasons["energy_j"] == "NVMLError_GpuIsLost: GPU is lost"
    assert nvml.users == 0


def test_a_driver_that_fails_to_close_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = put_in(monkeypatch, [FakeGpu()])
    with watch_here("0") as watch:
        wait_for(watch, 1)
        nvml.users = 0
    assert not watch._thread.is_alive()


def test_without_gpus_nvml_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in(monkeypatch, None)
    with watch_here() as watch:
        wait_for(watch, 1)
    assert watch.samples[0].gpus == ()
    assert set(watch.reasons) <= {"package_energy_j"}


def test_a_process_that_is_gone_leaves_the_machine_to_watch() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    with Watch(process.pid, [min(os.sched_getaffinity(0))], []) as watch:
        wait_for(watch, 2)
    assert {(sample.cpu_s, sample.rss_mib) for sample in watch.samples} == {(None, None)}
    assert watch.samples[0].core_s is not None
    assert "cpu_pct" not in watch.reasons


def test_a_process_that_may_not_be_read_leaves_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: psutil.Process) -> None:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "memory_info", refuse)
    with watch_here() as watch:
        wait_for(watch, 2)
    assert watch.samples[-1].rss_mib is None
    assert watch.reasons["rss_mib"].startswith("AccessDenied: ")


def test_counters_of_cores_that_cannot_be_read_leave_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "CPU_COUNTERS", tmp_path / "stat")
    with watch_here() as watch:
        wait_for(watch, 2)
    assert watch.samples[-1].core_s is None
    assert watch.samples[-1].cpu_s is not None
    assert watch.reasons["busiest_core_pct"].startswith("FileNotFoundError: ")


def test_an_energy_counter_for_root_alone_leaves_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = tmp_path / "intel-rapl:0"
    domain.mkdir()
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "1000"), ("energy_uj", "1")):
        (domain / name).write_text(text)
    read_text = Path.read_text

    def guarded(path: Path) -> str:
        if path.name == "energy_uj":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read_text(path)

    monkeypatch.setattr(Path, "read_text", guarded)
    monkeypatch.setattr(sensors, "POWERCAP", tmp_path)
    with watch_here() as watch:
        wait_for(watch, 2)
    assert watch.samples[-1].package_j is None
    assert watch.samples[-1].cpu_s is not None
    assert watch.reasons["package_energy_j"].startswith("PermissionError: [Errno 13] Permission denied")


def test_the_thread_ends_with_the_block_and_samples_once_more() -> None:
    before = threading.active_count()
    with watch_here() as watch:
        wait_for(watch, 1)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert [sample.at for sample in watch.samples] == sorted(sample.at for sample in watch.samples)


def test_a_mark_brings_a_sample_at_once_and_more_soon_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "PERIOD_S", 3600.0)
    monkeypatch.setattr(telemetry, "FIRST_PERIOD_S", 0.001)
    with watch_here() as watch:
        wait_until(watch, 1)
        watch.mark()
        wait_for(watch, 5)
    gaps = [late.at - early.at for early, late in zip(watch.samples[1:], watch.samples[2:-1], strict=False)]
    planned = [0.001 * 1.25**number for number in range(len(gaps))]
    assert all(gap >= least for gap, least in zip(gaps, planned, strict=True))
