"""Counters are read from a real process tree, and from made-up files of the kernel."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness import sensors
from harness.sensors import Group, find_packages, read_cores, read_packages

PRELUDE = """
import os, signal, subprocess, sys, time
def burn():
    while time.process_time() < 0.45: pass
def say(word): print(word, flush=True)
def wait(): sys.stdin.readline()
def fork(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid
"""
BURNED_S = 0.4
"""What `burn` takes at least, as the system counts it: in ticks of 10 ms, for each process and state."""

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python code as the leader of a group of its own; it says when it is ready and goes on when told."""
    started: list[subprocess.Popen[str]] = []

    def start(body: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", PRELUDE + body],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process, contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def heard(process: subprocess.Popen[str]) -> str:
    """Wait for a process's next word."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    """Let a process go on."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def read(group: Group) -> tuple[float, float]:
    """Read a group that is there."""
    seen = group.read()
    assert seen is not None
    return seen


def test_a_grandchild_counts_with_its_time_and_memory(start: Start) -> None:
    process = start("""
def grandchild():
    memory = bytearray(b"1" * 64 * 2**20)
    burn()
    say(os.getpid())
    signal.pause()
fork(lambda: os.waitpid(fork(grandchild), 0))
wait()
""")
    grandchild = int(heard(process))
    group = Group(process.pid)
    cpu_s, rss_mib = read(group)
    assert cpu_s >= BURNED_S
    assert rss_mib >= 64
    assert {process.pid, grandchild} < group.pids
    assert len(group.pids) == 3


def test_what_ended_is_counted_once_wherever_it_was_waited_for(start: Start) -> None:
    process = start("""
def child():
    os.waitpid(fork(burn), 0)
    say("a grandchild has ended")
    wait()
os.waitpid(fork(child), 0)
say("the child has ended")
wait()
""")
    group = Group(process.pid)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    heard(process)
    while_child_lives, _ = read(group)
    tell(process)
    heard(process)
    after_child, _ = read(group)
    tell(process)
    process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert while_child_lives >= BURNED_S
    assert after_child >= while_child_lives
    assert after_child == pytest.approx(whole, abs=BURNED_S / 2)


def test_an_orphan_is_still_of_the_group(start: Start) -> None:
    process = start("""
def orphan():
    burn()
    say(os.getpid())
    signal.pause()
os.waitpid(fork(lambda: fork(orphan)), 0)
wait()
""")
    orphan = int(heard(process))
    group = Group(process.pid)
    assert read(group)[0] >= BURNED_S
    assert group.pids == {process.pid, orphan}


def test_what_nobody_waits_for_does_not_turn_the_count_back(start: Start) -> None:
    process = start("""
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def child():
    burn()
    say(os.getpid())
    wait()
pid = fork(child)
try:
    os.waitpid(pid, 0)
except ChildProcessError:
    say("gone")
wait()
""")
    group = Group(process.pid)
    child = int(heard(process))
    before, _ = read(group)
    tell(process)
    assert heard(process) == "gone"
    while psutil.pid_exists(child):  # the kernel tells the parent before it lets go of the child
        time.sleep(0.001)
    assert read(group)[0] >= before >= BURNED_S
    assert len(group._members) == 1


def test_a_zombie_keeps_its_time_and_has_no_memory(start: Start) -> None:
    process = start("""
pid = fork(burn)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
say("a zombie")
wait()
""")
    heard(process)
    group = Group(process.pid)
    assert read(group)[0] >= BURNED_S
    assert len(group.pids) == 2


def test_a_group_without_its_leader_tells_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""], start_new_session=True)
    group = Group(process.pid)
    process.wait()
    assert group.read() is None


def test_busy_time_is_read_by_the_number_of_the_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "CPU_COUNTERS", tmp_path / "stat")
    monkeypatch.setattr(sensors, "TICK_S", 0.01)
    (tmp_path / "stat").write_text(
        "cpu  1 1 1 1 1 1 1 1 1 1\n"
        "cpu0 100 20 30 5000 600 7 8 9 50 10\n"
        "cpu2 1000 0 0 5000 0 0 0 0 0 0\n"
        "intr 12345 0 0\n"
    )
    assert read_cores([0, 2]) == pytest.approx((1.74, 10.0))
    with pytest.raises(KeyError, match="cpu1"):
        read_cores([0, 1])


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages with a part of one, the whole platform, and a second view of the first package."""
    domains = {
        "intel-rapl:0": ("package-0", 1_000_000),
        "intel-rapl:0:0": ("core", 400_000),
        "intel-rapl:1": ("package-1", 2_000_000),
        "intel-rapl:2": ("psys", 9_000_000),
        "intel-rapl-mmio:0": ("package-0", 1_000_000),
    }
    for domain, (name, energy_uj) in domains.items():
        folder = tmp_path / domain
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "energy_uj").write_text(f"{energy_uj}\n")
        (folder / "max_energy_range_uj").write_text("10000000\n")
    monkeypatch.setattr(sensors, "POWERCAP", tmp_path)
    return tmp_path


def test_the_energy_of_all_packages_is_added_and_nothing_twice(powercap: Path) -> None:
    assert read_packages(find_packages()) == 3.0


def test_a_counter_that_begins_again_goes_on_counting(powercap: Path) -> None:
    packages = find_packages()
    readings = []
    for energy_uj in (9_500_000, 500_000, 600_000, 100_000):
        (powercap / "intel-rapl:0" / "energy_uj").write_text(f"{energy_uj}\n")
        readings.append(read_packages(packages))
    assert readings == pytest.approx([11.5, 12.5, 12.6, 22.1])


def test_no_package_is_told_from_a_package_that_used_nothing(
    powercap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_packages([]) is None
    monkeypatch.setattr(sensors, "POWERCAP", tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="no CPU package has an energy counter in"):
        find_packages()
