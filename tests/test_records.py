"""Records are written whole, read back equal, and named when they are unreadable."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.records import OLD, newest_by_key, read_records, write_record, write_whole
from tests.helpers import make_cell, make_content
from workloads.errors import UserError


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0, 1.0])
    path = write_record(tmp_path, content)
    assert path.parent.name == content["host"]["machine"]
    assert [record.content for record in read_records(tmp_path)] == [content]


def test_records_of_older_schemas_are_read(tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0])
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
        ('{"schema": 99}', r"its schema is 99; accepted: 4"),
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
        ("epochs", [{"wall_s": 1.0}], r"epochs\.loss, epochs\.samples"),
        ("steps", [1.0], r"steps\.loss"),
        ("utilisation", {"before": None}, r"utilisation\.gpu_pct.* utilisation\.before\.others_pct"),
        ("sameness", {"level": "S3", "reason": None, "findings": [{}]}, r"sameness\.findings\.fault"),
    ],
)
def test_a_record_with_a_damaged_part_says_what_it_lacks(part: str, value: Any, lacking: str, tmp_path: Path) -> None:
    write_record(tmp_path, make_content(make_cell(), [1.0]) | {part: value})
    with pytest.raises(UserError, match=rf"it lacks .*{lacking}.* Move the file out"):
        list(read_records(tmp_path))


def test_each_file_is_opened_once_and_not_before_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for repeat, folder in enumerate("ab"):
        write_record(tmp_path / folder, make_content(make_cell(repeat=repeat), [1.0]))
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
    old = make_content(make_cell(), [1.0], key="k", finished_at="2026-01-01T00:00:00+00:00")
    new = make_content(make_cell(), [2.0], key="k", finished_at="2026-01-02T00:00:00+00:00")
    write_record(tmp_path / "a", new)
    write_record(tmp_path / "b", old)
    assert newest_by_key(read_records(tmp_path))["k"].content == new
