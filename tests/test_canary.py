"""The piece of work before each cell, and when it says that the machine has drifted."""

import sys
from pathlib import Path

import pytest

import harness.canary
from harness.canary import find_drifted, release_canary
from harness.host import available_cores


def test_the_canary_tells_a_speed_and_what_others_took() -> None:
    canary = release_canary(1)
    assert canary.reason is None
    assert canary.gflops is not None
    assert canary.gflops > 0
    assert canary.others_pct is not None
    assert canary.others_pct >= 0


def test_the_canary_has_the_cores_of_its_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _play_canary(
        tmp_path, monkeypatch, "print(100 * len(os.sched_getaffinity(0)) + int(os.environ['OMP_NUM_THREADS']))"
    )
    before = available_cores()
    assert release_canary(1).gflops == 101
    assert available_cores() == before


@pytest.mark.parametrize("body", ["sys.exit(3)", "print('no number')", "pass"])
def test_a_canary_that_fails_has_a_reason_and_no_speed(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _play_canary(tmp_path, monkeypatch, body)
    canary = release_canary(1)
    assert (canary.gflops, canary.others_pct) == (None, None)
    assert canary.reason is not None
    assert canary.reason.startswith("the canary could not be run")


def _play_canary(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport os, sys\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setattr(harness.canary.sys, "executable", str(path))


def test_a_speed_off_the_median_by_more_than_a_tenth_has_drifted() -> None:
    assert find_drifted([100.0, 101.0, 89.0, 111.0, 100.0]) == [False, False, True, True, False]
    assert find_drifted([100.0, 91.0, 109.0]) == [False, False, False]


def test_which_of_two_speeds_is_the_usual_one_cannot_be_told() -> None:
    assert find_drifted([100.0, 50.0]) == [False, False]


def test_an_unknown_speed_has_not_drifted() -> None:
    assert find_drifted([None, None]) == [False, False]
    assert find_drifted([100.0, None, 50.0, 100.0]) == [False, False, True, False]
