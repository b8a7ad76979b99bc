"""What README and docs say of measurements, the result format and matrices is so."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.generated import GENERATED, PAGES, measured_table, renew
from harness.command_line import parse_arguments
from harness.export import CellExport
from harness.places import PROJECT
from harness.plan import load_matrix
from harness.record_shape import LISTED, SHAPE
from harness.records import FINAL, SCHEMA, read_records, write_record
from harness.tables import render_markdown
from tests.helpers import make_cell, make_content, make_step_cell, make_step_content

RESULTS = (PROJECT / "docs" / "results.md").read_text(encoding="utf-8")
README = (PROJECT / "README.md").read_text(encoding="utf-8")
PLACES = (PROJECT / "docs" / "where-to-run.md").read_text(encoding="utf-8")
OPEN = ("packages", "libraries", "parameters", "missing")
"""Objects whose names are not the format's."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


def names_in(value: Any) -> Iterator[str]:
    """Yield every name in a record, however deep."""
    if isinstance(value, list):
        for one in value:
            yield from names_in(one)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield name
            if name not in OPEN:
                yield from names_in(part)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_generated_parts_are_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert GENERATED.search(text)
    assert renew(text) == text, f"{page} is out of date; renew it with `python -m docs.generated`"


@pytest.mark.parametrize("folder", ["results", "results-rigorous"])
def test_committed_tables_are_those_of_the_records(folder: str) -> None:
    tables = (PROJECT / folder / "README.md").read_text(encoding="utf-8")
    assert tables == render_markdown(read_records(PROJECT / folder)), (
        f"run `python runner.py report --results {folder}`"
    )


def test_a_table_of_what_was_not_run_is_refused() -> None:
    with pytest.raises(ValueError, match="results holds no training of 'resnet1001' of suite 2"):
        measured_table("results", "2", "resnet1001")


def test_every_name_of_a_record_is_explained() -> None:
    needed = {name for names in (*SHAPE.values(), *LISTED.values()) for name in names}
    made = (make_content(make_cell(), [1.0, 1.0], checks=[0.1, 0.1]), make_step_content(make_step_cell(), [1.0, 1.0]))
    kept = [record.content for record in read_records(PROJECT / "results-rigorous")][:1]
    assert {*needed, *names_in([*made, *kept])} - set(re.findall(r"`(\w+)`", GENERATED.sub("", RESULTS))) == set()


def test_every_final_status_and_the_newest_schema_are_explained() -> None:
    assert set(FINAL) <= set(re.findall(r"`([\w-]+)`", RESULTS))
    assert re.findall(r"^\| (\d+) \|", RESULTS, flags=re.MULTILINE)[-1] == str(SCHEMA)


def test_the_examples_for_pandas_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for repeat, seconds in enumerate((1.0, 3.0)):
        write_record(tmp_path / "results", make_content(make_cell(repeat=repeat), [seconds, 1.0], key=f"{repeat}"))
    export = CellExport()
    assert len(list(export.collect(read_records(tmp_path / "results")))) == 2
    export.write(tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks(RESULTS, "python"):
        exec(block, names)  # noqa: S102
    assert names["table"].to_list() == [3.0]
    assert names["curves"] == {"0": [1.0, 1.0], "1": [1.0, 1.0]}


@pytest.mark.parametrize("matrix", blocks(PLACES, "yaml"))
def test_a_matrix_in_the_docs_is_accepted(matrix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The paths of interpreters in it are those of somebody's image.
    monkeypatch.setattr("harness.plan.os.access", lambda path, mode: True)
    path = tmp_path / "matrix.yaml"
    path.write_text(matrix)
    assert load_matrix(path)


@pytest.mark.parametrize("page", [RESULTS, PLACES, README], ids=["results", "where-to-run", "readme"])
def test_the_command_lines_in_the_docs_are_accepted(page: str) -> None:
    commands = re.findall(r"runner\.py((?: [^ `'\n]+)*)", page)
    assert commands
    for command in commands:
        parse_arguments(shlex.split(command.replace("…", "matrix.yaml")))


def test_the_matrices_that_the_docs_name_are_there() -> None:
    named = set(re.findall(r"matrices/[\w-]+\.yaml", PLACES))
    assert named
    assert all((PROJECT / path).is_file() for path in named)


@pytest.mark.parametrize("page", ["README.md", "docs/results.md", "docs/where-to-run.md"])
def test_the_links_lead_somewhere(page: str) -> None:
    path = PROJECT / page
    targets = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    assert targets
    assert all((path.parent / target).exists() for target in targets)
