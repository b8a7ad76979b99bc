"""Whole sessions with the null tool: what runs, what is kept, what a second start does."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import ref

import pytest

import harness.session
from harness.canary import Canary
from harness.data import prepare
from harness.environments import EnvironmentFailedError
from harness.frames import to_frame
from harness.host import available_cores
from harness.launch import without_worker
from harness.places import PROJECT
from harness.plan import Cell, Steps
from harness.record_shape import LEDGER, PARTS
from harness.recording import time_ledger, without_folders
from harness.records import Planned, Record, key_maker, newest_by_key, read_records, write_record
from harness.session import drifted_cells, judge_curves, plan_session, run_session
from tests.helpers import (
    HOST,
    Silent,
    make_cell,
    make_content,
    make_step_cell,
    make_step_content,
    run,
    write_interpreter,
)
from workloads import make_workload
from workloads.datasets import file_sha256
from workloads.errors import UserError
from workloads.spec import Workload, fingerprint

pytestmark = pytest.mark.usefixtures("home", "quiet_machine")


def test_a_cell_leaves_one_whole_record(tmp_path: Path) -> None:
    cell = make_cell()
    (content,), _ = run([cell], tmp_path)
    (record,) = read_records(tmp_path)
    assert record.content == content
    assert set(content) == set(PARTS)
    assert content["status"] == "ok"
    assert content["cell"] | {"tool": "null", "model": "digits-cnn epochs=2", "batch_size": 32} == content["cell"]
    assert [epoch["samples"] for epoch in content["epochs"]] == [1437, 1437]
    assert content["fingerprints"]["data"] == prepare(cell.workload.data)[1]["fingerprint"]
    assert content["fingerprints"]["data_unverified"] == []
    assert all(len(content["fingerprints"][name]) == 64 for name in ("spec", "adapter", "weights", "order"))
    assert content["versions"]["packages"]["numpy"]
    assert content["versions"]["libraries"] == {}
    assert content["host"] == HOST


def test_a_view_is_given_the_watch_of_every_worker(tmp_path: Path) -> None:
    cells = [make_cell(), make_cell(not_run=("skipped", "not today")), make_cell(repeat=1)]
    _, view = run(cells, tmp_path)
    assert len(view.watches) == 2
    assert all(watch.samples and watch.samples[0].cpu_s is not None for watch in view.watches)


def test_the_time_ledger_adds_up(tmp_path: Path) -> None:
    (content,), _ = run([make_cell()], tmp_path)
    time = content["time"]
    assert sum(time[name] or 0.0 for name in LEDGER) == pytest.approx(time["total_s"])
    assert all(time[name] > 0 for name in LEDGER if name != "checks_s")
    assert time["other_s"] < 0.02 * time["total_s"]
    assert time["process_s"] > 0


def test_the_ledger_of_a_made_up_run() -> None:
    content = make_content(make_cell(), [4.0, 2.0, 3.0], checks=[0.3, 0.2, 0.1])
    assert content["time"] == {
        "start_s": 0.5,
        "import_s": 1.0,
        "device_s": 0.5,
        "data_s": 0.25,
        "weights_s": 0.25,
        "build_s": 0.25,
        "first_step_s": 2.0,
        "train_s": 9.0,
        "steady_epoch_s": 2.5,
        "checks_s": 0.375,
        "evaluate_s": 1.0,
        "probe_s": None,
        "end_s": 1.0,
        "other_s": 0.25,
        "total_s": 14.375,
        "process_s": 9.0,
    }
    assert [check["error_rate"] for check in content["checks"]] == [0.3, 0.2, 0.1]


def test_a_measurement_of_steps_leaves_every_step(tmp_path: Path) -> None:
    (content,), _ = run([make_step_cell(measure="gradients")], tmp_path)
    (record,) = read_records(tmp_path)
    assert record.content == content
    assert (content["status"], content["error_rate"], content["epochs"]) == ("ok", None, [])
    assert content["cell"]["measure"] == "gradients"
    assert content["cell"]["steps"] == {"warmup": 1, "timed": 3, "at_most_s": 300}
    assert [step["warmup"] for step in content["steps"]] == [True, False, False, False]
    assert all(step.keys() == {"wall_s", "process_s", "warmup", "loss"} for step in content["steps"])
    assert run([make_step_cell(measure="gradients")], tmp_path)[1].begun == []


def test_the_ledger_of_made_up_steps() -> None:
    content = make_step_content(make_step_cell(), [5.0, 1.0, 1.0, 2.0])
    names = ("first_step_s", "train_s", "steady_epoch_s", "evaluate_s", "other_s", "total_s")
    assert [content["time"][name] for name in names] == [5.0, 9.0, None, None, 0.25, 13.0]


def test_a_second_start_runs_nothing_and_fresh_runs_all(tmp_path: Path) -> None:
    cells = [make_cell(), make_cell(repeat=1)]
    first, _ = run(cells, tmp_path)
    again, view = run(cells, tmp_path)
    assert (again, view.begun) == (first, [])
    _, view = run(cells, tmp_path, fresh=True)
    assert view.begun == cells
    assert len(list(read_records(tmp_path))) == 4


def test_a_second_start_runs_only_what_is_missing(tmp_path: Path) -> None:
    cells = [make_cell(repeat=repeat) for repeat in range(3)]
    run([cells[0], cells[2]], tmp_path)
    _, view = run(cells, tmp_path)
    assert view.begun == [cells[1]]


@pytest.mark.parametrize(
    "change",
    [
        {"workload": make_workload("digits-cnn", {"epochs": 2, "dropout": 0.1})},
        {"seed": 1},
        {"environment": "current"},
        {"cores": 1},
        {"measure": "train", "steps": Steps()},
        {"measure": "train", "steps": Steps(timed=3)},
        {"not_run": ("skipped", "too hot")},
    ],
)
def test_what_decides_a_result_is_in_the_key(change: dict[str, Any]) -> None:
    cell, other = make_cell("torch"), make_cell("torch", **change)
    make_key = key_maker("m")
    assert make_key(cell, 2) != make_key(other, 1 if other.cores else 2)
    assert make_key(cell, 2) != key_maker("another machine")(cell, 2)


def test_a_plan_reads_each_source_and_each_workload_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[Any] = Counter()

    def note(what: Any) -> str:
        read[repr(what)] += isinstance(what, (Path, Workload))
        return file_sha256(what) if isinstance(what, Path) else fingerprint(what)

    monkeypatch.setattr(harness.records, "file_sha256", note)
    monkeypatch.setattr(harness.records, "fingerprint", note)
    workloads = [make_workload(name, {}) for name in ("digits-cnn", "digits-mlp")]
    cells = [make_cell("torch", workload=workload, repeat=repeat) for repeat in range(3) for workload in workloads]
    planned = plan_session(cells, HOST, [], fresh=False)
    assert len({item.key for item in planned}) == 6
    assert read[repr(PROJECT / "frameworks" / "torch_adapter.py")] == 1
    assert read[repr(PROJECT / "requirements" / "torch.txt")] == 1
    assert max(read.values()) == 1


def test_the_next_plan_sees_that_an_adapter_was_edited(monkeypatch: pytest.MonkeyPatch) -> None:
    (before,) = plan_session([make_cell()], HOST, [], fresh=False)
    monkeypatch.setattr(harness.records, "file_sha256", lambda path: "edited")
    (after,) = plan_session([make_cell()], HOST, [], fresh=False)
    assert before.key != after.key


def test_a_plan_keeps_only_the_records_of_its_cells() -> None:
    (item,) = plan_session([make_cell()], HOST, [], fresh=False)
    seen: list[ref[Record]] = []

    def records() -> Iterator[Record]:
        for key in (item.key, "another cell's", "a third cell's", "a fourth cell's"):
            record = Record(content=make_content(make_cell(), [1.0], key=key))
            seen.append(ref(record))
            yield record
        del record
        assert [one() is not None for one in seen[:-1]] == [True, False, False]

    (planned,) = plan_session([make_cell()], HOST, records(), fresh=False)
    assert planned.done is seen[0]()


def test_a_fresh_start_says_which_record_is_unreadable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match=r"broken\.json cannot be read"):
        plan_session([make_cell()], HOST, read_records(tmp_path), fresh=True)


def test_a_batch_too_large_for_the_memory_is_skipped_once(tmp_path: Path) -> None:
    workload = make_workload("digits-cnn", {})
    small, large = (make_cell(workload=replace(workload, batch_size=size)) for size in (32, 64))
    (item,) = plan_session([small], HOST, [], fresh=False)
    write_record(tmp_path, make_content(small, [1.0], key=item.key, status="out-of-memory", reason="too large"))
    contents, view = run([small, large], tmp_path)
    assert [(content["status"], content["reason"]) for content in contents] == [
        ("out-of-memory", "too large"),
        ("skipped", "out of memory at batch 32"),
    ]
    assert [cell.workload.batch_size for cell in view.begun] == [64]
    assert run([small, large], tmp_path)[1].begun == []


def test_curves_are_judged_by_those_of_the_other_tools_on_the_same_net() -> None:
    """Losses of 1.0 are 33 % from the median of 1.0 and 3.0, and none from that of 1.0, 1.0 and 3.0."""
    cells = [make_cell(tool) for tool in ("torch", "jax", "mxnet")]
    cells.append(make_cell("torch", workload=make_workload("digits-mlp", {"epochs": 2})))
    contents = [make_content(cell, [1.0, 1.0]) for cell in cells]
    contents[2]["epochs"][0]["loss"] = 3.0
    planned = [
        Planned(cell=cell, key=content["key"], cores=2, done=Record(content=content))
        for cell, content in zip(cells, contents, strict=True)
    ]
    assert [reached for reached, _ in judge_curves(planned).values()] == [False, False, False, None]


def test_a_failure_is_recorded_tried_again_and_does_not_stop_the_matrix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = write_interpreter(tmp_path, "print('no such luck')")
    cells = [make_cell("torch", environment=python), make_cell()]
    contents, _ = run(cells, tmp_path / "results")
    assert [content["status"] for content in contents] == ["failed", "ok"]
    assert contents[0]["log"] == ["no such luck"]
    _, view = run(cells, tmp_path / "results")
    assert view.begun == cells[:1]


def test_an_environment_that_cannot_be_made_is_a_row_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> Path:
        raise EnvironmentFailedError("no such version")

    monkeypatch.setattr(harness.session, "ensure_environment", fail)
    contents, _ = run([make_cell("torch"), make_cell()], tmp_path)
    assert [content["status"] for content in contents] == ["failed", "ok"]
    assert contents[0]["reason"] == "its environment could not be made: no such version"


def test_cells_that_are_not_run_are_recorded_once(tmp_path: Path) -> None:
    cell = make_cell(not_run=("unavailable", "no GPU"))
    (content,), view = run([cell], tmp_path)
    assert (content["status"], content["reason"]) == ("unavailable", "no GPU")
    assert content["time"]["total_s"] is None
    assert view.begun == [cell]
    _, view = run([cell], tmp_path)
    assert view.begun == []


def test_a_cell_that_was_unavailable_runs_once_it_can(tmp_path: Path) -> None:
    run([make_cell(not_run=("unavailable", "no GPU"))], tmp_path)
    (content,), _ = run([make_cell()], tmp_path)
    assert content["status"] == "ok"


def test_a_cell_before_which_the_machine_was_slow_is_run_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = iter([100.0, 80.0, 101.0, 60.0])
    monkeypatch.setattr(
        harness.session, "release_canary", lambda cores: Canary(gflops=next(speeds), others_pct=0.0, reason=None)
    )
    cells = [make_cell(repeat=repeat) for repeat in range(3)]
    contents, view = run(cells, tmp_path)
    assert view.begun == [*cells, cells[1]]
    assert [content["canary"]["gflops"] for content in contents] == [100.0, 80.0, 101.0, 60.0]
    newest = newest_by_key(read_records(tmp_path))
    assert [newest[content["key"]].content["canary"]["gflops"] for content in contents[:3]] == [100.0, 60.0, 101.0]
    (row,) = to_frame(read_records(tmp_path)).to_dict("records")
    assert "the machine was more than 10 % off the session's usual speed before 1 of 3 runs" in row["disturbances"]


def test_drift_is_judged_among_cells_with_as_many_cores() -> None:
    items = [Planned(cell=make_cell(repeat=i), key=str(i), cores=1 + i % 2, done=None) for i in range(6)]
    run = [(item, {"status": "ok", "canary": {"gflops": 100.0 * item.cores}}) for item in items]
    assert drifted_cells(run) == []
    run[3] = (items[3], {"status": "ok", "canary": {"gflops": 100.0}})
    assert drifted_cells(run) == [items[3]]


def test_the_error_rate_is_looked_at_after_each_epoch_where_there_is_a_target(tmp_path: Path) -> None:
    workload = make_workload("digits-cnn", {"epochs": 2, "target_error_rate": 0.5})
    (content,), _ = run([make_cell(workload=workload)], tmp_path)
    assert [check["epoch"] for check in content["checks"]] == [0, 1]
    assert [check["error_rate"] for check in content["checks"]] == [content["error_rate"]] * 2
    assert content["time"]["checks_s"] == sum(check["wall_s"] for check in content["checks"]) > 0
    assert run([make_cell()], tmp_path)[0][0]["checks"] == []


def test_the_same_seed_gives_the_same_weights_and_order(tmp_path: Path) -> None:
    cells = [make_cell(), make_cell(repeat=1), make_cell(seed=1)]
    contents, _ = run(cells, tmp_path)
    prints = [(content["fingerprints"]["weights"], content["fingerprints"]["order"]) for content in contents]
    assert prints[0] == prints[1]
    assert prints[0][0] != prints[2][0]
    assert prints[0][1] != prints[2][1]


def test_validation_is_inside_the_timed_epochs(tmp_path: Path) -> None:
    parameters = {"data": "synthetic", "epochs": 1, "units": 4, "train_samples": 500}
    (content,), _ = run([make_cell(workload=make_workload("mnist-mlp", parameters))], tmp_path)
    (epoch,) = content["epochs"]
    assert epoch["samples"] == 500
    assert epoch["validation"]["error_rate"] == pytest.approx(0.9, abs=0.03)
    assert epoch["validation"]["loss"] == pytest.approx(2.302585)


def test_interrupting_keeps_finished_cells(tmp_path: Path) -> None:
    class Impatient(Silent):
        def begin(self, cell: Cell) -> None:
            super().begin(cell)
            if len(self.begun) == 2:
                raise KeyboardInterrupt

    cells = [make_cell(repeat=repeat) for repeat in range(3)]
    planned = plan_session(cells, HOST, [], fresh=False)
    with pytest.raises(KeyboardInterrupt):
        list(run_session(planned, HOST, tmp_path, Impatient(), "s"))
    assert [record.content["cell"]["repeat"] for record in read_records(tmp_path)] == [0]


def test_a_cell_that_is_left_out_later_keeps_its_result(tmp_path: Path) -> None:
    run([make_cell()], tmp_path)
    run([make_cell(not_run=("skipped", "not today"))], tmp_path)
    assert sorted(record.status for record in read_records(tmp_path)) == ["ok", "skipped"]
    (row,) = to_frame(read_records(tmp_path)).to_dict("records")
    assert row["status"] == "ok"


def test_a_cell_that_was_cut_off_is_tried_again_with_more_time(tmp_path: Path) -> None:
    python = write_interpreter(tmp_path, "time.sleep(600)")
    cell = make_cell("torch", environment=python, time_limit_s=2)
    (content,), _ = run([cell], tmp_path / "results")
    assert content["status"] == "timeout"
    assert run([cell], tmp_path / "results")[1].begun == []
    longer = replace(cell, time_limit_s=3)
    assert run([longer], tmp_path / "results")[1].begun == [longer]


def test_two_cells_that_are_one_on_this_machine_are_refused() -> None:
    everything = len(available_cores())
    with pytest.raises(UserError, match=rf"are the same on this machine, which has {everything} cores"):
        plan_session([make_cell(), make_cell(cores=everything)], HOST, [], fresh=False)


def test_a_results_folder_that_takes_no_file_is_said_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    view = Silent()
    planned = plan_session([make_cell()], HOST, [], fresh=False)
    with pytest.raises(UserError, match="cannot be written"):
        list(run_session(planned, HOST, tmp_path / "file", view, "s"))
    assert view.begun == []


def test_a_home_that_takes_no_file_is_said(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAMENET_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"data digits cannot be prepared below .*file.* SAMENET_HOME"):
        run([make_cell()], tmp_path / "results")


def test_a_cell_that_is_not_run_has_no_times() -> None:
    assert set(time_ledger(without_worker("skipped", "because")).values()) == {None}


def test_folders_of_the_user_stay_out_of_records(home: Path) -> None:
    text = without_folders(f"{home}/data and {Path.home()}/secret")
    assert text == "SAMENET_HOME/data and ~/secret"
