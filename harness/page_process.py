"""Writes the page in a process of its own, so that tables and cells are made on another core meanwhile.

    python -m harness.page_process RESULTS FOLDER

`FOLDER` is how commands name the results folder. Exit code 2 and a message for what a user can mend.
"""

import gc
import sys
from pathlib import Path

from harness.drawing import make_drawing
from harness.page import PAGE, render_page, to_page_rows
from harness.records import read_records, write_whole
from workloads.errors import UserError


def main(results: str, folder: str) -> int:
    """Write the page of a results folder."""
    # Records are trees, in which the collector of cycles would search again and again for nothing.
    gc.disable()
    try:
        rows = to_page_rows(read_records(Path(results)), folder)
        write_whole(Path(results) / PAGE, render_page(rows, make_drawing()))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
