"""From matrix.yaml to ordered cells, each to run or not with a reason. Nothing is started here."""

import itertools
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from frameworks import TOOLS
from frameworks.base import Device
from harness.yaml_checks import read_yaml
from workloads import make_workload
from workloads.errors import UserError, unknown
from workloads.spec import Workload

DEVICES = ("cpu", "gpu")
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
GPU_PRECISIONS = {
    "tf32": "TF32 is how GPUs multiply float32",
    "float16": "float16 is offered on GPUs alone, and bfloat16 on CPUs, too",
}
"""Why a precision is no CPU's."""
KEYS = (
    "tools", "devices", "models", "batch_sizes", "precisions", "measure", "steps", "repeats", "seed", "time_limit_s",
    "environments", "exclude", "include",
)  # fmt: skip
PLACE_KEYS = ("device", "cores", "steps", "price_per_hour")
AXES = ("tool", "device", "cores", "model", "batch_size", "precision", "measure")

NotRun = Literal["skipped", "unsupported", "unavailable"]
Measure = Literal["epochs", "forward", "gradients", "train"]
STEP_KINDS: tuple[Measure, ...] = ("forward", "gradients", "train")


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How many steps a step measurement takes: none is started once `at_most_s` of timed ones have gone by."""

    warmup: int = 10
    timed: int = 100
    at_most_s: int = 300


LEAST = {"warmup": 0, "timed": 1, "at_most_s": 1}
"""The least of each number of `Steps`."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measurement of the matrix. `cores` is None for all cores that the runner may use.

    `steps` is for a measurement of steps, and None for one of epochs. `price_per_hour` is of the machine, in the money
    of whoever wrote the matrix.
    """

    tool: str
    device: Device
    cores: int | None
    workload: Workload
    precision: str
    measure: Measure
    steps: Steps | None
    repeat: int
    seed: int
    time_limit_s: float
    environment: str
    price_per_hour: float | None = None
    not_run: tuple[NotRun, str] | None = None

    def axes(self) -> dict[str, Any]:
        """Return the values that `exclude` and `--only` can name."""
        return {
            "tool": self.tool,
            "device": self.device,
            "cores": self.cores or "all",
            "model": self.workload.name,
            "batch_size": self.workload.batch_size,
            "precision": self.precision,
            "measure": self.measure,
            **dict(self.workload.parameters),
        }

    @property
    def label(self) -> str:
        """Name the cell for people, e.g. `torch · cpu · mnist-mlp units=64 · batch 128`."""
        device = self.device if self.cores is None else f"{self.device} with {self.cores} of its cores"
        others = [
            self.precision if self.precision != PRECISIONS[0] else "",
            f"{self.measure} steps" if self.steps else "",
            f"repeat {self.repeat + 1}" if self.repeat else "",
        ]
        told = self.tool, device, self.workload.label, f"batch {self.workload.batch_size}", *filter(None, others)
        return " · ".join(told)


@dataclass(frozen=True, kw_only=True)
class _Common:
    """What all cells of a matrix share."""

    seed: int
    time_limit_s: float
    environments: Mapping[str, str]
    measures: tuple[Measure, ...]
    steps: Steps


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A device of the matrix, its cores, its price, and the numbers of steps that are others on it."""

    device: Device
    cores: int | None
    price_per_hour: float | None
    steps: Mapping[str, int]


def load_matrix(path: Path) -> list[Cell]:
    """Return the cells a matrix file spans, round by round.

    Raises UserError for anything it does not know.
    """
    content = read_yaml(path, "matrix", "Give the path of a matrix file.")
    if not isinstance(content, dict):
        raise UserError(f"matrix {path} holds {content!r}; accepted: keys {', '.join(KEYS)}. Correct the file.")
    for key in content:
        if key not in KEYS:
            raise unknown("key", key, KEYS, where=str(path))
    return _span(content)


def _span(content: dict[str, Any]) -> list[Cell]:
    measures, steps = _measures(content)
    common = _Common(
        measures=measures,
        steps=steps,
        seed=_whole(content.get("seed", 0), "seed", least=0, most=2**32 - 1),
        time_limit_s=_whole(content.get("time_limit_s", 3600), "time_limit_s", least=1, most=10**8),
        environments=_environments(content.get("environments", "managed")),
    )
    tools = [_known("tool", tool, TOOLS, f"tools[{i}]") for i, tool in enumerate(_list(content, "tools"))]
    devices = [_device(value, f"devices[{i}]", measures) for i, value in enumerate(_list(content, "devices"))]
    models = [w for i, value in enumerate(_list(content, "models")) for w in _models(value, f"models[{i}]")]
    sizes = content.get("batch_sizes")
    if sizes is not None:
        sizes = [_whole(size, f"batch_sizes[{i}]", least=1) for i, size in enumerate(_list(content, "batch_sizes"))]
        models = [replace(model, batch_size=size) for model in models for size in sizes]
    chosen = _as_list(content.get("precisions", [PRECISIONS[0]]), "precisions")
    precisions = [_known("precision", value, PRECISIONS, f"precisions[{i}]") for i, value in enumerate(chosen)]
    cells = [
        _cell(common, tool, place, model, precision, measure)
        for model, place, precision, measure, tool in itertools.product(models, devices, precisions, measures, tools)
    ]
    cells = _exclude(cells, _rules(content, "exclude"))
    cells += _include(common, _rules(content, "include"))
    for cell, times in Counter(cells).items():
        if times > 1:
            raise UserError(f"the matrix holds {cell.label} {times} times; accepted: once. Remove the others.")
    for cell in cells:
        if cell.not_run is None and (problem := _mismatch(cell)):
            raise UserError(f"{cell.label} cannot be measured: {problem}")
    return repeat_cells(cells, content.get("repeats", 1), "repeats")


def repeat_cells(cells: list[Cell], repeats: Any, where: str) -> list[Cell]:
    """Return so many rounds of all cells."""
    rounds = range(_whole(repeats, where, least=1, most=1000))
    first = [cell for cell in cells if cell.repeat == 0]
    return first + [replace(cell, repeat=number) for number in rounds[1:] for cell in first]


def shuffle_cells(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells in the order of running: round by round, so that drift hits all tools alike.

    Within a round what is compared stands together: the tools of one model on one device, in an order drawn from seed
    and round, so that none always comes first.
    """
    rounds: dict[tuple[int, int], dict[Hashable, list[Cell]]] = {}
    for cell in sorted(cells, key=lambda cell: cell.repeat):
        place = cell.device, cell.cores, cell.workload, cell.precision, cell.measure, cell.steps
        rounds.setdefault((cell.seed, cell.repeat), {}).setdefault(place, []).append(cell)
    shuffled = []
    for numbers, groups in rounds.items():
        stream = np.random.RandomState(numbers)
        for group in groups.values():
            shuffled += [group[i] for i in stream.permutation(len(group))]
    return shuffled


def _cell(common: _Common, tool: str, place: _Place, workload: Workload, precision: str, measure: Measure) -> Cell:
    reason = TOOLS[tool].unsupported.get(place.device)
    if reason is None and place.device == "cpu":
        reason = GPU_PRECISIONS.get(precision)
    return Cell(
        tool=tool,
        device=place.device,
        cores=place.cores,
        workload=workload,
        precision=precision,
        measure=measure,
        steps=None if measure == "epochs" else replace(common.steps, **place.steps),
        repeat=0,
        seed=common.seed,
        time_limit_s=common.time_limit_s,
        environment=common.environments.get(tool, "managed"),
        price_per_hour=place.price_per_hour,
        not_run=("unsupported", reason) if reason else None,
    )


def _mismatch(cell: Cell) -> str | None:
    """Return why a workload cannot be measured so, or None if it can."""
    workload, samples = cell.workload, cell.workload.data.train_samples
    if cell.measure in ("epochs", "train") and workload.optimizer is None:
        return (
            f"{workload.name} has no optimiser; accepted: `measure: steps` with `steps: {{of: [forward, gradients]}}`. "
            "Correct the matrix."
        )
    if cell.measure == "epochs" and workload.data.noise:
        return f"the data of {workload.name} is noise; accepted: `measure: steps`. Correct the matrix."
    if cell.measure != "epochs" and workload.target_error_rate is not None:
        return "target_error_rate is given and steps are measured; accepted: it with epochs. Remove it."
    if cell.measure != "epochs" and workload.batch_size > samples:
        return (
            f"a step takes {workload.batch_size} samples and there are {samples}; accepted: a batch size up to "
            f"{samples}, or a larger train_samples of the model. Correct the matrix."
        )
    return None


def _measures(content: dict[str, Any]) -> tuple[tuple[Measure, ...], Steps]:
    """Read `measure` and `steps: {of: [forward, train], warmup: 10, timed: 100, at_most_s: 300}`."""
    _known("measure", content.get("measure", "epochs"), ("epochs", "steps"), "measure")
    if content.get("measure") != "steps":
        if "steps" in content:
            raise UserError("steps is given without `measure: steps`; accepted: both or none. Add or remove one.")
        return ("epochs",), Steps()
    numbers = dict(_mapping(content.get("steps", {}), "steps", ("of", *LEAST)))
    chosen = _as_list(numbers.pop("of", ["train"]), "steps.of")
    kinds: Any = tuple(_known("kind of step", kind, STEP_KINDS, f"steps.of[{i}]") for i, kind in enumerate(chosen))
    return kinds, Steps(**_step_numbers(numbers, "steps"))


def _step_numbers(numbers: Mapping[str, Any], where: str) -> dict[str, int]:
    return {key: _whole(number, f"{where}.{key}", least=LEAST[key]) for key, number in numbers.items()}


def _mapping(value: Any, where: str, accepted: Iterable[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where} is {value!r}; accepted: the keys {', '.join(accepted)}. Correct it.")
    for key in value:
        _known("key", key, accepted, where)
    return value


def _as_list(value: Any, where: str) -> list[Any]:
    if value == []:
        raise UserError(f"{where} is an empty list; accepted: at least one value. Add one or remove {where}.")
    return value if isinstance(value, list) else [value]


def _list(content: dict[str, Any], key: str) -> list[Any]:
    values = content.get(key)
    if not isinstance(values, list) or not values:
        raise UserError(f"{key} is {values!r}; accepted: a list of at least one. Add {key} to the matrix.")
    return values


def _rules(content: dict[str, Any], key: str) -> list[Any]:
    return _list(content, key) if key in content else []


def _known(what: str, value: Any, accepted: Iterable[str], where: str) -> str:
    if not isinstance(value, str) or value not in accepted:
        raise unknown(what, value, accepted, where=where)
    return value


def _whole(value: Any, where: str, *, least: int, most: int = 10**6) -> int:
    if type(value) is not int or not least <= value <= most:
        raise UserError(f"{where} is {value!r}; accepted: a whole number from {least} to {most}. Correct it.")
    return value


def _environments(value: Any) -> dict[str, str]:
    """Return the interpreter of each tool: `managed`, `current` or a path to a Python."""
    chosen = dict.fromkeys(TOOLS, value) if not isinstance(value, dict) else value
    for tool, choice in chosen.items():
        _known("tool", tool, TOOLS, "environments")
        if not isinstance(choice, str) or (
            choice not in ("managed", "current") and not os.access(Path(choice).expanduser(), os.X_OK)
        ):
            raise UserError(
                f"environments.{tool} is {choice!r}; accepted: managed, current, or the path of a Python interpreter. "
                "Correct the matrix."
            )
    return chosen


def _device(value: Any, where: str, measures: tuple[Measure, ...]) -> _Place:
    """Read `cpu`, `gpu`, or `{device: cpu, cores: 1, steps: {timed: 3}, price_per_hour: 0.4}`."""
    entry = {"device": value} if isinstance(value, str) else value
    if not isinstance(entry, dict):
        raise unknown("device", value, DEVICES, where=where)
    for key in entry:
        _known("key", key, PLACE_KEYS, where)
    device: Any = _known("device", entry.get("device"), DEVICES, where)
    cores = entry.get("cores")
    if "steps" in entry and measures == ("epochs",):
        raise UserError(f"{where}.steps is given and epochs are measured; accepted: it with steps. Remove it.")
    return _Place(
        device=device,
        cores=None if cores is None else _whole(cores, f"{where}.cores", least=1),
        price_per_hour=_price(entry.get("price_per_hour"), f"{where}.price_per_hour"),
        steps=_step_numbers(_mapping(entry.get("steps", {}), f"{where}.steps", LEAST), f"{where}.steps"),
    )


def _price(value: Any, where: str) -> float | None:
    if value is None or (type(value) in (int, float) and 0 < value < 10**6):
        return None if value is None else float(value)
    raise UserError(f"{where} is {value!r}; accepted: the price of an hour, for example 2.5. Correct it.")


def _models(value: Any, where: str) -> Iterator[Workload]:
    """Read `digits-cnn` or `{model: mnist-mlp, units: [4, 8]}`; a list spans an axis."""
    entry = {"model": value} if isinstance(value, str) else value
    if not isinstance(entry, dict) or "model" not in entry:
        raise UserError(f"{where} is {value!r}; accepted: a model's name, or `model: name` with its parameters.")
    axes = {key: _as_list(choice, f"{where}.{key}") for key, choice in entry.items()}
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        yield make_workload(chosen.pop("model"), chosen, where=where)


def _exclude(cells: list[Cell], rules: list[Any]) -> list[Cell]:
    """Mark the cells that a rule names as skipped, with its `because`."""
    axes = [cell.axes() for cell in cells]
    known = {key for one in axes for key in one}
    for number, rule in enumerate(rules):
        where = f"exclude[{number}]"
        if not isinstance(rule, dict) or not isinstance(rule.get("because"), str) or not rule["because"].strip():
            raise UserError(
                f"{where} is {rule!r}; accepted: values of {', '.join(AXES)} or of a model's parameter, and `because: "
                "reason`. Correct the matrix."
            )
        wanted = {key: _as_list(value, f"{where}.{key}") for key, value in rule.items() if key != "because"}
        for key in wanted:
            _known("key", key, known | {"because"}, where)
        matched = [all(one.get(key) in values for key, values in wanted.items()) for one in axes]
        if not any(matched):
            raise UserError(f"{where} {rule!r} matches no cell; accepted: values of this matrix. Correct or remove it.")
        cells = [
            replace(cell, not_run=("skipped", rule["because"])) if hit else cell
            for cell, hit in zip(cells, matched, strict=True)
        ]
    return cells


def _include(common: _Common, rules: list[Any]) -> list[Cell]:
    """Build the cells that are added one by one: `{tool: torch, device: cpu, model: mnist-mlp, units: 8}`."""
    cells = []
    for number, rule in enumerate(rules):
        where = f"include[{number}]"
        if not isinstance(rule, dict) or not {"tool", "device", "model"} <= rule.keys():
            raise UserError(f"{where} is {rule!r}; accepted: tool, device and model, and more if wanted.")
        rest = dict(rule)
        tool = _known("tool", rest.pop("tool"), TOOLS, where)
        measures = common.measures
        if "measure" in rest:
            chosen: Any = _known("measure", rest.pop("measure"), ("epochs", *STEP_KINDS), where)
            measures = (chosen,)
        place = _device({key: rest.pop(key) for key in PLACE_KEYS if key in rest}, where, measures)
        precision = _known("precision", rest.pop("precision", PRECISIONS[0]), PRECISIONS, where)
        size = _whole(rest.pop("batch_size"), f"{where}.batch_size", least=1) if "batch_size" in rest else None
        for workload in _models(rest, where):
            sized = replace(workload, batch_size=size) if size else workload
            cells += [_cell(common, tool, place, sized, precision, measure) for measure in measures]
    return cells


def select(cells: Iterable[Cell], only: Iterable[str]) -> list[Cell]:
    """Keep the cells that every `axis=value,value` names. Raises UserError for what the matrix does not hold."""
    kept = list(cells)
    for rule in only:
        axis, _, text = rule.partition("=")
        values = text.split(",")
        axes = [cell.axes() for cell in kept]
        known = {name: None for one in axes for name in one}
        if axis not in known or not text:
            raise UserError(
                f"--only {rule!r}; accepted: axis=value,value with an axis of {', '.join(known)}. Correct the option."
            )
        accepted = {str(one[axis]) for one in axes if axis in one}
        for value in values:
            if value not in accepted:
                raise unknown(axis, value, accepted, where=f"--only {rule}")
        kept = [cell for cell, one in zip(kept, axes, strict=True) if str(one.get(axis)) in values]
    return kept


def mark_unavailable(cells: Iterable[Cell], *, cores: int, no_gpu: str | None) -> list[Cell]:
    """Mark what this machine does not have: a GPU (`no_gpu` says why), or as many cores as asked for."""

    def missing(cell: Cell) -> str | None:
        if cell.device == "gpu" and no_gpu:
            return no_gpu
        if (cell.cores or 0) > cores:
            return f"{cell.cores} cores were asked for and {cores} are to be had"
        return None

    return [
        replace(cell, not_run=("unavailable", reason)) if not cell.not_run and (reason := missing(cell)) else cell
        for cell in cells
    ]
