"""The charts, each defined once: the page draws them and pictures are made of them.

A definition holds no rows: they are the data set `rows` (and `crossings`), put in by who draws it, in the form that
`chart_rows` and `crossover` type. What the values are is a signal: `axis_title` of bars, `y_title` of the others.
Colours of text and axes come from the theme.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import altair as alt
import vl_convert

from harness.chart_theme import LOOKS, MUTED, OTHER, OTHER_LOOK, PART_COLOURS

VALUE, TICK, COUNT = ",.3r", ",.3~r", ".3~s"
"""Formats of three significant digits: of values, of ticks, and of counts with k, M, G."""
INK, PAPER = alt.expr("ink"), alt.expr("paper")
"""Colours that the theme sets, as signals."""
FEWER_TICKS = alt.expr("max(2, ceil(width / 90))")
WHOLE = alt.Axis(
    format="d",
    grid=False,
    tickCount=alt.expr("min(ceil(width / 90), max(1, floor(domain('x')[1] - domain('x')[0])))"),
)
"""An axis of whole numbers, none of them twice."""
NAMES = alt.Axis(labelLimit=190, ticks=False, domain=False, labelPadding=6)
"""How tools stand beside bars."""
BAR_STEP_PX, LEDGER_STEP_PX, LABEL_PX = 26, 30, 110
"""Heights of rows, and room beside the longest bar for its number."""
WORDS_PX = 16
"""Height of the label of a crossing."""
ROOM = "isFinite(containerSize()[0]) ? containerSize()[0] + 0 * width : width"
"""The width of the container; `width` becomes that of the plot alone, by which a legend must not be laid out."""
TOOL_PX, PART_PX, PLACE_PX = 160, 120, 200
"""Room for one entry of a legend."""
FEW = alt.expr("datum.points <= 30 ? 45 : 0")
"""The size of the points of a curve: one of many shows none."""

AnyChart = TypeVar("AnyChart", alt.Chart, alt.LayerChart)


def bars() -> alt.LayerChart:
    """Return horizontal bars from 0 with their 95 % intervals, in the order of the rows; uncompared ones are grey."""
    rows = _with_looks(_over("rows").transform_joinaggregate(places="distinct(place)")).transform_calculate(
        label="datum.places > 1 ? datum.tool + ' · ' + datum.place : datum.tool",
        colour=f"datum.ranked ? datum.colour : '{MUTED}'",
        length="datum.value || 0",
        least="datum.low || datum.value || 0",
        most="datum.high || datum.value || 0",
        words=f"(datum.value == null ? datum.status : format(datum.value, '{VALUE}'))"
        " + (datum.rank && datum.rank != '–' ? ' (' + datum.rank + ')' : '')",
    )
    rows = rows.encode(
        y=alt.Y("label:N", sort=None, title=None, axis=NAMES),
        tooltip=_tooltip("tool", "place", "rank", "status", "note", value="value", low="from", high="to"),
    )
    axis = alt.Axis(format=TICK, tickCount=FEWER_TICKS)
    x = alt.X("length:Q", title=None, scale=_from_zero(), stack=None, axis=axis)
    bar = rows.mark_bar(cornerRadiusEnd=2, height=alt.RelativeBandSize(band=0.7))
    words = rows.mark_text(color=INK, align="left", dx=6, fontSize=12)
    layers = (
        bar.encode(x=x, color=alt.Color("colour:N", scale=None)),
        rows.mark_rule(color=INK, strokeWidth=1.5).encode(x="least:Q", x2="most:Q"),
        words.encode(x="most:Q", text="words:N"),
    )
    return _finished(_layered(*layers), "bars, best first", "axis_title", alt.Step(BAR_STEP_PX))


def _from_zero() -> alt.Scale:
    """Return a scale from 0 to the longest bar or interval, and LABEL_PX beyond it."""
    longest = "max(extent(pluck(data('rows'), 'value'))[1] || 0, extent(pluck(data('rows'), 'high'))[1] || 0) || 1"
    return alt.Scale(domainMin=0, domainMax=alt.expr(f"({longest}) * width / max(width - {LABEL_PX}, 1)"), nice=False)


def crossover() -> alt.LayerChart:
    """Return seconds against parameters of each tool and place, both logarithmic, with a ring where two lines cross."""
    rows = _with_looks(_over("rows")).transform_calculate(
        least="datum.low || datum.seconds", most="datum.high || datum.seconds"
    )
    rows = rows.encode(
        x=_logarithmic(alt.X("parameters:Q"), "x", "parameters of the net", COUNT),
        detail="line:N",
        tooltip=_tooltip("tool", "place", parameters="parameters", seconds="seconds", low="from", high="to"),
    )
    y = _logarithmic(alt.Y("seconds:Q"), "y", None, TICK)
    width = alt.StrokeWidth("place:N", scale=alt.Scale(range=[1.4, 4]), legend=_legend(PLACE_PX))
    layers = (
        _line(rows).encode(y=y, strokeWidth=width),
        rows.mark_rule(strokeWidth=1.5).encode(y="least:Q", y2="most:Q", color=alt.Color("colour:N", scale=None)),
        _points(rows).encode(y=y),
        *_crossings(),
    )
    return _finished(_layered(*layers), "time against size of the net", "y_title", 380)


def _crossings() -> list[alt.Chart]:
    """Return a ring where two lines cross, and a rule down to the words that name it, where the least line never is."""
    at_x, at_y, foot = (alt.expr(e) for e in ("scale('x', datum.parameters)", "scale('y', datum.seconds)", "height"))
    crossed = _over("crossings").transform_window(nth="row_number()").encode(x=alt.value(at_x), y=alt.value(at_y))
    crossed = crossed.encode(tooltip=_tooltip("label", parameters="parameters", seconds="seconds"))
    edge = "scale('x', datum.parameters) > width / 2"
    words: dict[str, Any] = {
        "align": alt.expr(f"{edge} ? 'right' : 'left'"),
        "dx": alt.expr(f"{edge} ? -4 : 4"),
        "fontSize": 12,
    }
    named = crossed.encode(y=alt.value(alt.expr(f"height - {WORDS_PX} * (datum.nth - 0.5)")), text="label:N")
    return [
        crossed.mark_rule(color=INK, strokeDash=[2, 3]).encode(y2=alt.value(foot)),
        crossed.mark_point(color=INK, filled=False, size=180, strokeWidth=2, opacity=1),
        named.mark_text(color=PAPER, stroke=PAPER, strokeWidth=4, strokeJoin="round", aria=False, **words),
        named.mark_text(color=INK, **words),
    ]


def curves(over: str) -> alt.LayerChart:
    """Return loss or error rate over "epochs" or "seconds", a line for each run; one of a single epoch is a point."""
    rows = _counted(_over("rows"))
    if over == "seconds":
        x = _logarithmic(alt.X("x:Q"), "x", "seconds of training, logarithmic", TICK)
    else:
        x = alt.X("x:Q", title="epoch", scale=alt.Scale(zero=False, nice=False, padding=6), axis=WHOLE)
    rows = rows.encode(
        x=x,
        y=alt.Y("y:Q", title=None, axis=alt.Axis(format=TICK)),
        detail="line:N",
        tooltip=_tooltip("line", x=over, y="value"),
    )
    return _finished(_layered(_line(rows), _points(rows, FEW)), f"curves over {over}", "y_title", 300)


def ledger() -> alt.Chart:
    """Return where the wall time of each tool's run went, the parts stacked in their order."""
    colours = alt.Scale(domain=list(PART_COLOURS), range=list(PART_COLOURS.values()))
    bar = _over("rows").mark_bar(stroke=PAPER, strokeWidth=0.5, height=alt.RelativeBandSize(band=0.75))
    stacked: alt.Chart = bar.encode(
        x=alt.X("seconds:Q", title="seconds", axis=alt.Axis(format=TICK, tickCount=FEWER_TICKS)),
        y=alt.Y("tool:N", sort=None, title=None, axis=NAMES),
        color=alt.Color("part:N", scale=colours, legend=_legend(PART_PX)),
        order="order:Q",
        tooltip=_tooltip("tool", "part", seconds="seconds"),
    )
    return _finished(stacked, "stacked bars of the parts of a run", "y_title", alt.Step(LEDGER_STEP_PX))


def utilisation() -> alt.LayerChart:
    """Return one series of the sampler over the seconds since launch, a line for each run."""
    rows = _counted(_over("rows")).encode(
        x=alt.X(
            "at_s:Q", title="seconds from the launch", axis=alt.Axis(format=TICK, grid=False, tickCount=FEWER_TICKS)
        ),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=True), axis=alt.Axis(format=TICK)),
        detail="line:N",
        tooltip=_tooltip("line", "series", at_s="seconds", value="value"),
    )
    return _finished(_layered(_line(rows), _points(rows, FEW)), "utilisation over time", "y_title", 220)


def steps() -> alt.LayerChart:
    """Return what every step took, warm-up steps hollow, the axis logarithmic."""
    rows = _with_looks(_over("rows")).encode(
        x=alt.X("step:Q", title="step", scale=alt.Scale(zero=False, nice=False, padding=8), axis=WHOLE),
        y=_logarithmic(alt.Y("ms:Q"), "y", None, TICK),
        tooltip=_tooltip("tool", "step", "warmup", ms="ms"),
    )
    hollow = alt.condition("datum.warmup", alt.value(0), alt.value(1))
    layers = (_line(rows).encode(strokeOpacity=alt.value(0.4)), _points(rows).encode(fillOpacity=hollow))
    return _finished(_layered(*layers), "every step", "y_title", 320)


CHARTS: Mapping[str, Callable[[], alt.Chart | alt.LayerChart]] = {
    "bars": bars,
    "crossover": crossover,
    "curves_epochs": partial(curves, "epochs"),
    "curves_seconds": partial(curves, "seconds"),
    "ledger": ledger,
    "utilisation": utilisation,
    "steps": steps,
}


def chart_specs() -> dict[str, dict[str, Any]]:
    """Return every chart as a compiled Vega spec without rows and theme, by its name in CHARTS."""
    return {name: _compile(chart()) for name, chart in CHARTS.items()}


def _compile(chart: alt.Chart | alt.LayerChart) -> dict[str, Any]:
    """Return a chart as Vega, so that who draws it needs no compiler; its background is left to the theme."""
    spec: dict[str, Any] = vl_convert.vegalite_to_vega(chart.to_dict())
    del spec["background"]
    return spec


def _over(name: str) -> alt.Chart:
    return alt.Chart(alt.NamedData(name=name))


def _layered(*charts: alt.Chart) -> alt.LayerChart:
    return alt.LayerChart(layer=list(charts))


def _finished(chart: AnyChart, description: str, signal: str, height: int | alt.Step) -> AnyChart:
    """Return a chart as wide as its container; the words above it, which say what its values are, are a signal."""
    title = alt.TitleParams(text=alt.expr(signal), anchor="start", frame="bounds")
    shown: AnyChart = chart.properties(width="container", height=height, title=title, description=description)
    return shown.add_params(alt.param(name=signal, value=""), alt.param(name="room", expr=ROOM))


def _with_looks(chart: alt.Chart) -> alt.Chart:
    """Add to each row how its tool is drawn, and under which name the legend has it."""
    looks = json.dumps({tool: asdict(look) for tool, look in LOOKS.items()})
    look = f"({looks}[datum.tool] || {json.dumps(asdict(OTHER_LOOK))})"
    drawn = {name: f"{look}.{name}" for name in asdict(OTHER_LOOK)}
    return chart.transform_calculate(shown=f"{looks}[datum.tool] ? datum.tool : '{OTHER}'", **drawn)


def _counted(chart: alt.Chart) -> alt.Chart:
    """Add to each row how its tool is drawn and how many points its line has."""
    return _with_looks(chart.transform_joinaggregate(points="count()", groupby=["line"]))


def _line(chart: alt.Chart) -> alt.Chart:
    line: alt.Chart = chart.mark_line(strokeDash=alt.expr("datum.dash"), aria=False)
    return line.encode(color=alt.Color("colour:N", scale=None), strokeWidth=alt.value(1.8))


def _points(chart: alt.Chart, size: alt.ExprRef | int = 45) -> alt.Chart:
    """Return the points of lines; they alone make the legend, in which colour and shape stand together."""
    points: alt.Chart = chart.mark_point(filled=True, size=size, opacity=1).encode(
        color=alt.Color("shown:N", scale=alt.Scale(range=alt.FieldRange(field="colour")), legend=_legend(TOOL_PX)),
        shape=alt.Shape("shown:N", scale=alt.Scale(range=alt.FieldRange(field="shape")), legend=_legend(TOOL_PX)),
        stroke=alt.Stroke("colour:N", scale=None),
    )
    return points


def _legend(entry_px: int) -> alt.Legend:
    return alt.Legend(title=None, orient="bottom", columns=alt.expr(f"max(1, floor(room / {entry_px}))"))


Position = TypeVar("Position", alt.X, alt.Y)


def _logarithmic(channel: Position, scale: str, title: str | None, spec: str) -> Position:
    """Return a logarithmic axis that names 1, 2 and 5 of each decade, and every tick where there is but one decade."""
    within = f"domain('{scale}')[1] < 10 * domain('{scale}')[0]"
    named = f"{within} || indexof('125', format(datum.value, '.0e')[0]) >= 0 ? format(datum.value, '{spec}') : ''"
    axis = alt.Axis(labelExpr=named, grid=scale == "y")
    shown: Position = channel.title(title).scale(type="log", nice=False, padding=8)
    return shown.axis(axis)


def _tooltip(*names: str, **titles: str) -> list[alt.Tooltip]:
    """Return what a pointer over a row shows: texts by their names, numbers with three digits under their titles."""
    numbers = [alt.Tooltip(f"{name}:Q", title=title, format=VALUE) for name, title in titles.items()]
    return [*(alt.Tooltip(f"{name}:N") for name in names), *numbers]
