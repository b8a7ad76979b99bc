"""What changed between two sets of records, A and B, cell by cell: as Markdown, as JSON, and as reasons to fail."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import log
from statistics import median
from typing import Any

import pandas as pd

from frameworks import FLOOR
from harness.audit import PROVEN
from harness.canary import DRIFT
from harness.frames import COORDINATES, VERSIONED, Row, describe_machine, runs_s, to_frame
from harness.markdown import MISSING, Notes, device_name, escape, number, to_markdown
from harness.ranking import RANKED_REPEATS, enough_runs, ratio_text
from harness.records import ABSENT, Record
from harness.statistics import SIGNIFICANCE, differ, median_interval, ratio_interval
from workloads.errors import UserError, unknown

WORSE = 0.03
"""By how much the error rate of every run of B must be above that of every run of A for B to be wrong.

Trainings of one net scatter; on the smallest test set, 360 digits, a rate of 2 % has a standard deviation of 0.7
points.
"""
VERDICTS = {
    "wrong": "ok and proven in A; in B it failed, is not proven, or has learned less",
    "missing": "run in A and not in B",
    "slower": "B takes longer than A, significantly",
    "faster": "B takes less time than A, significantly",
    "too few": "the repeats are too few to tell whether A and B differ",
    "fixed": "failed or not proven in A; ok and proven in B",
    "new": "run in B and not in A",
    "unranked": "failed or not proven in both, or the floor, whose times say nothing",
    "same": "A and B do not differ significantly",
}
"""What can be said of a cell, in the order of a table."""
EXPLANATION = [
    "A cell's time is training alone, for steps the median of the timed ones: one number a repeat, shown as the median",
    "over repeats. B / A is the ratio of these medians with its 95 % interval (bootstrap); less is faster. What is",
    f"significant is told by Mann and Whitney's test at the {100 * SIGNIFICANCE:.0f} % level, which takes",
    f"{RANKED_REPEATS} repeats of each. Learned less: the error rate of every run of B is {100 * WORSE:.0f} points or",
    "more above that of every run of A.",
]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One cell of A and B; the row of a folder that knows nothing of it is None.

    `ratio` is B's median time over A's, where both are ok and proven; `interval` is there where repeats suffice, and
    `significant` says that they tell A and B apart.
    """

    name: str
    verdict: str
    first: Row | None
    second: Row | None
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    significant: bool = False

    @property
    def ratio_text(self) -> str:
        """The ratio in words, with its interval where there is one; nothing without a ratio."""
        return "" if self.ratio is None else ratio_text(self.ratio, self.interval)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What `--fail-on` was given: a verdict, and for `slower` from how many percent more on."""

    text: str
    verdict: str
    more_pct: float = 0.0


def compare(first: Iterable[Record], second: Iterable[Record]) -> list[Change]:
    """Return every cell that was run in A or in B, in the order of a table.

    Where A and B hold the same machines, each is compared with itself; where each holds one, with the other. Raises
    UserError where neither is so, and for records of several suites.
    """
    frames = [to_frame(records, also=("versions", "fingerprints", "error_rate")) for records in (first, second)]
    _check_suites(*frames)
    matched = _matched_by(*frames)
    rows = [{tuple(row[name] for name in matched): row for row in frame.to_dict("records")} for frame in frames]
    several = any(frame["machine"].nunique() > 1 for frame in frames)
    changes = [
        _judge(_name(row, several), rows[0].get(key), rows[1].get(key))
        for key, row in (rows[0] | rows[1]).items()
        if _was_run(rows[0].get(key)) or _was_run(rows[1].get(key))
    ]
    places = list(VERDICTS)
    return sorted(changes, key=lambda c: (places.index(c.verdict), -abs(log(c.ratio or 1.0)), c.name))


def _check_suites(first: pd.DataFrame, second: pd.DataFrame) -> None:
    suites = [sorted(set(frame["suite"])) for frame in (first, second)]
    if len({*suites[0], *suites[1]}) > 1:
        raise UserError(
            f"A holds records of suite {', '.join(suites[0])} and B of suite {', '.join(suites[1])}; accepted: one "
            "suite, for each measures in another way. Move the records of the other one out, or measure again."
        )


def _matched_by(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """Return the columns that tell cells apart: without the machine, where two machines are compared."""
    machines = [sorted(set(frame["machine"])) for frame in (first, second)]
    if machines[0] == machines[1]:
        return COORDINATES
    if [len(names) for names in machines] == [1, 1]:
        return [name for name in COORDINATES if name != "machine"]
    raise UserError(
        f"A holds the machines {', '.join(machines[0])} and B {', '.join(machines[1])}; accepted: the same machines in "
        "both, or one in each. Name the folder of one machine, such as results/MACHINE."
    )


def _name(row: Row, several: bool) -> str:
    """Name a cell so that no other has its name, with its machine where there are several."""
    steps = f"{row['measure']}, {row['warmup']} warm-up and {row['timed']} timed steps"
    return " · ".join(
        [
            *([row["machine"]] if several else []),
            row["tool"],
            device_name(row["device"], row["cores"]),
            row["model"],
            f"batch {row['batch_size']}",
            row["precision"],
            f"{row['epochs']} epochs" if row["measure"] == "epochs" else steps,
            f"seed {row['seed']}",
        ]
    )


def _was_run(row: Row | None) -> bool:
    return row is not None and row["status"] not in ABSENT


def _judge(name: str, first: Row | None, second: Row | None) -> Change:
    one, other = _is_sound(first), _is_sound(second)
    if one and other:
        assert first is not None and second is not None
        return _judge_runs(name, first, second)
    if not _was_run(second):
        verdict = "missing"
    elif not _was_run(first):
        verdict = "new"
    else:
        verdict = "wrong" if one else "fixed" if other else "unranked"
    return Change(name=name, verdict=verdict, first=first, second=second)


def _is_sound(row: Row | None) -> bool:
    """Whether every repeat is ok, and proven unless it is of the floor, of which nothing is to be proven."""
    return row is not None and row["status"] == "ok" and (row["level"] in PROVEN or row["tool"] == FLOOR)


def _judge_runs(name: str, first: Row, second: Row) -> Change:
    """Compare the runs of a cell that is sound in A and in B."""
    change = Change(name=name, verdict="unranked", first=first, second=second)
    if first["tool"] == FLOOR:
        return change
    before_s, after_s = runs_s(first), runs_s(second)
    ratio, enough = median(after_s) / median(before_s), enough_runs(before_s, after_s)
    significant = enough and ratio != 1 and differ(before_s, after_s)
    if _has_learned_less(first, second):
        verdict = "wrong"
    elif significant:
        verdict = "slower" if ratio > 1 else "faster"
    else:
        verdict = "same" if enough else "too few"
    interval = ratio_interval(after_s, before_s) if enough else None
    return replace(change, verdict=verdict, ratio=ratio, interval=interval, significant=significant)


def learned_less(before: float, after: float) -> bool:
    """Whether an error rate is above another one by WORSE, rounding aside."""
    return after - before >= WORSE - 1e-9


def _has_learned_less(first: Row, second: Row) -> bool:
    """Whether the error rate of every run of B is above that of every run of A by WORSE; steps have none."""
    before, after = (
        [run["error_rate"] for run in row["runs"] if run["error_rate"] is not None] for row in (first, second)
    )
    return bool(before and after) and learned_less(max(before), min(after))


def _describe_speed(change: Change) -> str:
    """Say how fast the machine itself was, where that is another speed in B; "" where it is not, or not known."""
    first, second = change.first, change.second
    if change.ratio is None or first is None or second is None or first["machine"] != second["machine"]:
        return ""
    before, after = first["canary_gflops"], second["canary_gflops"]
    if not abs(after - before) > DRIFT * before:
        return ""
    return f"the machine itself was at {before:.3g} GFLOP/s in A and at {after:.3g} in B"


def _describe_versions(first: Row, second: Row) -> str:
    """Say what a cell was made from that is another in B, e.g. `adapter, torch 2.9.0 → 2.9.1`; "" if nothing is."""
    old, new = first["runs"][-1], second["runs"][-1]
    parts = [name for name in VERSIONED if old["fingerprints"][name] != new["fingerprints"][name]]
    before, after = _installed(first), _installed(second)
    for name in sorted(before.keys() | after.keys()) if before and after else ():
        if before.get(name) != after.get(name):
            parts.append(f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}")
    return ", ".join(parts)


def _installed(row: Row) -> dict[str, str]:
    """Return Python's and every package's version, by the last repeat that got as far as to tell them."""
    told = [content["versions"] for content in row["runs"] if content["versions"]["packages"]]
    return {"python": told[-1]["python"], **told[-1]["packages"]} if told else {}


def render_comparison(changes: Iterable[Change], first: str, second: str) -> str:
    """Return the comparison as Markdown; `first` and `second` are what A and B are called."""
    changes, notes = list(changes), Notes()
    counts = Counter(change.verdict for change in changes)
    parts = ["# Comparison", "", f"- A: {escape(first)}{_machines(change.first for change in changes)}"]
    parts += [f"- B: {escape(second)}{_machines(change.second for change in changes)}", ""]
    if not changes:
        return "\n".join([*parts, "Nothing was run in either.", ""])
    parts += [*EXPLANATION, ""]
    parts += [f"- {verdict} ({counts[verdict]}): {VERDICTS[verdict]}" for verdict in VERDICTS if counts[verdict]]
    table = pd.DataFrame(
        {
            "Cell": escape(change.name),
            "Verdict": change.verdict,
            "A": _outcome(change.first, notes),
            "B": _outcome(change.second, notes),
            "B / A": (change.ratio_text or MISSING) + _mark(_describe_speed(change), notes),
            "Error rate: A, B": f"{_error_rate(change.first)}, {_error_rate(change.second)}",
            "Repeats": f"{_repeats(change.first)} / {_repeats(change.second)}",
            "Changed": _changed(change, notes),
        }
        for change in changes
    )
    return "\n".join([*parts, "", to_markdown(table), "", *notes.lines()])


def _machines(rows: Iterable[Row | None]) -> str:
    """Say which machines these cells were run on."""
    machines = dict.fromkeys(f"machine {row['machine']}: {describe_machine(row)}" for row in rows if row)
    return "".join(f"; {escape(machine)}" for machine in machines)


def _outcome(row: Row | None, notes: Notes) -> str:
    """Return a cell's time, or why it has none that counts."""
    if row is None:
        return MISSING
    if _is_sound(row):
        value, unit = _measured(row)
        return f"{value:.2f} {unit}" + "".join(notes.mark(words) for words in row["disturbances"])
    if row["status"] != "ok":
        return escape(row["status"]) + notes.mark(str(row["reason"]))
    return escape(row["level"] or "not proven") + notes.mark(str(row["verdict"]))


def _mark(words: str, notes: Notes) -> str:
    return notes.mark(words) if words else ""


def _error_rate(row: Row | None) -> str:
    return number(100 * row["error_rate"], ".2f", " %") if row is not None and _is_sound(row) else MISSING


def _repeats(row: Row | None) -> int:
    return len(row["runs"]) if row is not None and _was_run(row) else 0


def _measured(row: Row) -> tuple[float, str]:
    """Return the median over repeats with its unit: seconds of training, or milliseconds of a step."""
    seconds = median(runs_s(row))
    return (seconds, "s") if row["measure"] == "epochs" else (1000 * seconds, "ms")


def _changed(change: Change, notes: Notes) -> str:
    if not (change.first and change.second and _was_run(change.first) and _was_run(change.second)):
        return MISSING
    versions = _describe_versions(change.first, change.second)
    return notes.mark(f"Changed: {versions}").strip() if versions else MISSING


def render_json(changes: Iterable[Change]) -> str:
    """Return B's times as github-action-benchmark reads them, its `customSmallerIsBetter`.

    Left out are cells that failed, are not proven or have learned less: they have no time that counts. `range` is the
    95 % interval of the median, where there are six repeats or more.
    """
    sound = [change for change in changes if change.verdict != "wrong" and _is_sound(change.second)]
    entries = [_entry(change, change.second) for change in sound if change.second]
    return json.dumps(entries, indent=1, allow_nan=False)


def _entry(change: Change, row: Row) -> dict[str, Any]:
    value, unit = _measured(row)
    factor = 1 if unit == "s" else 1000
    values = [factor * seconds for seconds in runs_s(row)]
    interval = median_interval(values)
    versions = _describe_versions(change.first, row) if change.first and _was_run(change.first) else ""
    extra = [f"repeats: {', '.join(f'{value:.4f}' for value in values)} {unit}"]
    extra += [f"against A: {change.verdict}" + (f", B / A = {change.ratio_text}" if change.ratio else "")]
    extra += [f"same net: {row['level']}"] if row["level"] else []
    extra += [] if pd.isna(row["error_rate"]) else [f"error rate: {100 * row['error_rate']:.2f} %"]
    extra += [f"changed: {versions}"] if versions else []
    entry = {"name": change.name, "unit": unit, "value": value, "extra": "\n".join(extra)}
    return entry | ({"range": f"{interval[0]:.4f} – {interval[1]:.4f}"} if interval else {})


def read_conditions(texts: Iterable[str]) -> list[Condition]:
    """Read what `--fail-on` was given: `slower:PERCENT%`, `wrong`, `missing`, several with commas.

    Raises UserError for anything else.
    """
    conditions = []
    for text in (word.strip() for given in texts for word in given.split(",")):
        slower = re.fullmatch(r"slower:(\d+(?:\.\d+)?)%", text, re.ASCII)
        if slower:
            conditions.append(Condition(text=text, verdict="slower", more_pct=float(slower[1])))
        elif text in ("wrong", "missing"):
            conditions.append(Condition(text=text, verdict=text))
        else:
            raise unknown("condition", text, ["slower:5% (or another number)", "wrong", "missing"], where="--fail-on")
    return conditions


def find_failures(changes: Iterable[Change], conditions: Iterable[Condition]) -> tuple[list[str], list[str]]:
    """Return what meets a condition, and what seems to be slower by so much but cannot be told to be."""
    failures, doubts = [], []
    changes = list(changes)
    for condition in conditions:
        for change in changes:
            slow = condition.verdict == "slower" and (change.ratio or 0.0) > 1 + condition.more_pct / 100
            line = f"{condition.text}: {change.name}" + (f": B / A = {change.ratio_text}" if change.ratio else "")
            line += f"; {speed}" if (speed := _describe_speed(change)) else ""
            if (slow and change.significant) or change.verdict == condition.verdict != "slower":
                failures.append(line)
            elif slow and change.interval is None:
                doubts.append(f"{line}, but the repeats are too few to tell; run {RANKED_REPEATS} or more of each")
            elif slow:
                doubts.append(f"{line}, but the runs of A and B overlap too much to tell")
    return failures, doubts
