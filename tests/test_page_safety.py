"""What records must not do to the page, what the page must not do, and that what it says to run can be run."""

import random
import select
import shlex
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from harness.command_line import parse_arguments
from harness.drawing import Drawing
from harness.page import page_data, to_page_rows
from harness.plan import load_matrix
from harness.plan import select as select_cells
from harness.records import Record
from tests.browser import Browser
from tests.helpers import make_cell, make_content, make_step_content
from tests.pages import HOSTILE, hostile_records, records_of_every_kind, write_page


def test_the_page_says_nothing_to_the_console_and_asks_no_host(browser: Browser, page: Path) -> None:
    browser.open(page)
    for metric in ("error_pct", "gpu_pct", "speed"):
        browser.click(f"#metric input[value={metric}]")
    browser.click("#heat tbody button")
    said, asked = browser.logs()
    assert said == []
    assert [address for address in asked if address not in (page.as_uri(), "about:blank")] == []
    assert page.as_uri() in asked


def test_what_would_be_loaded_is_refused(browser: Browser, page: Path) -> None:
    browser.open(page)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        browser.run("document.body.append(Object.assign(new Image(), {src: `${arguments[0]}/x.png`}))", address)
        browser.run("fetch(`${arguments[0]}/y`).catch(() => { window.refused = 1 })", address)
        browser.wait("return window.refused")
        assert select.select([server], [], [], 0) == ([], [], [])
    browser.run(
        "const s = document.createElement('script'); s.textContent = 'window.harmed = 1'; document.body.append(s)"
    )
    assert browser.run("return window.harmed") is None


def test_a_hash_that_says_nonsense_is_the_first_view(browser: Browser, page: Path) -> None:
    browser.open(page)
    expected = browser.texts("main")
    browser.open(page, "#metric=__proto__&view=x&cell=1&page=-3&columns=x&theme=y&sort=constructor&chart=z&toString=1")
    assert browser.texts("main") == expected
    assert "toString" not in browser.find("#link").get_attribute("href")
    assert browser.logs()[0] == []


def test_hostile_texts_of_a_record_are_shown_and_do_nothing(browser: Browser, tmp_path: Path) -> None:
    browser.open(write_page(tmp_path / "index.html", hostile_records()))
    browser.run("document.querySelector('#heat tbody button').click()")
    assert browser.run("return window.harmed") is None
    assert (
        browser.run("return document.querySelectorAll('main script, main img, dialog script, dialog img').length") == 0
    )
    assert HOSTILE in browser.texts("#heat tbody th")
    assert browser.texts("dialog dt").count(HOSTILE) >= 1
    for selector in ("#view option", "#details-title", "dialog"):
        assert HOSTILE in browser.texts(selector)[0]
    browser.press(Keys.ESCAPE)
    browser.run("[...document.querySelectorAll('#heat .hatched')].at(-1).click()")
    assert f"{HOSTILE}: {HOSTILE}" in browser.texts("dialog")[0]
    assert browser.logs()[0] == []


def commands_of(contents: list[dict[str, Any]]) -> list[str]:
    """The commands of all cells of a page."""
    rows = to_page_rows((Record(content=content) for content in contents), "results")
    packed = page_data(rows, Drawing(library="", charts={}))["cells"]["columns"]["command"]
    if isinstance(packed, list):
        return packed
    return [packed["all"]] if "all" in packed else [packed["of"][place] for place in packed["at"]]


def test_the_command_of_every_cell_is_one_that_the_runner_reads() -> None:
    contents = records_of_every_kind()
    contents[0]["cell"]["model"] = contents[0]["cell"]["model"] + " x='; rm -rf"
    old = make_content(make_cell("torch", seed=3), [1.0])
    old["cell"]["workload"] |= {"name": None}
    old["cell"]["model"] += " x='; rm -rf"
    for command in (commands := commands_of([*contents, old])):
        python, script, *arguments = shlex.split(command)
        chosen = parse_arguments(arguments)
        assert (python, script) == ("python", "runner.py")
        assert chosen.command == "replay" or "tool=" in chosen.only[0]
    assert any("--only=epochs=9" in command for command in commands)
    assert any("replay" in command for command in commands)


@pytest.mark.parametrize("matrix", [Path("matrix.yaml"), *sorted(Path("matrices").glob("*.yaml"))], ids=str)
def test_the_command_of_a_cell_that_cannot_be_replayed_selects_it_from_its_matrix(matrix: Path) -> None:
    cells = [cell for cell in load_matrix(matrix) if cell.repeat == 0]
    for chosen in random.Random(0).sample(cells, min(len(cells), 40)):
        content = make_content(chosen, [1.0]) if chosen.steps is None else make_step_content(chosen, [1.0] * 200)
        (command,) = commands_of([content | {"status": "crashed", "reason": "gone"}])
        selected = select_cells(cells, parse_arguments(shlex.split(command)[2:]).only)
        assert chosen in selected
        # What a net has by default no option can name: nets with more parameters chosen are selected with it.
        like_it = [cell for cell in selected if len(cell.workload.parameters) <= len(chosen.workload.parameters)]
        assert {replace(cell, cores=None, steps=None) for cell in like_it} == {replace(chosen, cores=None, steps=None)}


def test_no_records_are_said(browser: Browser, tmp_path: Path) -> None:
    browser.open(write_page(tmp_path / "index.html", []))
    assert "No records yet" in browser.find("body").text
    assert browser.logs()[0] == []
