"""What the page holds of each run, small: curves thinned, numbers rounded, values that repeat written once."""

import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import orjson

from harness.chart_rows import error_rates, find_apart
from harness.ledger import measured_s
from harness.record_shape import LEDGER
from harness.records import record_name

MOST_POINTS = 60
"""Of a curve of the page."""
FEWEST_POINTS = 12
POINTS_IN_ALL = 60_000
"""Of one kind of curve, over all runs: 5,000 runs have FEWEST_POINTS each."""
SEEN = {
    "cpu_pct": "CPU %",
    "busiest_core_pct": "busiest core %",
    "others_pct": "others %",
    "rss_mib": "memory MiB",
    "gpu_pct": "GPU %",
    "gpu_memory_mib": "GPU memory MiB",
    "gpu_power_w": "GPU W",
    "sm_clock_mhz": "SM MHz",
    "temperature_c": "GPU °C",
    "energy_j": "GPU J",
    "package_energy_j": "CPU packages J",
    "framework_memory_mib": "framework's memory MiB",
}
"""What is shown of a run's utilisation, and how it is called."""
PARTS = ("first_step_s", *LEDGER, "total_s")
"""What is shown of a run's ledger."""

Value = Any
"""What JSON can hold."""


def rounded(value: float | None, digits: int = 5) -> float | None:
    """Return a number with so many significant digits, as an int if that is exact; None for what is no number."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 2**53 else short


def thin_places(count: int, most: int) -> list[int]:
    """Return at most so many places of a list of `count`, evenly chosen, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def _rounded_all(values: Iterable[float | None], digits: int = 5) -> list[float | None]:
    return [rounded(value, digits) for value in values]


class RunPacker:
    """Packs records of a folder one by one; what many of them share, such as versions, is kept once."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._known: dict[bytes, Value] = {}

    def pack(self, content: Mapping[str, Any]) -> dict[str, Value]:
        """Return what the page holds of a record, its curves raw and with MOST_POINTS points at most."""
        seen = content["utilisation"]
        return {
            "run": content["cell"]["repeat"] + 1,
            "status": content["status"],
            "reason": content["reason"],
            "finished_at": content["finished_at"][:16],
            "measured": rounded(measured_s(content)),
            "steady_s": rounded(content["time"]["steady_epoch_s"]),
            "error_pct": _pct(content["error_rate"]),
            "test_loss": rounded(content["test_loss"]),
            "parts": _rounded_all(content["time"].get(name) for name in PARTS),
            "seen": _rounded_all(seen.get(name) for name in SEEN),
            "others_before_pct": rounded(content["canary"]["others_pct"], 3),
            "gflops": rounded(content["canary"]["gflops"]),
            "proof": self._shared(_proof, content["sameness"]),
            "versions": self._shared(_versions, content["versions"], content["host"].get("system"), _commit(content)),
            "record": self._record(content),
            "epochs": _epochs(content),
            "steps": _steps(content["steps"]),
            "series": _series(seen.get("series") or {}),
        }

    def _record(self, content: Mapping[str, Any]) -> str | None:
        """Return where a record lies if it can be replayed, ready for a shell."""
        replayable = content["status"] == "ok" and content["cell"]["workload"]["name"] is not None
        return shlex.quote(f"{self._folder}/{record_name(dict(content))}") if replayable else None

    def _shared(self, make: Callable[..., Value], *raw: Value) -> Value:
        """Return what is made of parts of a record, once for all records that have the same."""
        key = orjson.dumps([make.__name__, *raw])
        if key not in self._known:
            self._known[key] = make(*raw)
        return self._known[key]


def _pct(rate: float | None) -> float | None:
    return None if rate is None else rounded(100 * rate)


def _proof(sameness: Mapping[str, Any]) -> Value:
    findings = [
        [
            str(one["level"]), str(one["what"]), str(one["precision"]), rounded(one["worst"], 3), str(one["where"]),
            rounded(one.get("tolerance"), 3), bool(one["holds"]), str(one["note"] or ""),
        ]
        for one in sameness["findings"]
    ]  # fmt: skip
    return [sameness["level"], sameness["reason"], findings]


def _versions(versions: Mapping[str, Any], system: str | None, commit: str | None) -> Value:
    known = {"python": versions["python"], **(versions["packages"] or {}), **(versions.get("libraries") or {})}
    return {"packages": known, "system": system, "commit": commit}


def _commit(content: Mapping[str, Any]) -> str | None:
    commit: str | None = (content["host"].get("git") or {}).get("commit")
    return commit


def _epochs(content: Mapping[str, Any]) -> Value:
    """Return epochs (from 1), seconds of training at their ends, losses and error rates, None where unknown."""
    epochs = content["epochs"]
    if not epochs:
        return None
    errors = error_rates(content)
    places = thin_places(len(epochs), MOST_POINTS)
    ends_s = list(accumulate(one["wall_s"] for one in epochs))
    return [
        [place + 1 for place in places],
        [ends_s[place] for place in places],
        [epochs[place]["loss"] for place in places],
        [errors[place] for place in places] if any(error is not None for error in errors) else None,
    ]


def _steps(steps: Sequence[Mapping[str, Any]]) -> Value:
    """Return steps (from 1), their seconds, and how many of all are warm-ups."""
    if not steps:
        return None
    places = thin_places(len(steps), MOST_POINTS)
    warmups = sum(step["warmup"] for step in steps)
    return [[place + 1 for place in places], [steps[place]["wall_s"] for place in places], warmups]


def _series(series: Mapping[str, Any]) -> Value:
    """Return seconds since the launch, CPU seconds so far, memory in MiB, and the % of each GPU or None."""
    times = series.get("at_s") or []
    if not times:
        return None
    apart = find_apart(times)
    places = [apart[place] for place in thin_places(len(apart), MOST_POINTS)]
    gpus = [gpu["gpu_pct"] for gpu in series.get("gpus") or []]
    return [
        [times[place] for place in places],
        [series["cpu_s"][place] for place in places],
        [series["rss_mib"][place] for place in places],
        [[gpu[place] for gpu in gpus] for place in places] if gpus else None,
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return rounded(sum(known) / len(known), 3) if known else None


def points_each(runs: int) -> int:
    """Return with how many points a curve of so many runs is kept."""
    return min(MOST_POINTS, max(FEWEST_POINTS, POINTS_IN_ALL // max(runs, 1)))


def finish_run(run: Mapping[str, Value], points: int, cores: int) -> dict[str, Value]:
    """Return a packed run as the page holds it: so many points a curve, rounded, without `record`.

    `epochs` are [epoch from 1], [seconds of training at their ends], [losses], [error rates in %] or None; `steps`
    [step from 1], [milliseconds], how many of all are warm-ups; `series` [seconds since the launch], [CPU % of the
    cores since the point before], [memory in MiB], [mean GPU %] or None. Each is None where it was not measured.
    """
    epochs, steps, series = (_thin(run[name], points) for name in ("epochs", "steps", "series"))
    if epochs:
        numbers, ends_s, losses, errors = epochs
        epochs = [numbers, _rounded_all(ends_s), _rounded_all(losses), errors and [_pct(error) for error in errors]]
    if steps:
        numbers, wall_s, warmups = steps
        steps = [numbers, _rounded_all(1000 * one for one in wall_s), warmups]
    if series:
        times, cpu_s, memory, gpus = series
        busy = gpus and [_mean(each) for each in gpus]
        series = [_rounded_all(times), _cpu_pct(times, cpu_s, cores), _rounded_all(memory, 3), busy]
    kept = {name: value for name, value in run.items() if name != "record"}
    return {**kept, "epochs": epochs, "steps": steps, "series": series}


def _thin(columns: Value, points: int) -> Value:
    if columns is None:
        return None
    places = thin_places(len(columns[0]), points)
    return [[column[place] for place in places] if isinstance(column, list) else column for column in columns]


def _cpu_pct(times: Sequence[float], cpu_s: Sequence[float | None], cores: int) -> list[float | None]:
    """Return at each time the CPU % of the cores since the time before it."""
    found: list[float | None] = [None]
    for (start, end), (before, after) in zip(pairwise(times), pairwise(cpu_s), strict=True):
        if before is None or after is None or end <= start:
            found.append(None)
        else:
            found.append(rounded(100 * (after - before) / (end - start) / cores, 2))
    return found


def pack_columns(rows: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    """Return rows as columns, each in the shortest of three forms.

    `[value, ...]`; `{"all": value}` where all are equal; `{"of": [value, ...], "at": [place in "of", ...]}`.
    """
    names = list(rows[0]) if rows else []
    return {"count": len(rows), "columns": {name: _pack_column([row[name] for row in rows]) for name in names}}


def _pack_column(values: Sequence[Value]) -> Value:
    written: Callable[[Value], bytes] = orjson.dumps
    texts = [written(value) for value in values]
    distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    if len(distinct) == 1:
        return {"all": values[0]}
    shared = {"of": [orjson.loads(text) for text in distinct], "at": [distinct[text] for text in texts]}
    return shared if len(written(shared)) < len(written(list(values))) else list(values)
