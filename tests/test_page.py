"""The page in a real browser: what people do on it and what they see then."""

import re
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from harness.charts import chart_specs
from harness.pictures import make_pictures, render_svg
from tests.browser import DRAWN, Browser
from tests.helpers import make_cell, make_content
from tests.pages import STATUSES, TIMES, many_cells, nets_of_three_sizes, write_page
from tests.test_chart_rows import rows_of
from workloads import make_workload

ROWS = "#cells tbody tr"


def column(browser: Browser, name: str) -> list[str]:
    """The texts of a column of the table."""
    place = browser.run(
        "return [...document.querySelectorAll('#cells thead th')].map((th) => th.dataset.column).indexOf(arguments[0])",
        name,
    )
    return browser.texts(f"{ROWS} :nth-child({place + 1} of th, td)")


def heat_text(browser: Browser, tool: str, column: int = 0) -> str:
    """The text of a cell of the heat map."""
    script = """
      const rows = [...document.querySelectorAll("#heat tbody tr")];
      const row = rows.find((tr) => tr.cells[0].textContent === arguments[0]);
      return row.cells[1 + arguments[1]].textContent"""
    text: str = browser.run(script, tool, column)
    return text


ONLY_CNN = "#model=digits-cnn+epochs%3D2&place=CPU%2C+2+cores&measure=epochs"


def test_a_click_on_a_head_sorts_and_another_turns_it_round(browser: Browser, page: Path) -> None:
    browser.open(page, ONLY_CNN)
    browser.click("#cells th[data-column=tool] button")
    assert column(browser, "tool") == sorted([*TIMES, "null", "keras-torch"])
    assert browser.find("#cells th[data-column=tool]").get_attribute("aria-sort") == "ascending"
    browser.click("#cells th[data-column=tool] button")
    assert column(browser, "tool") == sorted([*TIMES, "null", "keras-torch"], reverse=True)
    assert browser.find("#cells th[data-column=tool]").get_attribute("aria-sort") == "descending"


def test_what_is_compared_with_nothing_is_sorted_last_both_ways(browser: Browser, page: Path) -> None:
    for order, first in (("up", "jax"), ("down", "tensorflow")):
        browser.open(page, f"{ONLY_CNN}&sort=time&order={order}")
        tools = column(browser, "tool")
        assert (tools[0], set(tools[-2:])) == (first, {"null", "keras-torch"})


def test_a_filter_leaves_its_cells(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.getElementById('filter-tool').value = 'jax'")
    browser.run("document.getElementById('filter-tool').dispatchEvent(new Event('change'))")
    assert set(column(browser, "tool")) == {"jax"}
    assert browser.texts("#heat tbody th") == ["jax"]
    assert browser.find("#count").text.startswith(f"{len(browser.texts(ROWS))} of ")
    browser.click("#reset")
    assert set(column(browser, "tool")) > {"jax"}


def test_the_search_is_reached_by_a_key_and_finds_all_words(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.press("/")
    browser.press("WHY crashed")
    assert browser.find("#search").get_attribute("value") == "WHY crashed"
    assert column(browser, "time") == ["crashed"]
    browser.press("x")
    assert browser.texts(ROWS) == []


def test_the_switch_of_metrics_changes_what_the_map_shows(browser: Browser, page: Path) -> None:
    browser.open(page, ONLY_CNN)
    assert heat_text(browser, "jax") == "2.52 sbest"
    assert heat_text(browser, "torch") == "3.77 s†1.50 ×"
    browser.click("#metric input[value=error_pct]")
    assert heat_text(browser, "torch") == "3.00 %†1.50 ×"
    browser.click("#metric input[value=speed]")
    assert heat_text(browser, "jax") == "7.94 /sbest"
    assert heat_text(browser, "torch").endswith("1.50 ×")
    assert "metric=speed" in browser.run("return location.hash")


def test_what_is_not_proven_and_the_floor_are_hatched_and_the_floor_is_last(browser: Browser, page: Path) -> None:
    browser.open(page, ONLY_CNN)
    assert heat_text(browser, "keras-torch") == "1.00 snot proven"
    assert browser.texts("#heat tbody th")[-1] == "null"
    hatched = browser.run(
        "return [...document.querySelectorAll('#heat .hatched')].map((b) => b.closest('tr').cells[0].textContent)"
    )
    assert hatched == ["keras-torch", "null"]


def test_what_stands_alone_in_its_column_is_no_best(browser: Browser, page: Path) -> None:
    browser.open(page, "#place=GPU%2C+2+CPU+cores")
    assert heat_text(browser, "torch") == "1.50 salone"
    browser.click("#metric input[value=gpu_pct]")
    assert heat_text(browser, "torch") == "87.4 %"


def test_every_status_is_shown_with_its_reason(browser: Browser, page: Path) -> None:
    browser.open(page, "#tool=mxnet")
    assert set(STATUSES) <= set(browser.texts("#heat .hatched"))
    assert set(STATUSES) <= set(column(browser, "time"))
    for status in STATUSES:
        browser.run(
            f"[...document.querySelectorAll('#heat .hatched')].find((b) => b.textContent === '{status}').click()"
        )
        assert f"{status}: why {status}" in browser.find("dialog").text
        browser.press(Keys.ESCAPE)


def test_machines_are_never_in_one_view(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert len(browser.texts("#view option")) == 2
    assert "102 s" not in "".join(column(browser, "time"))
    browser.run("const s = document.getElementById('view'); s.selectedIndex = 1; s.dispatchEvent(new Event('change'))")
    assert column(browser, "time") == ["101 s"]
    assert heat_text(browser, "torch") == "101 salone"


def test_a_click_on_a_cell_shows_all_that_is_known_of_it(browser: Browser, page: Path) -> None:
    browser.open(page, ONLY_CNN)
    browser.click("#heat tbody tr:nth-child(2) button")
    text = browser.find("dialog").text
    assert browser.find("#details-title").text == "torch · digits-cnn epochs=2 · batch 32 · CPU, 2 cores"
    assert "others took up to 25 % of its cores in 1 of 5 runs" in text
    for part in (
        "S4",
        "python runner.py replay 'results/0123456789ab/torch_cpu_2c",
        "numpy",
        "3.11.7",
        "first step",
        "run 5",
    ):
        assert part in text
    browser.click("dialog details summary")
    assert browser.texts("dialog details[open] tbody tr") == ["13.001.0050.0", "23.751.0010.0"]


def test_a_run_that_failed_says_why_and_when(browser: Browser, page: Path) -> None:
    browser.open(page, "#tool=mxnet&status=crashed")
    browser.click("#cells tbody button")
    lines = dict(zip(browser.texts("dialog tbody th"), browser.texts("dialog tbody td:nth-child(2)"), strict=False))
    assert lines["reason"] == "why crashed"
    assert lines["finished (UTC)"] == "2026-01-01 00:00"


def test_one_of_something_is_no_several(browser: Browser, tmp_path: Path) -> None:
    content = make_content(make_cell("torch", workload=make_workload("digits-cnn", {"epochs": 1})), [1.0])
    browser.open(write_page(tmp_path / "index.html", [content]))
    browser.click("#cells tbody button")
    shown = "".join(browser.texts("header, main, dialog, footer"))
    assert "1 epoch, 1 of them shown" in shown
    assert "1 cell from 1 record." in shown
    assert not re.findall(r"\b1 (?:epochs|cells|records|GPUs)\b", shown)


def test_letters_of_ranks_stand_beside_bars_of_one_place_only(browser: Browser, tmp_path: Path) -> None:
    contents = [make_content(make_cell(t, repeat=run), [s + run / 10]) for t, s in TIMES.items() for run in range(5)]
    browser.open(write_page(tmp_path / "one.html", contents))
    assert len(letters(browser)) == 4
    contents += [make_content(make_cell("torch", device="gpu", repeat=run), [1.0], gpu_pct=50.0) for run in range(5)]
    browser.open(write_page(tmp_path / "two.html", contents))
    assert "torch · GPU, 2 CPU cores" in browser.texts("#chart-bars svg text")
    assert letters(browser) == []


def letters(browser: Browser) -> list[str]:
    """The texts beside bars that hold letters of a rank."""
    return [text for text in browser.texts("#chart-bars svg text") if re.search(r"\d \([a-z]+\)$", text)]


def of_rows(label: str) -> bool:
    """Whether a label in a chart is that of a row or names all bars in their order: not of a legend or a title."""
    return "seconds: " in label or label.startswith("Y-axis for a discrete scale")


def test_the_page_draws_of_a_cell_what_pictures_draw(browser: Browser, tmp_path: Path) -> None:
    contents = nets_of_three_sizes()
    contents += [make_content(make_cell("torch", repeat=run), [4.0 + run, 2.0]) for run in range(2)]
    contents[-1]["time"] |= {"start_s": None, "train_s": 1000.0}
    contents.append(make_content(make_cell("null"), [0.001]))
    pictures = [one for one in make_pictures(rows_of(contents)) if one.chart in ("ledger", "crossover")]
    specs = chart_specs()
    path = write_page(tmp_path / "index.html", contents)
    for picture in pictures:
        browser.open(path)
        of = "units=16" if picture.chart == "crossover" else picture.caption.split(",")[0]
        browser.run(CHOOSE, of)
        browser.wait(DRAWN)
        marks = f"return [...document.querySelectorAll('#chart-{picture.chart} svg [role=graphics-symbol]')]"
        drawn = browser.run(f"{marks}.map((mark) => mark.ariaLabel)")
        labels = re.findall('aria-label="([^"]*)"', render_svg(specs[picture.chart], picture))
        assert sorted(filter(of_rows, drawn)) == sorted(filter(of_rows, labels))
    assert len(pictures) == 5


def test_the_dialog_takes_the_focus_and_gives_it_back(browser: Browser, page: Path) -> None:
    browser.open(page, ONLY_CNN)
    browser.run("document.querySelector('#cells tbody button').focus()")
    browser.press(Keys.ENTER)
    assert browser.run("return document.activeElement.textContent") == "Close"
    browser.press(Keys.ESCAPE)
    # A dialog says that it is closed after it is.
    browser.wait("return !location.hash.includes('cell=')")
    assert not browser.run("return document.getElementById('details').open")
    assert browser.run("return document.activeElement.closest('#cells') !== null")


def test_a_link_shows_the_view_again(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click("#metric input[value=error_pct]")
    browser.click("#theme input[value=dark]")
    browser.press("/", "digits-cnn")
    browser.click("#cells th[data-column=error_pct] button")
    browser.click("#cells th[data-column=error_pct] button")
    browser.click("#heat tbody button")
    told = "return [location.hash, ...['main', 'dialog'].map((name) => document.querySelector(name).textContent)]"
    browser.wait("return document.querySelector('#details').open")
    before = browser.run(told)
    browser.open(page, before[0])
    assert browser.run(told) == before
    assert browser.run("return document.documentElement.dataset.theme") == "dark"


def background(browser: Browser) -> str:
    color: str = browser.run("return getComputedStyle(document.body).backgroundColor")
    return color


def test_dark_and_light_follow_the_system_and_the_switch(browser: Browser, page: Path) -> None:
    browser.open(page)
    prefer = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    try:
        light = background(browser)
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", prefer)
        dark = background(browser)
        assert light != dark
        browser.click("#theme input[value=light]")
        assert background(browser) == light
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.click("#theme input[value=dark]")
    assert background(browser) == dark


CONTRAST = """
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return [...document.querySelectorAll("#legend .key")].map((key) => {
    const {color, backgroundColor} = getComputedStyle(key);
    const [low, high] = [luminance(color), luminance(backgroundColor)].sort((one, other) => one - other);
    return (high + 0.05) / (low + 0.05);
  });
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_on_every_colour_of_the_map_has_the_contrast_that_wcag_asks_for(
    browser: Browser, page: Path, theme: str
) -> None:
    browser.open(page, f"#theme={theme}")
    contrasts = browser.run(CONTRAST)
    assert len(contrasts) == 8
    assert min(contrasts) >= 4.5


def test_arrow_keys_move_in_the_map_and_tab_enters_it_once(browser: Browser, page: Path) -> None:
    browser.open(page, ONLY_CNN.replace("measure=epochs", ""))
    assert browser.run("return document.querySelectorAll('#heat tbody [tabindex=\"0\"]').length") == 1
    browser.run("document.querySelector('#heat tbody button').focus()")
    where = "const td = document.activeElement.closest('td'); return [td.parentNode.sectionRowIndex, td.cellIndex]"
    places = []
    for key in (Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_UP, Keys.ARROW_UP):
        browser.press(key)
        places.append(browser.run(where))
    assert places == [[1, 1], [1, 2], [1, 1], [0, 1], [0, 1]]
    assert browser.run("return document.querySelectorAll('#heat tbody [tabindex=\"0\"]').length") == 1
    browser.press(Keys.ENTER)
    assert browser.run("return document.getElementById('details').open")


CHOOSE = """
  const select = document.getElementById("chart-of");
  select.value = [...select.options].find((option) => option.textContent.includes(arguments[0])).value;
  select.dispatchEvent(new Event("change"));
"""


def test_charts_are_drawn_where_there_is_something_to_draw(browser: Browser, page: Path) -> None:
    browser.open(page)
    shown = "return [...document.querySelectorAll('figure:has(svg path)')].map((one) => one.id.replace('chart-', ''))"
    assert browser.run(shown) == ["bars", "curves_epochs", "curves_seconds", "ledger", "cpu", "gpu", "memory"]
    browser.click("#curve input[value=error]")
    browser.wait("return document.querySelector('#chart-curves_epochs svg').textContent.includes('error rate')")
    browser.run(CHOOSE, "train steps")
    browser.wait(
        "return document.querySelector('#chart-steps svg') && document.getElementById('chart-curves_epochs').hidden"
    )
    browser.run(CHOOSE, "units=16")
    browser.wait("return document.querySelector('#chart-crossover svg path')")
    assert "jax from" in browser.find("#chart-crossover").get_attribute("textContent")


CHANGE_AFTER_THE_FIRST = """
  const done = arguments[arguments.length - 1];
  const first = () => document.querySelector("#chart-bars svg"), before = first();
  document.querySelector("input[value=dark]").click();
  const timer = setInterval(() => {
    if (!first() || first() === before) return;
    clearInterval(timer);
    for (const value of ["error_pct", "error"]) document.querySelector(`input[value=${value}]`).click();
    done();
  });
"""


def test_what_is_changed_while_charts_are_drawn_loses_no_chart(browser: Browser, page: Path) -> None:
    browser.open(page, "#theme=light")
    browser.driver.execute_async_script(CHANGE_AFTER_THE_FIRST)
    browser.wait(DRAWN)
    backgrounds = "return [...document.querySelectorAll('figure svg')].map((svg) => svg.style.backgroundColor)"
    assert len(browser.run(backgrounds)) == 7
    assert len(set(browser.run(backgrounds))) == 1
    assert "Error (%)" in browser.find("#chart-bars").text
    assert "error rate" in browser.find("#chart-curves_seconds").text


def test_the_page_is_no_wider_than_a_phone(browser: Browser, page: Path) -> None:
    browser.open(page, width=390)
    assert browser.run("return document.documentElement.scrollWidth") == 390
    assert browser.run("return document.querySelector('#cells').scrollWidth") > 390
    browser.run("document.querySelector('#heat tbody button').click()")
    assert browser.run("return document.getElementById('details').getBoundingClientRect().right") <= 390


def test_a_long_table_is_shown_page_by_page_and_printed_whole(browser: Browser, tmp_path: Path) -> None:
    browser.open(write_page(tmp_path / "index.html", many_cells()))
    assert len(browser.texts(ROWS)) == 100
    browser.click("#table-pager button:last-child")
    browser.click("#table-pager button:last-child")
    assert len(browser.texts(ROWS)) == 50
    assert browser.find("#table-pager button:last-child").get_property("disabled")
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert len(browser.texts(ROWS)) == len(browser.texts("#heat tbody button")) == 250
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert len(browser.texts(ROWS)) == 50
