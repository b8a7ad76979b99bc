"""Made-up records against the words that stand in their pictures; hostile ones must do no harm."""

import copy
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.audit import no_verdict
from harness.chart_theme import LOOKS
from harness.charts import chart_specs
from harness.pictures import Picture, file_name, make_pictures, render_svg, write_pictures
from harness.plan import Steps
from harness.records import PARTIAL, Record
from tests.helpers import make_cell, make_content, make_step_cell, make_step_content
from tests.test_chart_rows import rows_of, swept
from workloads.errors import UserError

GOLDEN = Path(__file__).parent / "golden" / "pictures.txt"
HOSTILE = "</text><script>alert(1)</script>\"'&amp;]]><!-- \u202edlrow|\u0007\nx"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def specs() -> dict[str, dict[str, Any]]:
    return chart_specs()


def records_of_every_kind() -> list[dict[str, Any]]:
    """Epochs with repeats, checks, series, a failure, no proof and a floor; steps; two sizes on two devices."""
    contents = [make_content(make_cell("torch", repeat=run), [4.0 + run, 2.0], checks=[0.2, 0.05]) for run in range(2)]
    contents += [
        make_content(make_cell("tensorflow-xla"), [9.0, 1.0], checks=[0.25, 0.04]),
        make_content(make_cell("mxnet"), [1.0, 1.0], verdict=no_verdict("the proof's process ended")),
        make_content(make_cell("jax"), [1.0], status="timeout", reason="too slow"),
        make_content(make_cell("null"), [0.001, 0.001], error_rate=0.9),
    ]
    series = {"at_s": [0.0, 1.0, 2.0], "cpu_s": [0.0, 1.0, 3.0], "rss_mib": [100.0, 200.0, 300.0], "gpus": []}
    contents[0]["utilisation"]["series"] = series
    two = {"steps": Steps(warmup=1, timed=2)}
    contents.append(make_step_content(make_step_cell("keras-jax", **two), [9.0, 0.125, 0.25]))
    contents += swept({"torch": [1.0, 8.0]}, units=(8, 128)) + swept(
        {"torch": [2.0, 3.0]}, units=(8, 128), device="gpu"
    )
    return contents


def words_of(svg: str) -> list[str]:
    """The texts of a picture, in the order in which they stand in it."""
    return [text for one in parse(svg).iter(f"{SVG}text") if (text := " ".join(one.itertext()))]


def parse(svg: str) -> ElementTree.Element:
    """A picture as a tree; it raises ParseError for what is no XML."""
    return ElementTree.fromstring(svg)  # noqa: S314


@pytest.fixture(scope="module")
def drawn(specs) -> list[tuple[Picture, str]]:
    """The pictures of records of every kind, as SVG."""
    pictures = make_pictures(rows_of(records_of_every_kind()))
    return [(picture, render_svg(specs[picture.chart], picture)) for picture in pictures]


def test_pictures_hold_the_words_they_should(drawn):
    shown = [[file_name(picture), *words_of(svg), ""] for picture, svg in drawn]
    assert "\n".join(line for lines in shown for line in lines) == GOLDEN.read_text(encoding="utf-8")


def test_no_number_is_missing_in_words(drawn):
    assert not [word for _, svg in drawn for word in words_of(svg) if word in ("undefined", "NaN", "Infinity")]


def test_a_tool_has_its_colour_in_every_chart_whoever_else_is_in_it(specs, drawn):
    shown = {one.chart: (one, svg) for one, svg in drawn if any(row["tool"] == "torch" for row in one.rows["rows"])}
    assert set(shown) == {"bars", "crossover", "curves_epochs", "curves_seconds", "ledger", "utilisation"}
    del shown["ledger"]
    for picture, svg in shown.values():
        alone = render_svg(specs[picture.chart], _without_others(picture))
        filled = f'fill="{LOOKS["torch"].colour}"'
        assert filled in svg
        assert filled in alone
        assert LOOKS["tensorflow-xla"].colour not in alone


def _without_others(picture: Picture) -> Picture:
    rows = [row for row in picture.rows["rows"] if row["tool"] == "torch"]
    return Picture(**{**vars(picture), "rows": {**picture.rows, "rows": rows}})


def test_hostile_words_do_no_harm(specs):
    contents = records_of_every_kind()
    for content in contents:
        content["host"] = {**content["host"], "cpu": HOSTILE, "machine": "../../" + HOSTILE}
        content["cell"] |= {"model": HOSTILE + content["cell"]["model"]}
        content["reason"] = content["reason"] and HOSTILE
    contents += [copy.deepcopy(contents[0])]
    contents[-1]["cell"]["tool"] = HOSTILE
    seen = False
    for picture in {one.chart: one for one in make_pictures(rows_of(contents))}.values():
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.=_-]*\.svg", file_name(picture))
        tree = parse(render_svg(specs[picture.chart], picture))
        drawn = {"svg", "g", "path", "text", "tspan", "rect", "line", "defs", "clipPath"}
        assert {one.tag.removeprefix(SVG) for one in tree.iter()} <= drawn
        assert not [name for one in tree.iter() for name in one.attrib if name.startswith("on") or "href" in name]
        seen |= any("<script>" in "".join(one.itertext()) for one in tree.iter(f"{SVG}text"))
    assert seen, "the words are shown, as words"


def test_a_tool_of_another_version_is_drawn_as_other(specs):
    contents = [make_content(make_cell("torch"), [2.0, 1.0]), make_content(make_cell("torch"), [2.0, 2.0])]
    contents[1]["cell"]["tool"] = "theano"
    of_loss = [one for one in make_pictures(rows_of(contents)) if one.chart == "curves_epochs"]
    words = words_of(render_svg(specs["curves_epochs"], of_loss[0]))
    assert {"torch", "other"} <= set(words)
    assert "theano" not in words


def test_pictures_are_written_whole_and_under_the_same_names_again(tmp_path):
    records = [Record(content=make_content(make_cell("torch"), [2.0, 1.0]))]
    paths = write_pictures(records, tmp_path / "new")
    assert len(set(paths)) == len(paths) > 1
    first = {path: path.read_bytes() for path in paths}
    assert write_pictures(records, tmp_path / "new") == paths
    assert {path: path.read_bytes() for path in paths} == first
    assert not list(tmp_path.glob(f"**/{PARTIAL}*"))


def test_no_records_make_no_pictures(tmp_path):
    assert write_pictures([], tmp_path / "none") == []


def test_a_folder_that_takes_no_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written"):
        write_pictures([Record(content=make_content(make_cell("torch"), [1.0]))], tmp_path / "file")


def test_two_nets_whose_names_look_alike_in_a_file_name_have_files_of_their_own(tmp_path):
    contents = [make_content(make_cell("torch"), [1.0]) for _ in range(2)]
    for content, name in zip(contents, ["net|a", "net/a"], strict=True):
        content["cell"]["model"] = name
    paths = write_pictures([Record(content=one) for one in contents], tmp_path)
    assert len(set(paths)) == len(paths)
