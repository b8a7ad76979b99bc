"""Writes what a results folder is read as, from its records: tables, page, and all cells as CSV and Parquet."""

import gc
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.export import CellExport
from harness.page import PAGE
from harness.places import PROJECT
from harness.records import read_records, write_whole
from harness.tables import render_markdown
from workloads.errors import UserError

TABLES = "README.md"


def write_report(results: Path) -> list[Path]:
    """Write tables, page and cells of a results folder and return their paths.

    Each file is there whole or as it was. Raises UserError for a path that is no folder, for a record that cannot be
    read, and where a file cannot be written.
    """
    if not results.is_dir():
        raise UserError(f"results {results} is no folder; accepted: a folder of records. Name it with --results.")
    with _uncollected(), _page_process(results) as page:
        cells = CellExport()
        tables = render_markdown(cells.collect(read_records(results)))
        write_whole(results / TABLES, tables)
        written = cells.write(results)
        _, told = page.communicate()
    if page.returncode == 2:
        raise UserError(told.strip())
    if page.returncode:
        raise RuntimeError(f"the page of {results} could not be made: {told}")
    return [results / TABLES, results / PAGE, *written]


@contextmanager
def _page_process(results: Path) -> Iterator[subprocess.Popen[str]]:
    """Have the page written meanwhile; if nobody waits for it in the end, it is not written."""
    whole = results.resolve()
    command = [sys.executable, "-m", "harness.page_process", str(whole), _in_short(results)]
    with subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leave out the collector of cycles: records are trees, in which it would search again and again for nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _in_short(folder: Path) -> str:
    """Return a folder as commands name it: within the project from there, elsewhere as it was given."""
    whole = folder.resolve()
    return str(whole.relative_to(PROJECT)) if whole.is_relative_to(PROJECT) else str(folder)
