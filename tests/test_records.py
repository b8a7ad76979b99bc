"""Records are written whole, read back equal, and named when they are unreadable."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.frames import to_frame
from harness.page_runs import SEEN
from harness.places import PROJECT
from harness.record_shape import OPTIONAL, SHAPE
from harness.records import OLD, Record, newest_by_key, read_records, write_record, write_whole
from harness.sizes import count_parameters, find_sweeps
from tests.helpers import make_cell, make_content, make_step_cell, make_step_content
from workloads import make_workload
from workloads.errors import UserError


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0, 1.0])
    path = write_record(tmp_path, content)
    assert path.parent.name == content["host"]["machine"]
    assert [record.content for record in read_records(tmp_path)] == [content]


def test_records_of_older_schemas_are_read(tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0, 1.0])
    third = json.loads(json.dumps(content)) | {"schema": 3}
    for part in ("session", "canary", "checks"):
        del third[part]
    for name in ("start_s", "weights_s", "checks_s", "end_s"):
        del third["time"][name]
    del third["utilisation"]["others_pct"]
    second = {name: value for name, value in third.items() if name != "steps"} | {"schema": 2}
    first = {name: value for name, value in second.items() if name != "sameness"} | {"schema": 1}
    for old in (first, second, third):
        write_record(tmp_path / str(old["schema"]), old)
    oldest, older, newer = (record.content for record in read_records(tmp_path))
    assert older == newer
    assert oldest == newer | {"sameness": oldest["sameness"]}
    assert oldest["sameness"]["reason"] == "measured before proofs"
    unseen = {"session": None, "canary": {"gflops": None, "others_pct": None, "reason": OLD}, "checks": []}
    assert newer == content | unseen | {"time": newer["time"]}
    assert newer["time"] == content["time"] | dict.fromkeys(("start_s", "weights_s", "checks_s", "end_s"))


def test_a_full_disk_is_said_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"file cannot be written \(No space left on device\)\. Free some space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    with pytest.raises(UserError, match="Free some space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_takes_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where the folder belongs")
    with pytest.raises(UserError, match="Make the folder writable, or name another"):
        write_record(tmp_path / "results", make_content(make_cell(), [1.0]))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty document"),
        ('{"schema": 1', "unexpected end of data"),
        ("\udcff", "not valid UTF-8"),
        ("[]", "it holds list"),
        ('{"schema": 1}', "it lacks key, suite"),
        ('{"schema": 99}', r"its schema is 99; accepted: 5"),
    ],
)
def test_an_unreadable_record_is_named_with_what_to_do(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text(text, errors="surrogateescape")
    with pytest.raises(UserError, match=rf"record .*broken\.json cannot be read: .*{problem}.* Move the file out"):
        list(read_records(tmp_path))


@pytest.mark.parametrize(
    ("part", "value", "lacking"),
    [
        ("versions", {}, r"versions\.python, versions\.packages"),
        ("epochs", None, "a list of epochs"),
        ("epochs", [{"wall_s": 1.0}], r"epochs\.samples, epochs\.loss"),
        ("steps", [1.0], r"steps\.loss"),
        ("utilisation", {"before": None}, r"utilisation\.gpu_pct.* utilisation\.before\.others_pct"),
        ("sameness", {"level": "S3", "reason": None, "findings": [{}]}, r"sameness\.findings\.fault"),
    ],
)
def test_a_record_with_a_damaged_part_says_what_it_lacks(part: str, value: Any, lacking: str, tmp_path: Path) -> None:
    write_record(tmp_path, make_content(make_cell(), [1.0]) | {part: value})
    with pytest.raises(UserError, match=rf"it lacks .*{lacking}.* Move the file out"):
        list(read_records(tmp_path))


def put(content: dict[str, Any], path: str, value: Any) -> None:
    """Put a value in a record at a path such as `epochs.0.loss`."""
    part: Any = content
    *names, last = path.split(".")
    for name in names:
        part = part[int(name)] if isinstance(part, list) else part[name]
    part[int(last) if isinstance(part, list) else last] = value


FINDING = {
    "level": "S2", "what": "loss", "worst": 0.0, "where": "", "precision": "float32", "holds": True, "fault": False,
    "note": None, "tolerance": 1e-6,
}  # fmt: skip
SERIES = {"at_s": [0.0, 0.5], "cpu_s": [0.0, 0.5], "rss_mib": [None, 9.0], "gpus": [{"gpu_pct": [1.0, None]}]}
DAMAGE = [
    ("cell", None, r"it lacks cell\.tool"),
    ("host", [], r"it lacks host\.machine"),
    ("status", None, "status is null; accepted: a text"),
    ("schema", 5.0, r"schema is 5\.0; accepted: a whole number"),
    ("suite", 2, "suite is 2; accepted: a text"),
    ("reason", ["why"], r'reason is \["why"\]; accepted: a text, or null'),
    ("finished_at", "yesterday", 'finished_at is "yesterday"; accepted: a moment with its offset'),
    ("finished_at", "2026-01-01T00:00:00", "finished_at is .*; accepted: a moment with its offset"),
    ("finished_at", "0001-01-01T00:00:00+14:00", "finished_at is .*; accepted: a moment with its offset"),
    ("host.memory_gib", None, r"host\.memory_gib is null; accepted: a number"),
    ("host.memory_gib", True, r"host\.memory_gib is true; accepted: a number"),
    ("host.gpus", {}, r"host\.gpus"),
    ("host.gpus", [{"name": 7}], r"host\.gpus\[0\]\.name is 7; accepted: a text"),
    ("cell.batch_size", "32", r'cell\.batch_size is "32"; accepted: a whole number'),
    ("cell.batch_size", 0, r"cell\.batch_size is 0; accepted: 1 or more"),
    ("cell.cores", 0, r"cell\.cores is 0; accepted: 1 or more"),
    ("cell.model", " ", r'cell\.model is " "; accepted: a name'),
    ("cell.workload.name", 7, r"cell\.workload\.name is 7; accepted: a text, or null"),
    ("cell.price_per_hour", "2.5", r"cell\.price_per_hour is .*; accepted: a number, or null"),
    ("cell.workload.parameters", [], r"cell\.workload\.parameters is \[\]; accepted: an object"),
    ("cell.workload.parameters", {"target_error_rate": "low"}, r"parameters\.target_error_rate is .*; accepted: a num"),
    ("cell.steps", {"warmup": 1}, r"cell\.steps is .*; accepted: whole numbers of warmup and timed steps"),
    ("time.total_s", "10 s", r"time\.total_s is .*; accepted: a number, or null"),
    ("time.train_s", None, r"time\.train_s is null; accepted: more than 0 s where the status is ok"),
    ("time.train_s", 0, r"time\.train_s is 0; accepted: more than 0 s where the status is ok"),
    ("epochs.1.wall_s", "1.0", r'epochs\[1\]\.wall_s is "1\.0"; accepted: a number'),
    ("epochs.0.loss", None, r"epochs\[0\]\.loss is null; accepted: a number where the status is ok"),
    ("epochs.0.samples", 0, r"epochs\[0\]\.samples is 0; accepted: 1 or more"),
    ("epochs", [], "epochs has 0 entries; accepted: at least one, and as many as cell.epochs, 2"),
    ("cell.epochs", 3, "epochs has 2 entries; accepted: at least one, and as many as cell.epochs, 3"),
    ("checks", [{"epoch": 0.5, "error_rate": 0.1}], r"checks\[0\]\.epoch is 0\.5; accepted: a whole number"),
    ("utilisation.cpu_pct", "87 %", r"utilisation\.cpu_pct is .*; accepted: a number, or null"),
    *((f"utilisation.{name}", "x", rf'utilisation\.{name} is "x"; accepted: a number, or null') for name in SEEN),
    ("utilisation.cpus", 2.0, r"utilisation\.cpus is 2\.0; accepted: a whole number, or null"),
    ("utilisation.series", [], r"utilisation\.series is \[\]; accepted: an object, or null"),
    ("host.system", 7, r"host\.system is 7; accepted: a text, or null"),
    ("host.git", "abc", r'host\.git is "abc"; accepted: an object, or null'),
    ("host.git", {"commit": 7}, r"host\.git\.commit is 7; accepted: a text, or null"),
    ("versions.libraries", "cuda", r'versions\.libraries is "cuda"; accepted: an object, or null'),
    ("versions.libraries", ["cuda"], r"versions\.libraries is .*; accepted: an object, or null"),
    ("epochs.1.validation", "0.1", r'epochs\[1\]\.validation is "0\.1"; accepted: an object, or null'),
    (
        "epochs.1.validation",
        {"error_rate": "0.1"},
        r"epochs\[1\]\.validation\.error_rate is .*; accepted: a number, or",
    ),
    (
        "sameness.findings",
        [{**FINDING, "tolerance": "0"}],
        r"findings\[0\]\.tolerance is .*; accepted: a number, or null",
    ),
    ("utilisation.throttle", [1], r"utilisation\.throttle is \[1\]; accepted: nothing but texts in it"),
    ("fingerprints.data_unverified", [None], r"fingerprints\.data_unverified is .*; accepted: nothing but texts in it"),
    ("versions.packages", {"numpy": 2}, r"versions\.packages is .*; accepted: nothing but texts in it"),
    ("sameness.level", 3, r"sameness\.level is 3; accepted: a text, or null"),
    ("canary.gflops", "fast", r"canary\.gflops is .*; accepted: a number, or null"),
]


def assert_named(folder: Path, content: dict[str, Any], path: str, value: Any, problem: str) -> None:
    """Fail unless a record with another value at a path is refused with the problem."""
    file = write_record(folder, content)
    put(content, path, value)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"cannot be read: .*{problem}.* Move the file out"):
        list(read_records(folder))


@pytest.mark.parametrize(("path", "value", "problem"), DAMAGE)
def test_a_value_that_no_reader_understands_is_named(path: str, value: Any, problem: str, tmp_path: Path) -> None:
    content = json.loads(json.dumps(make_content(make_cell(), [1.0, 1.0])))
    assert_named(tmp_path, content, path, value, problem)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("steps.1.wall_s", 0.0, r"steps\[1\]\.wall_s is 0\.0; accepted: more than 0 s"),
        ("steps.2.warmup", 1, r"steps\[2\]\.warmup is 1; accepted: true or false"),
        ("steps", [], r"steps is \[\]; accepted: at least one that is no warm-up where the status is ok"),
        ("cell.steps", None, r"cell\.steps is null; accepted: whole numbers of warmup and timed steps"),
        ("cell.measure", "epochs", r"time\.train_s|steps is .*; accepted: none where epochs are measured"),
    ],
)
def test_steps_that_no_reader_understands_are_named(path: str, value: Any, problem: str, tmp_path: Path) -> None:
    content = make_step_content(make_step_cell(), [2.0, 1.0, 1.0, 1.0])
    assert_named(tmp_path, content, path, value, problem)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("cpus", None, r"cpus is null; accepted: 1 or more where there is a series"),
        ("cpus", 0, r"cpus is 0; accepted: 1 or more where there is a series"),
        ("series.at_s", None, r"series\.at_s is null; accepted: a list of numbers"),
        ("series.at_s", [0.0, None], r"series\.at_s is \[0\.0, null\]; accepted: a list of numbers"),
        ("series.cpu_s", {}, r"series\.cpu_s is \{\}; accepted: a list of numbers, or null where one was not read"),
        ("series.rss_mib", ["x", "y"], r"series\.rss_mib is .*; accepted: a list of numbers, or null where"),
        ("series.rss_mib", [1.0], r"series\.rss_mib has 1 entries; accepted: as many as at_s, 2"),
        ("series.gpus", None, r"series\.gpus is null; accepted: a list of objects"),
        ("series.gpus", [7], r"series\.gpus is \[7\]; accepted: a list of objects"),
        ("series.gpus", [{}], r"series\.gpus\[0\]\.gpu_pct is null; accepted: a list of numbers, or null where"),
        ("series.gpus.0.gpu_pct", [1.0] * 3, r"series\.gpus\[0\]\.gpu_pct has 3 entries; accepted: as many as at_s, 2"),
    ],
)
def test_a_series_that_no_reader_understands_is_named(path: str, value: Any, problem: str, tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0, 1.0])
    content["utilisation"] |= {"series": json.loads(json.dumps(SERIES))}
    file = write_record(tmp_path, content)
    assert [record.content for record in read_records(tmp_path)] == [content]
    put(content, f"utilisation.{path}", value)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"cannot be read: utilisation\.{problem}.* Move the file out"):
        list(read_records(tmp_path))


def test_what_may_be_missing_of_a_record_is_read_without_it(tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0, 1.0])
    content["sameness"] |= {"findings": [{name: value for name, value in FINDING.items() if name != "tolerance"}]}
    for path, names in OPTIONAL.items():
        for name in names if path in SHAPE else ():
            content[path] = {known: value for known, value in content[path].items() if known != name}
    write_record(tmp_path, content)
    assert [record.content for record in read_records(tmp_path)] == [content]


def test_a_record_that_names_no_workload_stands_beside_one_that_does() -> None:
    sizes = [make_workload("digits-mlp", {"units": units}) for units in (32, 64)]
    named = [make_content(make_cell("jax", workload=size), [1.0, 1.0]) for size in sizes]
    unnamed = make_content(make_cell("torch", workload=sizes[0]), [1.0, 1.0])
    unnamed["cell"] |= {"workload": {"name": None, "parameters": {}}}
    rows = to_frame(Record(content=content) for content in (*named, unnamed)).to_dict("records")
    (sweep,) = find_sweeps(rows, count_parameters(rows))
    assert [row["tool"] for cells in sweep.cells.values() for row in cells] == ["jax", "jax"]


def test_what_was_not_measured_in_a_cell_that_failed_is_no_fault(tmp_path: Path) -> None:
    for content in (make_content(make_cell(), [1.0]), make_step_content(make_step_cell(), [1.0])):
        failed = content | {"status": "failed", "time": dict.fromkeys(content["time"]), "error_rate": None}
        write_record(tmp_path, failed)
    assert [record.status for record in read_records(tmp_path)] == ["failed", "failed"]


@pytest.mark.parametrize("folder", ["results", "results-rigorous"])
def test_the_records_of_the_project_are_read(folder: str) -> None:
    assert sum(1 for _ in read_records(PROJECT / folder)) > 0


def test_each_file_is_opened_once_and_not_before_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for repeat, folder in enumerate("ab"):
        write_record(tmp_path / folder, make_content(make_cell(repeat=repeat), [1.0, 1.0]))
    opened: list[str] = []
    read_bytes = Path.read_bytes

    def note(path: Path) -> bytes:
        opened.append(path.relative_to(tmp_path).parts[0])
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", note)
    records = read_records(tmp_path)
    assert opened == []
    assert next(records).content["cell"]["repeat"] == 0
    assert opened == ["a"]
    assert [record.content["cell"]["repeat"] for record in records] == [1]
    assert opened == ["a", "b"]


def test_half_written_files_are_never_read(tmp_path: Path) -> None:
    (tmp_path / ".partial-abc").write_text('{"schema"')
    assert list(read_records(tmp_path)) == []


def test_the_newest_record_of_a_key_counts(tmp_path: Path) -> None:
    old = make_content(make_cell(), [1.0, 1.0], key="k", finished_at="2026-01-01T00:00:00+00:00")
    new = make_content(make_cell(), [2.0, 2.0], key="k", finished_at="2026-01-02T00:00:00+00:00")
    write_record(tmp_path / "a", new)
    write_record(tmp_path / "b", old)
    assert newest_by_key(read_records(tmp_path))["k"].content == new
