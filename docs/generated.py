"""Renews what is generated in README.md and docs: the tables of committed records, the columns of all cells.

    python -m docs.generated

Such a part stands between `<!-- generated: WHAT ... -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable, Mapping

from harness.captions import describe_peaks, describe_table
from harness.columns import COLUMNS
from harness.frames import to_frame
from harness.markdown import Notes, to_markdown
from harness.places import PROJECT
from harness.records import read_records, write_whole
from harness.tool_tables import tool_table

PAGES = (PROJECT / "README.md", PROJECT / "docs" / "results.md")
GENERATED = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def renew(text: str) -> str:
    """Return a text with its generated parts as they are now."""
    return GENERATED.sub(lambda found: f"{found[1]}\n{_make(*found[2].split())}\n\n{found[3]}", text)


def _make(what: str, *arguments: str) -> str:
    return MAKERS[what](*arguments)


def measured_table(folder: str, suite: str, model: str) -> str:
    """Return the table of one model's training on the CPU of a machine, its folder given, with notes and caption.

    Raises ValueError if it was not run.
    """
    rows = [
        row
        for row in to_frame(read_records(PROJECT / folder)).to_dict("records")
        if (row["suite"], row["model"], row["device"], row["measure"]) == (suite, model, "cpu", "epochs") and row["ran"]
    ]
    if not rows:
        raise ValueError(f"{folder} holds no training of {model!r} of suite {suite}")
    notes = Notes()
    table = to_markdown(tool_table(rows, notes))
    return "\n".join([table, "", *notes.lines(), describe_table(rows), "", *describe_peaks(rows)]).rstrip()


def column_table() -> str:
    """Return what the columns of `cells.csv` and `cells.parquet` mean."""
    lines = [f"| `{column.name}` | {column.kind} | {column.meaning} |" for column in COLUMNS]
    return "\n".join(["| Column | Kind | Meaning |", "|:--|:--|:--|", *lines])


MAKERS: Mapping[str, Callable[..., str]] = {"measured": measured_table, "columns": column_table}

if __name__ == "__main__":
    for page in PAGES:
        write_whole(page, renew(page.read_text(encoding="utf-8")))
