"""Published figures beside measured tables."""

from collections.abc import Iterable

from harness.markdown import MISSING, Notes, escape, to_markdown, without_empty
from harness.published import Figure, Source, load_published
from workloads import TARGET

HEAD = [
    "**Published, not measured here**: what others got on their machines, with the versions of their time, as their",
    "sources print it. These rows are never ranked with measured ones: hardware, versions and at times the net itself",
    "are others, as the notes say.",
]
CALLS = "Calls are wall (process) seconds."


def published_figures(models: Iterable[str], batch_size: int, measure: str) -> list[Figure]:
    """Return what is published of workloads, in the order of the sources.

    `models` are labels of records, `measure` is their kind of step or `epochs`. A target of the error rate makes no
    other workload, as it is looked at beside the clock; every other parameter does.
    """
    labels = {" ".join(word for word in model.split() if not word.startswith(f"{TARGET}=")) for model in models}
    return [
        figure
        for figure in load_published()
        if figure.workload.label in labels and (figure.workload.batch_size, figure.measure) == (batch_size, measure)
    ]


def render_published(models: Iterable[str], batch_size: int, measure: str) -> list[str]:
    """Return a table of what is published of workloads, with notes and sources; nothing if there is nothing.

    The arguments are as in `published_figures`. Models are named where there are several.
    """
    figures = published_figures(models, batch_size, measure)
    if not figures:
        return []
    notes = Notes()
    calls = max(len(figure.wall_s or ()) for figure in figures)
    lines = [_line(figure, calls, notes) for figure in figures]
    if len({figure.workload.label for figure in figures}) > 1:
        lines = [{"Model": escape(figure.workload.label), **line} for figure, line in zip(figures, lines, strict=True)]
    table = without_empty(lines, ["Time (s)", "ms per batch", "Images/s", "Error rate"])
    sources = dict.fromkeys(figure.source for figure in figures)
    head = [*HEAD, *([CALLS] if calls else []), ""]
    return [*head, to_markdown(table), "", *notes.lines(), "Sources:", "", *map(_source_line, sources), ""]


def _line(figure: Figure, calls: int, notes: Notes) -> dict[str, str]:
    return {
        "System": escape(figure.system) + "".join(notes.mark(words) for words in figure.unfair),
        "Hardware": escape(figure.hardware),
        "Year": figure.source.year,
        "Time (s)": _shown(figure.train_s),
        "ms per batch": _step(figure),
        "Images/s": _shown(figure.images_per_s),
        **{f"Call {number + 1}": _call(figure, number) for number in range(calls)},
        "Error rate": MISSING if figure.error_rate is None else f"{_shown(round(100 * figure.error_rate, 2))} %",
        "Source": escape(figure.source.name) + notes.mark("; ".join(figure.source.unfair)),
    }


def _shown(value: float | None) -> str:
    """Return a number with two decimals, or with fewer if it has fewer: what was published rounded stays so."""
    if value is None:
        return MISSING
    decimals = next((few for few in (0, 1) if round(value, few) == value), 2)
    return f"{value:.{decimals}f}"


def _step(figure: Figure) -> str:
    deviation = "" if figure.deviation_ms is None else f" ± {_shown(figure.deviation_ms)}"
    return _shown(figure.step_ms) + deviation


def _call(figure: Figure, number: int) -> str:
    wall_s, process_s = figure.wall_s or (), figure.process_s or ()
    if number >= len(wall_s):
        return MISSING
    return f"{wall_s[number]:.4f}" + (f" ({process_s[number]:.4f})" if process_s else "")


def _source_line(source: Source) -> str:
    title = escape(source.title)
    words = [f"[{title}]({source.address})" if source.address else title]
    words += [escape(source.author)] if source.author else []
    words += [source.year + (f" (dated by {escape(source.dated_by)})" if source.dated_by else "")]
    words += [f"{source.repository} at {source.commit}"] if source.repository else ["without an address"]
    return f"- {escape(source.name)}: {', '.join(words)}. Timed: {escape(source.timed)}."
