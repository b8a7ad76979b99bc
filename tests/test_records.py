"""Records are written whole, read back equal, and named when they are unreadable."""

import errno
import os
from pathlib import Path

import pytest

from harness.records import newest_by_key, read_records, write_record, write_whole
from tests.helpers import make_cell, make_content
from workloads.errors import UserError


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0, 1.0])
    path = write_record(tmp_path, content)
    assert path.parent.name == content["host"]["machine"]
    assert [record.content for record in read_records(tmp_path)] == [content]


def test_records_of_older_schemas_are_read(tmp_path: Path) -> None:
    content = make_content(make_cell(), [1.0])
    second = {name: value for name, value in content.items() if name != "steps"} | {"schema": 2}
    first = {name: value for name, value in second.items() if name != "sameness"} | {"schema": 1}
    for old in (first, second):
        write_record(tmp_path / str(old["schema"]), old)
    older, newer = (record.content for record in read_records(tmp_path))
    assert newer == content
    assert older == content | {"sameness": older["sameness"]}
    assert older["sameness"]["reason"] == "measured before proofs"


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
        ("", "Expecting value"),
        ('{"schema": 1', "Expecting"),
        ("[]", "it holds list"),
        ('{"schema": 1}', "it lacks key, suite"),
        ('{"schema": 99}', r"its schema is 99; accepted: 3"),
    ],
)
def test_an_unreadable_record_is_named_with_what_to_do(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(UserError, match=rf"record .*broken\.json cannot be read: .*{problem}.* Move the file out"):
        read_records(tmp_path)


def test_half_written_files_are_never_read(tmp_path: Path) -> None:
    (tmp_path / ".partial-abc").write_text('{"schema"')
    assert read_records(tmp_path) == []


def test_the_newest_record_of_a_key_counts(tmp_path: Path) -> None:
    old = make_content(make_cell(), [1.0], key="k", finished_at="2026-01-01T00:00:00+00:00")
    new = make_content(make_cell(), [2.0], key="k", finished_at="2026-01-02T00:00:00+00:00")
    write_record(tmp_path / "a", new)
    write_record(tmp_path / "b", old)
    assert newest_by_key(read_records(tmp_path))["k"].content == new
