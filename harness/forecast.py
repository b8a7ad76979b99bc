"""How long the cells that are left will take, learned from those that are done."""

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from harness.plan import Cell, Steps
from harness.records import Planned

ROUNDS = 20
"""Of fitting; the products settle within a few."""
STEPS_S = ((60, 5), (600, 60), (3600, 300), (36000, 600), (math.inf, 3600))
"""Up to how many seconds a time is rounded to multiples of how many."""


class Place(NamedTuple):
    """Where a tool is measured: what tells a matrix's cells from each other besides tool and repeat."""

    model: str
    batch_size: int
    device: str
    cores: int | None
    precision: str
    measure: str
    steps: Steps | None


def place_of(cell: Cell) -> Place:
    """Return the place of a cell, which is quicker to look up than the cell itself."""
    workload = cell.workload
    return Place(workload.label, workload.batch_size, cell.device, cell.cores, cell.precision, cell.measure, cell.steps)


class Forecast:
    """Knows how long cells took, and so what to expect of others."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, Place], list[float]] = {}

    def learn(self, cell: Cell, seconds: float) -> None:
        """Note that a cell took so long."""
        if seconds > 0:
            self._runs.setdefault((cell.tool, place_of(cell)), []).append(seconds)

    def expect_s(self, cells: Iterable[Cell]) -> float | None:
        """Return how many seconds cells will take, one after another; None while nothing is known.

        A cell that has been run takes its median. Any other takes its tool's factor times its place's seconds, as
        `fit_products` finds them, the mean of all in place of one that is not known, and its time limit at most.
        """
        if not self._runs:
            return None
        known = {measured: statistics.median(runs) for measured, runs in self._runs.items()}
        factors, places_s = fit_products(known)
        usual, usual_s = statistics.fmean(factors.values()), statistics.fmean(places_s.values())
        total_s = 0.0
        for cell in cells:
            place = place_of(cell)
            product_s = factors.get(cell.tool, usual) * places_s.get(place, usual_s)
            total_s += known.get((cell.tool, place), min(product_s, cell.time_limit_s))
        return total_s


def fit_products(seconds: Mapping[tuple[str, Place], float]) -> tuple[dict[str, float], dict[Place, float]]:
    """Return a factor of each tool and seconds of each place, whose products are near what was seen.

    Over each tool and over each place they have the sum that was seen: the model of quasi-independence, fitted by
    iterative scaling (Bishop, Fienberg and Holland, Discrete Multivariate Analysis, 1975, chapter 5).
    """
    tools, places = (list(dict.fromkeys(names)) for names in zip(*seconds, strict=True))
    rows, columns = ({name: number for number, name in enumerate(names)} for names in (tools, places))
    seen, is_seen = np.zeros((2, len(tools), len(places)))
    for (tool, place), took_s in seconds.items():
        seen[rows[tool], columns[place]] = took_s
        is_seen[rows[tool], columns[place]] = 1.0
    factors = np.ones(len(tools))
    for _ in range(ROUNDS):
        places_s = seen.sum(axis=0) / (factors @ is_seen)
        factors = seen.sum(axis=1) / (is_seen @ places_s)
    return dict(zip(tools, factors.tolist(), strict=True)), dict(zip(places, places_s.tolist(), strict=True))


class Countdown:
    """Which cells are left, and for how long; a cell is left until its record is there."""

    def __init__(self) -> None:
        self._forecast = Forecast()
        self._left: dict[tuple[str, Place, int], Cell] = {}
        self._current: Cell | None = None
        self._began_s = 0.0
        self._current_s: float | None = None
        self._others_s: float | None = None

    def add(self, planned: Iterable[Planned]) -> None:
        """Take in cells that are to be done, and learn from those that are."""
        for item in planned:
            if item.done is None:
                self._left[_identity(item.cell)] = item.cell
            elif total_s := item.done.content["time"]["total_s"]:
                self._forecast.learn(item.cell, total_s + (item.done.content["time"]["probe_s"] or 0.0))
        self._look_ahead()

    def begin(self, cell: Cell, now_s: float) -> None:
        """A cell starts; moments are of any clock that goes on."""
        self._left[_identity(cell)] = cell
        self._current, self._began_s = cell, now_s
        self._look_ahead()

    def end(self, cell: Cell, now_s: float) -> None:
        """A cell has its record. One that is not run teaches nothing."""
        del self._left[_identity(cell)]
        self._current = None
        if cell.not_run is None:
            self._forecast.learn(cell, now_s - self._began_s)
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Work out what is to be expected, which changes only with a cell's start and end."""
        to_run = [cell for cell in self._left.values() if cell.not_run is None]
        current = [cell for cell in to_run if cell is self._current]
        self._current_s = self._forecast.expect_s(current)
        self._others_s = self._forecast.expect_s(cell for cell in to_run if cell is not self._current)

    def words(self, now_s: float) -> str:
        """Say how many cells are left, if any, and about how long they will take, if that is known."""
        if not self._left:
            return ""
        count = f"{len(self._left)} cell{'s' if len(self._left) > 1 else ''} left"
        if self._current_s is None or self._others_s is None:
            return count
        here_s = max(self._current_s - (now_s - self._began_s), 0.0)
        left_s = here_s + self._others_s
        return f"{count}, {about(left_s)}" if left_s else count


def about(seconds: float) -> str:
    """Say a time roughly, e.g. `about 2 h 10 min`."""
    step_s = next(step_s for limit_s, step_s in STEPS_S if seconds < limit_s)
    whole_s = max(round(seconds / step_s), 1) * step_s
    hours, minutes = divmod(round(whole_s / 60), 60)
    if whole_s < 60:
        return f"about {whole_s} s"
    return "about " + " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min")) if count)


def _identity(cell: Cell) -> tuple[str, Place, int]:
    """Return what tells a cell from the others of its matrix, whether it is run or not."""
    return cell.tool, place_of(cell), cell.repeat
