"""How charts look: a colour, a shape and a dash for each tool, colours of the ledger's parts, light and dark."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frameworks import FLOOR


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a tool is drawn in every chart: no two share a colour or a shape."""

    colour: str
    shape: str
    dash: tuple[int, int]


SOLID, DASHED, DOTTED = (1, 0), (6, 3), (2, 2)
STAR = "M0,-1L.28,-.39L.95,-.31L.45,.15L.59,.81L0,.48L-.59,.81L-.45,.15L-.95,-.31L-.28,-.39Z"

LOOKS: Mapping[str, Look] = {
    "tensorflow": Look(colour="#da6310", shape="circle", dash=SOLID),
    "tensorflow-xla": Look(colour="#b4431f", shape="triangle-up", dash=DOTTED),
    "keras-tensorflow": Look(colour="#de8f1a", shape="triangle-down", dash=DASHED),
    "torch": Look(colour="#c84494", shape="square", dash=SOLID),
    "torch-compile": Look(colour="#903b97", shape="triangle-right", dash=DOTTED),
    "keras-torch": Look(colour="#e974ad", shape="triangle-left", dash=DASHED),
    "jax": Look(colour="#007ecc", shape="diamond", dash=SOLID),
    "keras-jax": Look(colour="#22ace1", shape=STAR, dash=DASHED),
    "mxnet": Look(colour="#009373", shape="cross", dash=SOLID),
    FLOOR: Look(colour="#9b9b9b", shape="wedge", dash=DOTTED),
}
"""A hue for each framework; its compiled form is darker and dotted, Keras on it lighter and dashed.

Each colour has a contrast of 2.4 or more to both backgrounds (WCAG 2.2), so that one serves light and dark.
"""
OTHER = "other"
"""What stands for all tools that records name and this version does not know."""
OTHER_LOOK = Look(colour="#787878", shape="stroke", dash=SOLID)

PART_COLOURS: Mapping[str, str] = {
    "start": "#8c8c8c",
    "import": "#2f6db5",
    "device": "#6fb1e8",
    "data": "#17847a",
    "weights": "#6cc4b4",
    "build": "#6b770e",
    "first step": "#e3a008",
    "train": "#cf4a0c",
    "checks": "#d98cb3",
    "evaluate": "#8456a8",
    "end": "#b3b3b3",
    "other": "#666666",
}
"""Neighbours in the ledger differ in lightness too, for those who do not see the difference of hue."""
MUTED = "#8a8a8a"
"""What is not compared: unproven tools and the floor."""

BACKGROUNDS = {False: "#ffffff", True: "#16181d"}


def theme(dark: bool) -> dict[str, Any]:
    """Return the Vega config of one of the two themes; specs themselves hold no colour of text, axes or background."""
    ink, faint, grid = ("#e6e6e6", "#b4b7bd", "#33363d") if dark else ("#1f2328", "#57606a", "#e4e7eb")
    background = BACKGROUNDS[dark]
    return {
        "background": background,
        "font": "system-ui, sans-serif",
        "title": {
            "color": ink,
            "fontSize": 13,
            "fontWeight": "normal",
            "subtitleColor": faint,
            "subtitleFontSize": 12,
            "subtitlePadding": 4,
            "anchor": "start",
            "frame": "bounds",
            "offset": 10,
        },
        "axis": {
            "labelColor": faint,
            "titleColor": faint,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "domainColor": faint,
            "tickColor": faint,
            "gridColor": grid,
            "labelOverlap": "greedy",
        },
        "legend": {"labelColor": ink, "labelFontSize": 12, "symbolSize": 70, "rowPadding": 4, "columnPadding": 14},
        "style": {"cell": {"stroke": "transparent"}},
        "signals": [{"name": "ink", "value": ink}, {"name": "paper", "value": background}],
    }
