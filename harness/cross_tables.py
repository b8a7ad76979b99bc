"""The same cells side by side: by core count, CPU against GPU, by precision, on GPUs of several machines."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import pandas as pd

from harness.captions import describe_table
from harness.frames import (
    Row,
    describe_outcome,
    group_rows,
    is_ranked,
    mark_disturbances,
    mark_unproven,
    most_steps,
    name_measure,
    runs_s,
    tool_place,
    was_run,
)
from harness.markdown import MISSING, Notes, Section, as_table, counted, device_name, escape, to_markdown
from harness.plan import PRECISIONS
from harness.ranking import enough_runs, interval_text, ratio_text
from harness.statistics import ratio_interval

Place = tuple[Any, ...]
"""Where cells were run: the values of the columns that tell places apart."""
GPU_PLACE = ["gpu_names", "gpus", "machine", "cores"]
ACROSS = ["suite", "model", "spec", "batch_size", "precision", "measure", "epochs", "seed"]
"""What cells of several machines have to agree in to stand side by side."""
PRECISELY = ["model", "spec", "batch_size", "measure", "epochs", "seed", "device", "cores", "gpus"]
"""What cells of one machine have to agree in to stand side by side in several precisions."""


def render_cores(rows: Sequence[Row]) -> list[Section]:
    """Return what more cores bring on the CPU, for one model; nothing where it was run on one number of cores."""
    cells = most_steps(row for row in rows if row["device"] == "cpu")
    counts = [cores for (cores,), here in group_rows(cells, ["cores"]) if was_run(here)]
    if len(counts) < 2:
        return []
    notes = Notes()
    table = to_markdown(cores_table(cells, counts, notes))
    caption = (
        f"Speedup is the time on {counted(counts[0], 'core')} over this one; efficiency is the speedup over "
        f"how many times as many cores there are. {_describe_cells(cells)}"
    )
    return [Section(title="By cores of the CPU", lines=[table, "", *notes.lines(), caption, ""])]


def cores_table(rows: Sequence[Row], counts: Sequence[int], notes: Notes) -> pd.DataFrame:
    """Return times by tool and number of cores, with speedup over the fewest cores and parallel efficiency."""
    lines = []
    for tool, cells in _by_tool(rows, ["cores"]):
        base, line = cells.get((counts[0],)), {"Tool": escape(tool)}
        for count in counts:
            line[f"{counted(count, 'core')} ({_unit(rows[0])})"] = outcome(cells.get((count,)), notes)
        for count in counts[1:]:
            ratio = speedup(base, cells.get((count,)))
            efficiency = MISSING if ratio is None else f"{100 * ratio * counts[0] / count:.0f} %"
            line[f"Speedup, {counted(count, 'core')}"] = speedup_text(base, cells.get((count,)))
            line[f"Efficiency, {counted(count, 'core')}"] = efficiency
        lines.append(line)
    return as_table(lines)


def render_devices(rows: Sequence[Row]) -> list[Section]:
    """Return the GPU against the CPU with most cores, for one model on one machine; nothing without either."""
    places = {place: here for place, here in group_rows(most_steps(rows), ["device", "cores"]) if was_run(here)}
    cpus, gpus = ([place for place in places if place[0] == device] for device in ("cpu", "gpu"))
    if not cpus or not gpus:
        return []
    shown = [cpus[-1], *gpus]
    cells = [row for place in shown for row in places[place]]
    notes = Notes()
    table = to_markdown(device_table(cells, shown, notes))
    caption = f"Speedup is the time on the CPU over that on the GPU. {_describe_cells(cells)}"
    return [Section(title="GPU against CPU", lines=[table, "", *notes.lines(), caption, ""])]


def device_table(rows: Sequence[Row], places: Sequence[Place], notes: Notes) -> pd.DataFrame:
    """Return times by tool and device, and how many times faster each device is than the first."""
    lines = []
    for tool, cells in _by_tool(rows, ["device", "cores"]):
        line = {"Tool": escape(tool)}
        for place in places:
            line[f"{device_name(*place)} ({_unit(rows[0])})"] = outcome(cells.get(place), notes)
        for place in places[1:]:
            line[f"Speedup {device_name(*place)}"] = speedup_text(cells.get(places[0]), cells.get(place))
        lines.append(line)
    return as_table(lines)


def render_precisions(rows: Iterable[Row]) -> list[Section]:
    """Return what shorter precisions bring, net by net and place by place; nothing where there is one precision."""
    sections = []
    for _, cells in group_rows(most_steps(rows), PRECISELY):
        there = {precision for (precision,), here in group_rows(cells, ["precision"]) if was_run(here)}
        if len(there) > 1:
            sections.append(_render_precisions(cells, [precision for precision in PRECISIONS if precision in there]))
    return [Section(title="By precision", parts=sections)] if sections else []


def _render_precisions(cells: Sequence[Row], precisions: Sequence[str]) -> Section:
    first, notes = cells[0], Notes()
    table = to_markdown(precision_table(cells, precisions, notes))
    caption = f"Speedup is the time in {precisions[0]} over this one. {_describe_cells(cells)}"
    place = device_name(first["device"], first["cores"])
    title = f"{first['model']}: batch {first['batch_size']}, {name_measure(first)}, seed {first['seed']}, {place}"
    return Section(title=title, lines=[table, "", *notes.lines(), caption, ""])


def precision_table(rows: Sequence[Row], precisions: Sequence[str], notes: Notes) -> pd.DataFrame:
    """Return times by tool and precision, and how many times faster each precision is than the first."""
    lines = []
    for tool, cells in _by_tool(rows, ["precision"]):
        line = {"Tool": escape(tool)}
        for precision in precisions:
            line[f"{precision} ({_unit(rows[0])})"] = outcome(cells.get((precision,)), notes)
        for precision in precisions[1:]:
            line[f"Speedup, {precision}"] = speedup_text(cells.get((precisions[0],)), cells.get((precision,)))
        lines.append(line)
    return as_table(lines)


def render_machines(rows: Iterable[Row]) -> list[Section]:
    """Return, model by model, the times on the GPUs of all machines; nothing where there is one GPU of one machine."""
    sections = []
    on_gpu = most_steps(row for row in rows if row["device"] == "gpu")
    for _, cells in group_rows(on_gpu, ACROSS):
        places = {place: here for place, here in group_rows(cells, GPU_PLACE) if was_run(here)}
        if len(places) > 1:
            sections.append(_render_gpus(places))
    return sections


def _render_gpus(places: Mapping[Place, Sequence[Row]]) -> Section:
    cells, notes = [row for here in places.values() for row in here], Notes()
    first, table = cells[0], to_markdown(gpu_table(places, notes))
    caption = (
        "Columns are GPUs of different machines, which differ in more than their GPU: read down a column to compare "
        f"tools, and across for an order of size. Nothing is ranked here. {_describe_cells(cells)}"
    )
    title = f"{first['model']}: batch {first['batch_size']}, {name_measure(first)}, {first['precision']}"
    title += f", seed {first['seed']} (suite {first['suite']})"
    return Section(title=title, lines=[table, "", *notes.lines(), caption, ""])


def gpu_table(places: Mapping[Place, Sequence[Row]], notes: Notes) -> pd.DataFrame:
    """Return times by tool and by number and type of GPU; notes tell the machines."""
    names = {}
    for place, (host, *_) in places.items():
        mark = notes.mark(f"machine {host['machine']}: {host['cpu']}, {counted(host['cores'], 'CPU core')}")
        names[place] = f"{host['gpus']} × {escape(host['gpu_names'])} ({_unit(host)}){mark}"
    rows = [row for here in places.values() for row in here]
    return as_table(
        {"Tool": escape(tool)} | {name: outcome(cells.get(place), notes) for place, name in names.items()}
        for tool, cells in _by_tool(rows, GPU_PLACE)
    )


def outcome(row: Row | None, notes: Notes) -> str:
    """Return what a cell is compared by, with its interval, or its status; notes say why it is not compared."""
    if row is None:
        return MISSING
    if row["status"] != "ok":
        return describe_outcome(row, notes)
    factor = 1 if row["measure"] == "epochs" else 1000
    return interval_text(runs_s(row), ".2f", factor) + mark_disturbances(row, notes) + mark_unproven(row, notes)


def speedup_text(base: Row | None, other: Row | None) -> str:
    """Return how many times faster a cell is than another one, with its interval where runs suffice."""
    ratio = speedup(base, other)
    if ratio is None or base is None or other is None:
        return MISSING
    before_s, after_s = runs_s(base), runs_s(other)
    return ratio_text(ratio, ratio_interval(before_s, after_s) if enough_runs(before_s, after_s) else None)


def speedup(base: Row | None, other: Row | None) -> float | None:
    """Return the ratio of medians; None where one of the two is not compared."""
    if base is None or other is None or not (is_ranked(base) and is_ranked(other)):
        return None
    return median(runs_s(base)) / median(runs_s(other))


def _by_tool(rows: Iterable[Row], place: Sequence[str]) -> list[tuple[str, dict[Place, Row]]]:
    """Return tool by tool its cell at each place."""
    found: dict[str, dict[Place, Row]] = {}
    for row in rows:
        found.setdefault(row["tool"], {})[tuple(row[name] for name in place)] = row
    return sorted(found.items(), key=lambda item: tool_place(item[0]))


def _unit(row: Row) -> str:
    return "s" if row["measure"] == "epochs" else "ms"


def _describe_cells(rows: Sequence[Row]) -> str:
    """Return what every caption here ends with."""
    several = any(row["repeats"] > 1 for row in rows)
    return ("Times are medians. " if several else "") + describe_table(rows)
