"""At which size of a net the order of two tools, or of a tool's GPU and CPU, changes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from statistics import median

from harness.cross_tables import Place
from harness.crossover import Crossing, crossover
from harness.frames import is_ranked, runs_s, tool_place
from harness.markdown import Notes, Section, as_table, device_name, escape, to_markdown
from harness.ranking import RANKED_REPEATS, enough_runs
from harness.sizes import Sweep
from harness.statistics import differ

EXPLANATION = [
    "Compared are each tool with the one that takes least at the largest size, and each tool's GPU with its CPU. A",
    "crossover is interpolated between two neighbouring sizes, straight in log(parameters) and log(time); of sizes",
    "beyond the measured ones nothing is said.",
    "",
]
NOISE = "within the noise: the two do not differ significantly on both sides"
UNKNOWN = f"may be noise: too few runs to tell (that takes {RANKED_REPEATS})"
Line = Mapping[int, Sequence[float]]
"""The seconds of the runs of one tool on one place, by the count of parameters."""
Pair = tuple[str, Line, str, Line]
"""Two lines that are compared, each after its name."""


def render_crossovers(sweep: Sweep, places: Sequence[Place]) -> list[Section]:
    """Return where the lines of a sweep cross; nothing where there are no two of them."""
    pairs, notes = _pairs(_lines(sweep, places)), Notes()
    if not pairs:
        return []
    found = [line for pair in pairs if (line := _describe_pair(sweep, pair, notes))]
    table = [to_markdown(as_table(found)), "", *notes.lines()] if found else []
    return [Section(title="Crossover sizes", lines=[*table, *_describe_none(pairs), *EXPLANATION])]


def _lines(sweep: Sweep, places: Sequence[Place]) -> dict[tuple[str, Place], Line]:
    """Return the seconds of every tool and place by size, of the cells that are compared."""
    lines: dict[tuple[str, Place], dict[int, Sequence[float]]] = {}
    for (count, cells), place in product(sorted(sweep.cells.items()), places):
        for row in cells:
            if (row["device"], row["cores"]) == place and is_ranked(row):
                lines.setdefault((row["tool"], place), {})[count] = runs_s(row)
    return dict(lines)


def _pairs(lines: Mapping[tuple[str, Place], Line]) -> list[Pair]:
    """Return which lines are compared: with the fastest at the largest size of a place, and GPU with CPU."""
    places = sorted({place for _, place in lines})
    tools = sorted({tool for tool, _ in lines}, key=tool_place)
    chosen = []
    for place in places:
        here = {tool: lines[tool, place] for tool in tools if (tool, place) in lines}
        largest = max(size for line in here.values() for size in line)
        leader = min((tool for tool in here if largest in here[tool]), key=lambda tool: median(here[tool][largest]))
        chosen += [((leader, place), (tool, place)) for tool in here if tool != leader]
    cpus, gpus = ([place for place in places if place[0] == device] for device in ("cpu", "gpu"))
    chosen += [((tool, gpu), (tool, cpu)) for tool in tools for cpu in cpus[-1:] for gpu in gpus]
    named = {(tool, place): tool + (f" on {device_name(*place)}" if len(places) > 1 else "") for tool, place in lines}
    return [
        (named[one], lines[one], named[other], lines[other])
        for one, other in chosen
        if {one, other} <= lines.keys() and len(lines[one].keys() & lines[other].keys()) > 1
    ]


def _crossings(pair: Pair) -> list[Crossing]:
    _, one, _, other = pair
    sizes = sorted(one.keys() & other.keys())
    return crossover(sizes, [median(one[size]) for size in sizes], [median(other[size]) for size in sizes])


def _faster_at(pair: Pair, pick: Callable[[Iterable[int]], int]) -> str:
    """Return the name of the line that takes less at the smallest or the largest size that both have."""
    one_name, one, other_name, other = pair
    size = pick(one.keys() & other.keys())
    return one_name if median(one[size]) <= median(other[size]) else other_name


def _describe_pair(sweep: Sweep, pair: Pair, notes: Notes) -> dict[str, str] | None:
    """Return where two lines cross as a line of a table, or None if they do not."""
    crossings = _crossings(pair)
    if not crossings:
        return None
    values = [f"{sweep.values[int(one.below)]} – {sweep.values[int(one.above)]}" for one in crossings]
    return {
        "Compared": escape(f"{pair[0]} and {pair[2]}"),
        "Less time at the smallest": escape(_faster_at(pair, min)),
        "Less time at the largest": escape(_faster_at(pair, max)),
        "Crossover (parameters)": "; ".join(_describe_crossing(pair, one, notes) for one in crossings),
        f"Between {escape(sweep.parameter)}": escape("; ".join(values)),
    }


def _describe_crossing(pair: Pair, crossing: Crossing, notes: Notes) -> str:
    """Return a crossover's size, with a note where it may be noise."""
    _, one, _, other = pair
    sides = [(one[int(size)], other[int(size)]) for size in (crossing.below, crossing.above)]
    few = not all(enough_runs(*side) for side in sides)
    mark = notes.mark(UNKNOWN) if few else "" if all(differ(*side) for side in sides) else notes.mark(NOISE)
    return f"{float(f'{crossing.size:.3g}'):,.0f}{mark}"


def _describe_none(pairs: Iterable[Pair]) -> list[str]:
    """Say of the pairs without a crossing which of the two takes less at every measured size."""
    slower: dict[str, list[str]] = {}
    for pair in pairs:
        if not _crossings(pair):
            faster = _faster_at(pair, max)
            slower.setdefault(faster, []).append(pair[2] if faster == pair[0] else pair[0])
    return [
        line
        for faster, others in slower.items()
        for line in (f"{escape(faster)} takes less at every measured size than {_join(others)}: no crossover.", "")
    ]


def _join(names: Sequence[str]) -> str:
    return escape(" and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part))
