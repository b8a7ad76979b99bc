"""Takes README's pictures of the page: `python -m docs.picture`, with a Chromium at hand."""

import tempfile
from pathlib import Path

from harness.drawing import make_drawing
from harness.page import render_page, to_page_rows
from harness.places import PROJECT
from harness.records import read_records
from tests.browser import start_browser

RECORDS = "results-rigorous"
PICTURES = {"heat": "page.png", "charts": "charts.png"}
"""By the part of the page that a picture shows with its heading: the picture's name."""
SECTION = "section:has(#{})"


def main() -> None:
    """Write the pictures, of the page of committed records."""
    with tempfile.TemporaryDirectory() as scratch, start_browser() as browser:
        page = Path(scratch) / "index.html"
        page.write_text(
            render_page(to_page_rows(read_records(PROJECT / RECORDS), RECORDS), make_drawing()), encoding="utf-8"
        )
        browser.open(page, width=900)
        for part, name in PICTURES.items():
            (PROJECT / "docs" / name).write_bytes(browser.find(SECTION.format(part)).screenshot_as_png)


if __name__ == "__main__":
    main()
