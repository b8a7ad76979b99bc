"""What watching costs, by a launcher whose times are made up, and by real launches of the null tool."""

import os
import sys
import time
from pathlib import Path

import pytest

import harness.self_cost
from harness.data import prepare
from harness.self_cost import (
    PAIRS,
    STRETCH_EPOCHS,
    WARM_UP_EPOCHS,
    Run,
    _SwitchedWatch,
    compare_stretches,
    find_tool,
    is_watched,
    run_stretches,
    small_cell,
)
from runner import main
from tests.helpers import make_cell, write_interpreter
from workloads.errors import UserError


def test_the_median_of_paired_ratios_with_its_interval() -> None:
    """Pair n takes 2ⁿ s, and n tenths of a per cent more where it is watched; unpaired, the trend would drown that."""
    asked: list[int] = []

    def launch(pairs: int) -> Run:
        start = sum(asked) + 1
        asked.append(pairs)
        numbers = range(start, start + pairs)
        return Run(
            watched_s=[2.0**n * (1 + n / 1000) for n in numbers],
            unwatched_s=[2.0**n for n in numbers],
            samples=4 * pairs,
            sampling_s=0.006 * pairs,
        )

    *runs, result, sampler = compare_stretches(launch, 37, "torch")
    assert asked == [30, 7]
    assert [line.partition(":")[0] for line in runs] == ["30 of 37 pairs", "37 of 37 pairs"]
    assert result == (
        "self-cost: watched training takes 1.0190 times as long (95 %: 1.0130 – 1.0250; 37 pairs), for 10 epochs of "
        "digits-cnn in torch"
    )
    assert sampler == "sampler: every 0.5 s when steady, 1.50 ms of CPU a sample (148 samples)"


def test_five_pairs_have_no_interval() -> None:
    run = Run(watched_s=[1.0] * 5, unwatched_s=[1.0] * 5, samples=0, sampling_s=0.0)
    *_, result, sampler = compare_stretches(lambda pairs: run, 5, "torch")
    assert "takes 1.0000 times as long (no interval: it takes 6 pairs; 5 pairs)" in result
    assert "no run lasted for a sample (0 samples)" in sampler


def test_which_stretch_of_a_pair_is_watched_alternates() -> None:
    starts = range(WARM_UP_EPOCHS, WARM_UP_EPOCHS + 4 * STRETCH_EPOCHS, STRETCH_EPOCHS)
    assert [is_watched(start) for start in starts] == [True, False, False, True]
    assert [is_watched(start + STRETCH_EPOCHS - 1) for start in starts] == [True, False, False, True]
    assert is_watched(0)


def test_a_watch_that_is_switched_off_takes_no_sample() -> None:
    watch = _SwitchedWatch(os.getpid(), [0], [])
    watch.switch(on=False)
    with watch:
        watch.mark()
        time.sleep(0.2)
        assert watch.samples == []
        watch.switch(on=True)
        while not watch.samples:
            time.sleep(0.01)
    assert watch.sampling_s > 0


def test_a_run_has_as_many_stretches_of_both_kinds(home: Path) -> None:
    data, _ = prepare(small_cell("null", epochs=1).workload.data)
    run = run_stretches("null", sys.executable, data, 3)
    assert len(run.watched_s) == len(run.unwatched_s) == 3
    assert min(*run.watched_s, *run.unwatched_s) > 0
    assert run.samples > 0


def test_a_cell_that_does_not_run_is_said(home: Path, tmp_path: Path) -> None:
    data, _ = prepare(make_cell().workload.data)
    python = write_interpreter(tmp_path, "sys.exit(3)")
    with pytest.raises(UserError, match=r"ended as failed \(ended with exit code 3 .*--only tool=torch"):
        run_stretches("torch", python, data, 1)


def test_an_installed_tool_is_preferred_and_torch_before_others(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"jax.txt", "tensorflow.txt"}

    def find(requirements: Path, python: str) -> Path | None:
        return Path(requirements.name) if requirements.name in here else None

    monkeypatch.setattr(harness.self_cost, "find_environment", find)
    assert find_tool() == ("tensorflow", "tensorflow.txt")
    here.add("torch.txt")
    assert find_tool() == ("torch", "torch.txt")
    here.clear()
    assert find_tool() == ("null", sys.executable)


def test_doctor_measures_its_own_cost_with_what_is_here(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--self-cost", "--pairs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("no tool's environment is here: null is measured, which trains nothing")
    assert [line.partition(":")[0] for line in lines[1:]] == ["1 of 1 pairs", "self-cost", "sampler"]


def test_the_number_of_pairs_is_checked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--self-cost", "--pairs", "0"]) == 2
    assert "--pairs is 0; accepted: a whole number from 1 to 1000" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--pairs", str(PAIRS)])
    assert stop.value.code == 2
