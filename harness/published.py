"""The published figures of the workloads that SameNet repeats, read from published.yaml, which alone holds them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from frameworks.base import Device
from harness.places import PROJECT
from harness.plan import DEVICES, STEP_KINDS, Measure
from harness.yaml_checks import (
    Check,
    check_known,
    check_list,
    check_mapping,
    check_matching,
    check_number,
    check_numbers,
    check_text,
    check_texts,
    check_whole,
    read_keys,
    read_yaml,
)
from workloads import make_workload
from workloads.errors import UserError
from workloads.spec import Workload

PUBLISHED = PROJECT / "published.yaml"
TIMES = ("train_s", "step_ms", "images_per_s", "wall_s")
"""What a figure is published as: one of them."""
BESIDE = {"deviation_ms": "step_ms", "process_s": "wall_s"}
"""What may stand beside which of them."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One article, log or table; `dated_by` says where `year`, one or a span, is from if the source does not print it.

    `unfair` is what is known to be unfair or unclear about all its figures.
    """

    name: str
    title: str
    author: str | None
    year: str
    dated_by: str | None
    repository: str | None
    commit: str | None
    path: str | None
    timed: str
    unfair: tuple[str, ...]

    @property
    def address(self) -> str | None:
        """Where it stands on GitHub, as it was at its commit."""
        parts = ("https://github.com", self.repository, "tree", self.commit, self.path)
        return "/".join(part for part in parts if part) if self.repository else None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One published measurement, with the workload that comes closest to it; `measure` is as in records.

    It has one of `train_s` (over all epochs), `step_ms`, `images_per_s` and `wall_s` (the first calls, one by one), and
    may have `deviation_ms` or `process_s` beside it. `unfair` is about this figure alone.
    """

    source: Source
    system: str
    hardware: str
    device: Device
    workload: Workload
    measure: Measure
    train_s: float | None
    step_ms: float | None
    deviation_ms: float | None
    images_per_s: float | None
    wall_s: tuple[float, ...] | None
    process_s: tuple[float, ...] | None
    error_rate: float | None
    unfair: tuple[str, ...]


SOURCE: Mapping[str, Check] = {
    "name": check_text,
    "title": check_text,
    "author": check_text,
    "year": check_matching(r"\d{4}(–\d{4})?", "a year or a span, for example 2016 or 2018–2020"),
    "dated_by": check_text,
    "repository": check_matching(r"[\w.-]+/[\w.-]+", "a repository of GitHub, for example szilard/benchm-dl"),
    "commit": check_matching(r"[0-9a-f]{7,40}", 'the start of a commit in quotes, for example "4f6de55"'),
    "path": check_matching(r"[\w.-]+(/[\w.-]+)*", "a path within the repository, for example cnn-mnist"),
    "timed": check_text,
    "unfair": check_texts,
}
SOURCE_MAY_LACK = ("author", "dated_by", "repository", "commit", "path")
FIGURE: Mapping[str, Check] = {
    "system": check_text,
    "hardware": check_text,
    "device": lambda value, where: check_known(value, DEVICES, where, "device"),
    "model": check_text,
    "parameters": check_mapping,
    "epochs": check_whole,
    "batch_size": check_whole,
    "measure": lambda value, where: check_known(value, ("epochs", *STEP_KINDS), where, "measure"),
    "train_s": check_number,
    "step_ms": check_number,
    "deviation_ms": check_number,
    "images_per_s": check_number,
    "wall_s": check_numbers,
    "process_s": check_numbers,
    "error_pct": lambda value, where: check_number(value, where, most=100),
    "accuracy": lambda value, where: check_number(value, where, most=1),
    "unfair": check_texts,
}
FIGURE_MAY_LACK = ("parameters", "epochs", *TIMES, *BESIDE, "error_pct", "accuracy", "unfair")


@cache
def load_published(path: Path = PUBLISHED) -> tuple[Figure, ...]:
    """Return all published figures in the order of their file. Raises UserError for whatever it does not know."""
    content = read_yaml(path, "file of published figures", "Restore it.")
    parts = read_keys(content, {"notes": check_mapping, "sources": check_list}, (), path.name)
    notes = {name: check_text(note, f"{path.name} notes.{name}") for name, note in parts["notes"].items()}
    return tuple(
        figure
        for number, source in enumerate(parts["sources"])
        for figure in _figures(source, notes, f"{path.name} sources[{number}]")
    )


def _figures(entry: Any, notes: Mapping[str, str], where: str) -> list[Figure]:
    parts = read_keys(
        entry, {**SOURCE, "common": check_mapping, "figures": check_list}, (*SOURCE_MAY_LACK, "common"), where
    )
    common, figures = parts.pop("common") or {}, parts.pop("figures")
    if (parts["repository"] is None) != (parts["commit"] is None) or (parts["path"] and not parts["repository"]):
        raise UserError(
            f"{where} lacks its repository or commit; accepted: both, or neither of them nor a path. Add it."
        )
    source = Source(**parts)
    places = [f"{where}.figures[{number}]" for number in range(len(figures))]
    return [
        _figure({**common, **check_mapping(own, place)}, source, notes, place)
        for own, place in zip(figures, places, strict=True)
    ]


def _figure(entry: Mapping[str, Any], source: Source, notes: Mapping[str, str], where: str) -> Figure:
    parts = read_keys(entry, FIGURE, FIGURE_MAY_LACK, where)
    _refuse_mismatch(parts, where)
    epochs = {} if parts["epochs"] is None else {"epochs": parts["epochs"]}
    workload = make_workload(parts["model"], {**(parts["parameters"] or {}), **epochs}, where=where)
    return Figure(
        source=source,
        workload=replace(workload, batch_size=parts["batch_size"]),
        error_rate=_error_rate(parts["error_pct"], parts["accuracy"]),
        unfair=tuple(notes[check_known(name, notes, f"{where}.unfair", "note")] for name in parts["unfair"] or ()),
        **{name: parts[name] for name in (*TIMES, *BESIDE, "system", "hardware", "device", "measure")},
    )


def _error_rate(error_pct: float | None, accuracy: float | None) -> float | None:
    if error_pct is not None:
        return error_pct / 100
    return None if accuracy is None else 1 - accuracy


def _refuse_mismatch(parts: Mapping[str, Any], where: str) -> None:
    """Make sure that a figure is of one kind, and of the kind that its measure says."""
    given = {name for name, value in parts.items() if value is not None}
    times = [name for name in TIMES if name in given]
    if len(times) != 1:
        raise UserError(
            f"{where} has {' and '.join(times) or 'no time'}; accepted: one of {', '.join(TIMES)}. Correct it."
        )
    if len({parts["measure"] == "epochs", times == ["train_s"], "epochs" in given}) > 1:
        raise UserError(
            f"{where} has {times[0]}, the measure {parts['measure']} and epochs {parts['epochs']}; accepted: train_s, "
            "the measure epochs and how many there are, or another time, a kind of step and no epochs. Correct it."
        )
    for name, beside in BESIDE.items():
        if name in given and beside not in given:
            raise UserError(f"{where} has {name} without {beside}; accepted: both, or {beside} alone. Correct it.")
    if "process_s" in given and len(parts["process_s"]) != len(parts["wall_s"]):
        raise UserError(f"{where} has not as many process_s as wall_s; accepted: one of each a call. Correct it.")
    if {"error_pct", "accuracy"} <= given:
        raise UserError(
            f"{where} has error_pct and accuracy; accepted: the one that its source prints. Remove the other."
        )
