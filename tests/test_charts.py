"""The definitions of charts: what the page and pictures rely on."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from frameworks import TOOLS
from harness.chart_theme import BACKGROUNDS, LOOKS, MUTED, OTHER_LOOK, PART_COLOURS, theme
from harness.charts import CHARTS, chart_specs
from harness.ledger_tables import mean_parts
from tests.helpers import make_cell, make_content
from tests.test_chart_rows import rows_of


@pytest.fixture(scope="module")
def specs() -> dict[str, dict[str, Any]]:
    return chart_specs()


def test_every_chart_is_a_vega_spec_that_waits_for_rows(specs):
    assert list(specs) == list(CHARTS)
    for spec in specs.values():
        assert spec["$schema"] == "https://vega.github.io/schema/vega/v6.json"
        assert spec["description"]
        waiting = [data["name"] for data in spec["data"] if "source" not in data]
        assert waiting == (["rows", "crossings"] if spec is specs["crossover"] else ["rows"])
        assert not any("values" in data for data in spec["data"])


def test_no_chart_asks_a_host_for_anything(specs):
    for spec in specs.values():
        found = [(key, text) for key, text in _strings(spec) if "://" in text or key in ("url", "href")]
        assert found == [("$schema", spec["$schema"])]


def test_what_the_values_of_a_chart_are_is_a_signal(specs):
    for name, spec in specs.items():
        signal = "axis_title" if name == "bars" else "y_title"
        assert spec["title"]["text"] == {"signal": signal}
        assert {"name": signal, "value": ""} in spec["signals"]


def test_a_chart_is_as_wide_as_its_container(specs):
    for spec in specs.values():
        assert spec["autosize"] == {"type": "fit-x", "contains": "padding"}
        assert "containerSize()" in next(one["init"] for one in spec["signals"] if one["name"] == "width")


def test_colours_of_text_and_background_are_the_themes_alone(specs):
    for spec in specs.values():
        assert "background" not in spec
        assert "config" not in spec
        drawn = {text for _, text in _strings(spec) if text.startswith("#") or text in ("black", "white")}
        assert drawn <= {*PART_COLOURS.values()}


def test_every_tool_has_a_colour_and_a_shape_of_its_own():
    assert list(LOOKS) == list(TOOLS)
    looks = [*LOOKS.values(), OTHER_LOOK]
    assert len({look.colour for look in looks}) == len({look.shape for look in looks}) == len(looks)


def test_colours_are_as_they_were_published():
    """A tool's colour is what readers know it by: who changes one here means to."""
    assert {tool: look.colour for tool, look in LOOKS.items()} == {
        "tensorflow": "#da6310",
        "tensorflow-xla": "#b4431f",
        "keras-tensorflow": "#de8f1a",
        "torch": "#c84494",
        "torch-compile": "#903b97",
        "keras-torch": "#e974ad",
        "jax": "#007ecc",
        "keras-jax": "#22ace1",
        "mxnet": "#009373",
        "null": "#9b9b9b",
    }


@pytest.mark.parametrize("dark", [False, True])
def test_every_colour_stands_out_from_the_background(dark):
    background = theme(dark)["background"]
    assert background == BACKGROUNDS[dark]
    for colour in [look.colour for look in LOOKS.values()] + [*PART_COLOURS.values(), MUTED]:
        assert _contrast(colour, background) >= 2, colour
    for text in (theme(dark)["title"]["color"], theme(dark)["axis"]["labelColor"], theme(dark)["legend"]["labelColor"]):
        assert _contrast(text, background) >= 4.5, text


def test_every_part_of_the_ledger_has_a_colour_in_the_ledgers_order():
    (row,) = rows_of([make_content(make_cell("torch"), [2.0, 1.0])])
    assert list(PART_COLOURS) == list(mean_parts(row))


def test_neighbours_in_the_ledger_differ_in_lightness():
    colours = list(PART_COLOURS.values())
    for one, other in pairwise(colours):
        assert _contrast(one, other) >= 1.3, (one, other)


def test_places_are_told_apart_by_the_width_of_their_lines(specs):
    line = specs["crossover"]["marks"][0]["marks"][0]
    assert line["encode"]["update"]["strokeWidth"] == {"scale": "strokeWidth", "field": "place"}


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a spec with the name under which it stands."""
    match value:
        case dict():
            for name, part in value.items():
                yield from _strings(part, name)
        case list():
            for part in value:
                yield from _strings(part, key)
        case str():
            yield key, value


def _contrast(one: str, other: str) -> float:
    """The ratio of contrast of WCAG 2.2."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
