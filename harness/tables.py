"""From records to Markdown: the same records always give the same text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.audit import LEVELS
from harness.batch_tables import render_batches
from harness.cross_tables import render_cores, render_devices, render_machines, render_precisions
from harness.frames import (
    Row,
    describe_absence,
    describe_machine,
    describe_unverified,
    group_rows,
    name_measure,
    to_frame,
)
from harness.ledger_tables import LEDGER_EXPLANATION, render_ledger
from harness.markdown import Section, device_name, render_contents, render_sections
from harness.published_tables import render_published
from harness.ranking import RANKED_REPEATS
from harness.records import OLD_SUITES, Record
from harness.size_tables import render_sweep
from harness.sizes import count_parameters, find_sweeps
from harness.statistics import SIGNIFICANCE
from harness.step_tables import STEP_EXPLANATION, render_steps
from harness.tool_tables import render_tools

TITLE = "Results"
SUMMARY = [
    "Compare only rows of one table: one machine, one version of the measuring (suite), one net. Only tools that are",
    "proven to train the spec's net are compared (Same net is S3 or S4). [1] points to the notes below a table.",
    "",
]
EXPLANATION = [
    "Time is training alone, all epochs with the first step and its compilation, as in the published tables; where",
    "a cell was repeated it is the median with its 95 % interval (of fewer than six runs: the least and the most).",
    f"Tools with {RANKED_REPEATS} runs or more are ranked: those that share a letter do not differ significantly",
    f"(Mann and Whitney, {100 * SIGNIFICANCE:.0f} % level), and vs best has its 95 % interval (bootstrap).",
    "CPU % is of the cores given, GPU % of the GPU, while training.",
    "",
    "Same net says how far a tool is proven to train the spec's net:",
    "",
    *(f"- {level}: {meaning}" for level, meaning in LEVELS.items()),
    "",
]
WORKLOAD = ["model", "batch_size", "precision", "epochs", "seed"]
STEPPED = ["model", "batch_size", "precision", "seed"]
"""What the cells of a section agree in that measure epochs, and that measure steps."""


def render_markdown(records: Iterable[Record]) -> str:
    """Return all tables of these records, with links to them; they are read once."""
    rows = to_frame(records).to_dict("records")
    if not rows:
        return "\n".join([f"# {TITLE}", "", "No records yet: `python runner.py` makes them.", ""])
    sections = make_sections(rows)
    contents = render_contents(TITLE, sections, depth=2)
    return "\n".join([f"# {TITLE}", "", *SUMMARY, *contents, *render_sections(sections)])


def make_sections(rows: Sequence[Row]) -> list[Section]:
    """Return the parts of a report on cells: machine by machine, what goes over machines, how to read it."""
    sections = [_machine(here) for _, here in group_rows(rows, ["machine", "suite"])]
    if across := render_machines(rows):
        sections.append(Section(title="By GPU number and type, over machines", parts=across))
    return [*sections, *_then_and_now(rows), _how_to_read(rows)]


def _then_and_now(rows: Iterable[Row]) -> list[Section]:
    """Return what was published of these workloads, sizes of a net in one table; nothing where nothing was."""
    parts = []
    nets = [{**row, "net": row["model"].split(" ")[0], "what": name_measure(row)} for row in rows]
    for (net, batch_size, what), cells in group_rows(nets, ["net", "batch_size", "what"]):
        if lines := render_published({row["model"] for row in cells}, batch_size, cells[0]["measure"]):
            parts.append(Section(title=f"{net}: batch {batch_size}, {what}, as published", lines=lines))
    return [Section(title="Then and now", parts=parts)] if parts else []


def _how_to_read(rows: Iterable[Row]) -> Section:
    stepped = {row["measure"] != "epochs" for row in rows}
    lines = [*EXPLANATION]
    lines += LEDGER_EXPLANATION if False in stepped else []
    lines += STEP_EXPLANATION if True in stepped else []
    return Section(title="How to read the tables", lines=lines)


def _machine(rows: Sequence[Row]) -> Section:
    """Return the tables of one machine and suite: sizes, models by epochs and by step, precisions, batches."""
    host, counts = rows[-1], count_parameters(rows)
    title = f"Machine {host['machine']}: {describe_machine(host)} (suite {host['suite']})"
    parts = [render_sweep(sweep) for sweep in find_sweeps(rows, counts)]
    by_epochs = (row for row in rows if row["measure"] == "epochs")
    parts += [_net(cells) for cells in _in_order(group_rows(by_epochs, WORKLOAD), counts)]
    by_step = [row for row in rows if row["measure"] != "epochs"]
    parts += [_net(cells) for cells in _in_order(group_rows(by_step, STEPPED), counts)]
    old = [OLD_SUITES[host["suite"]], ""] if host["suite"] in OLD_SUITES else []
    return Section(title=title, lines=old, parts=[*parts, *render_precisions(rows), *render_batches(by_step)])


def _in_order(groups: Iterable[tuple[Any, list[Row]]], counts: Mapping[str, int]) -> list[list[Row]]:
    """Return the cells of each group, the groups by the name of their net, their epochs and the net's size."""

    def place(cells: Sequence[Row]) -> tuple[str, int, int]:
        first = cells[0]
        return first["model"].split(" ")[0], first["epochs"], counts.get(first["spec"], 0)

    return sorted((cells for _, cells in groups), key=place)


def _net(cells: Sequence[Row]) -> Section:
    """Return the tables of one net, place by place, and of what its places have in common: cores, CPU and GPU, data."""
    first = cells[0]
    by_step = first["measure"] != "epochs"
    what = "by step" if by_step else name_measure(first)
    title = f"{first['model']}: batch {first['batch_size']}, {what}, {first['precision']}, seed {first['seed']}"
    lines: list[str] = []
    parts: list[Section] = []
    for values, rows in group_rows(cells, ["device", "cores"]):
        place = device_name(*values)
        if absence := describe_absence(place, rows):
            lines += absence
        else:
            parts += render_steps(place, rows) if by_step else [render_tools(place, rows), *render_ledger(place, rows)]
    for _, alike in group_rows(cells, ["measure"]):
        parts += [*render_cores(alike), *render_devices(alike)]
    return Section(title=title, lines=[*lines, *describe_unverified(cells)], parts=parts)
