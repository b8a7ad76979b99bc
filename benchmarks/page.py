"""How large the page of many records is, and how long it takes to open and to sort in chromium.

    python -m benchmarks.page [--records N]

Every record is a cell of its own: half of them of 50 epochs, half of 100 steps. Prints the page's size, what making it
took, and medians of RUNS: from the start of the navigation until tables are drawn, until charts are; a sort, a metric
and a search, each until the next frame is drawn.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.scale import MEASURES, make_content, write_matrix
from harness.drawing import make_drawing
from harness.host import describe_host
from harness.page import render_page, to_page_rows
from harness.plan import load_matrix
from harness.records import Record
from harness.session import plan_session
from tests.browser import Browser, start_browser

RUNS = 7
WATCH = """
  window.times = {};
  const note = (name) => { times[name] ??= performance.now(); };
  const frame = (name) => requestAnimationFrame(() => requestAnimationFrame(() => note(name)));
  const look = () => {
    if (document.documentElement?.dataset.ready) frame("tables");
    if (document.getElementById("charts")?.dataset.drawn) frame("charts");
  };
  new MutationObserver(look).observe(document, {subtree: true, attributes: true});
"""
TIMED = """
  const done = arguments[arguments.length - 1], began = performance.now();
  (new Function(arguments[0]))();
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
"""
ACTIONS = {
    "sort by time": "document.querySelector('#cells th[data-column=time] button').click()",
    "sort by tool": "document.querySelector('#cells th[data-column=tool] button').click()",
    "switch of metric": "document.querySelector('#metric input[value=speed]').click()",
    "search": "const s = document.getElementById('search'); s.value = 'jax gpu'; s.dispatchEvent(new Event('input'))",
}


def made_up_records(count: int, folder: Path) -> Iterator[Record]:
    """Yield so many made-up records, each of another cell."""
    host, stream = describe_host(), random.Random(0)
    for measure in MEASURES:
        cells = load_matrix(write_matrix(folder, count // 2, 1, measure))
        for item in plan_session(cells[: count // 2], host, [], fresh=True):
            yield Record(content=make_content(item, host, stream))


def measure_opening(browser: Browser, page: Path) -> dict[str, float]:
    """Return milliseconds from the start of the navigation until tables and charts are drawn."""
    browser.open(page)
    browser.wait("return times.charts")
    times: dict[str, float] = browser.run("return times")
    return times


def main() -> None:
    """Print size and times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=5000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, start_browser() as browser:
        page = Path(scratch) / "index.html"
        records = list(made_up_records(arguments.records, Path(scratch)))
        began = time.monotonic()
        page.write_text(render_page(to_page_rows(records, "results"), make_drawing()), encoding="utf-8")
        made_s = time.monotonic() - began
        print(f"page of {len(records)} records: {page.stat().st_size / 2**20:.2f} MiB, made in {made_s:.1f} s")
        browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        browser.driver.set_script_timeout(60)
        opened = [measure_opening(browser, page) for _ in range(RUNS)]
        for name in ("tables", "charts"):
            print(f"opened, {name} drawn: {statistics.median(one[name] for one in opened):.0f} ms")
        for name, action in ACTIONS.items():
            taken = []
            for _ in range(RUNS):
                browser.open(page)
                taken.append(browser.driver.execute_async_script(TIMED, action))
            print(f"{name}: {statistics.median(taken):.0f} ms")


if __name__ == "__main__":
    main()
