"""What watching costs, by a launcher whose times are made up, and by real launches of the null tool."""

import sys
from pathlib import Path

import pytest

import harness.self_cost
from harness.data import prepare
from harness.self_cost import EPOCHS, PAIRS, Run, compare_runs, find_tool, run_once, small_cell
from runner import main
from tests.helpers import make_cell, write_interpreter
from workloads.errors import UserError


def test_the_median_of_paired_ratios_with_its_interval() -> None:
    """Pair n takes 2ⁿ s, and n tenths of a per cent more where it is watched; unpaired, the trend would drown that."""
    asked: list[bool] = []

    def launch(watched: bool) -> Run:
        asked.append(watched)
        pair = len(asked) // 2
        cost = 1 + pair / 1000 if watched else 1.0
        return Run(train_s=2.0**pair * cost, samples=4 if watched else 0, sampling_s=0.006 if watched else 0.0)

    *pairs, result, sampler = compare_runs(launch, 7, "a cell")
    assert asked == [True, *[True, False, False, True] * 3, True, False]
    assert pairs[2] == "pair 3 of 7: 8.024 s watched, 8 s unwatched"
    assert result == (
        "self-cost: watched training takes 1.0040 times as long (95 %: 1.0010 – 1.0070; 7 pairs), for a cell"
    )
    assert sampler == "sampler: every 0.5 s when steady, 1.50 ms of CPU a sample (28 samples)"


def test_five_pairs_have_no_interval() -> None:
    run = Run(train_s=1.0, samples=0, sampling_s=0.0)
    *_, result, sampler = compare_runs(lambda watched: run, 5, "a cell")
    assert "takes 1.0000 times as long (no interval: it takes 6 pairs; 5 pairs)" in result
    assert "no run lasted for a sample (0 samples)" in sampler


def test_a_run_is_watched_or_not(home: Path) -> None:
    cell = make_cell()
    data, _ = prepare(cell.workload.data)
    watched, unwatched = (run_once(cell, sys.executable, data, watched=watched) for watched in (True, False))
    assert watched.samples > 0
    assert watched.sampling_s > 0
    assert (unwatched.samples, unwatched.sampling_s) == (0, 0.0)
    assert watched.train_s > 0
    assert unwatched.train_s > 0


def test_a_cell_that_does_not_run_is_said(home: Path, tmp_path: Path) -> None:
    cell = make_cell("torch")
    data, _ = prepare(cell.workload.data)
    python = write_interpreter(tmp_path, "sys.exit(3)")
    with pytest.raises(UserError, match=r"ended as failed \(ended with exit code 3 .*--only tool=torch"):
        run_once(cell, python, data, watched=True)


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
    assert small_cell("torch").label == f"torch · cpu · digits-cnn epochs={EPOCHS} · batch 32"


def test_doctor_measures_its_own_cost_with_what_is_here(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--self-cost", "--pairs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("no tool's environment is here: null is measured, which trains nothing")
    assert [line.partition(":")[0] for line in lines[1:]] == ["pair 1 of 1", "self-cost", "sampler"]


def test_the_number_of_pairs_is_checked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--self-cost", "--pairs", "0"]) == 2
    assert "--pairs is 0; accepted: a whole number from 1 to 1000" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--pairs", str(PAIRS)])
    assert stop.value.code == 2
