"""What is derived of one record for its line among all cells; nothing here is kept in a record."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from frameworks import TOOLS
from harness.audit import describe_verdict
from harness.ledger import TimeToTarget, run_cost, samples_trained, time_to_target
from harness.net_size import NetSize, dump_parameters, find_net_size
from harness.records import timed_s
from harness.statistics import StepSummary, summarize_steps
from harness.versions import installed, packages_of
from workloads import TARGET


class RunFacts:
    """A record's content, with what several columns are made from."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self._parts: dict[str, dict[str, Any]] = {"": content}

    def part(self, path: str) -> dict[str, Any]:
        """Return the part of the record at a path such as `utilisation.before`; an empty one if it has none."""
        if (known := self._parts.get(path)) is not None:
            return known
        outer, _, name = path.rpartition(".")
        found = self.part(outer).get(name)
        part = found if type(found) is dict else {}
        self._parts[path] = part
        return part

    @property
    def is_ok(self) -> bool:
        """Whether the run is a measurement, from which rates may be had."""
        return bool(self.content["status"] == "ok")

    @cached_property
    def parameters_json(self) -> str:
        """The chosen parameters of the workload."""
        return dump_parameters(self.content["cell"]["workload"]["parameters"])

    @cached_property
    def net_size(self) -> NetSize | None:
        """The size of the net, if this version knows it."""
        cell, spec = self.content["cell"], self.content["fingerprints"]["spec"]
        return find_net_size(cell["workload"]["name"], self.parameters_json, cell["batch_size"], spec)

    @cached_property
    def timed_s(self) -> list[float]:
        """The seconds of the timed steps."""
        return timed_s(self.content["steps"])

    @cached_property
    def steps(self) -> StepSummary | None:
        """The numbers of the timed steps of a run that is ok."""
        measured = self.is_ok and self.timed_s
        return summarize_steps(self.timed_s, self.content["cell"]["batch_size"]) if measured else None

    def loss(self, place: int) -> float | None:
        """Return the training loss of an epoch, or of a step, those of the warm-up counted."""
        trained = self.content["epochs"] or self.content["steps"]
        return trained[place]["loss"] if trained else None

    @cached_property
    def samples(self) -> int | None:
        """Over how many samples the epochs went."""
        return samples_trained(self.content["epochs"]) or None

    @property
    def samples_per_s(self) -> float | None:
        """Samples over seconds of training, of a run of epochs that is ok."""
        return self.samples / self.content["time"]["train_s"] if self.is_ok and self.samples else None

    @property
    def steady_samples_per_s(self) -> float | None:
        """Samples of an epoch over the seconds of a steady one."""
        steady_s = self.content["time"]["steady_epoch_s"]
        return self.content["epochs"][-1]["samples"] / steady_s if self.is_ok and self.samples and steady_s else None

    @property
    def target_error_rate(self) -> float | None:
        """The error rate whose reaching was looked for."""
        target: float | None = self.content["cell"]["workload"]["parameters"].get(TARGET)
        return target

    @cached_property
    def target(self) -> TimeToTarget | None:
        """When the target's error rate was reached."""
        wanted = self.target_error_rate
        return time_to_target(self.content, wanted) if self.is_ok and wanted is not None else None

    @property
    def cost(self) -> float | None:
        """What the run cost, in the money of the matrix's price."""
        price, total_s = self.content["cell"]["price_per_hour"], self.content["time"]["total_s"]
        return None if price is None or total_s is None else run_cost(total_s, price)

    @property
    def verdict(self) -> str | None:
        """Why a level of sameness was not passed, or what is to be known of what holds."""
        return describe_verdict(self.content["sameness"]) or None

    @cached_property
    def worst(self) -> dict[tuple[str, str], float | None]:
        """The worst difference of each level and precision of the proof; None where one of them is no number.

        What is found of dropout are statistics of a random draw and no differences.
        """
        found: dict[tuple[str, str], float | None] = {}
        for finding in self.content["sameness"]["findings"]:
            if not finding["what"].startswith("dropout"):
                place, worst = (finding["level"], finding["precision"]), finding["worst"]
                known = found.get(place, 0.0)
                found[place] = None if worst is None or known is None else max(known, worst)
        return found

    @cached_property
    def package(self) -> tuple[str, str] | None:
        """Name and version of the tool's main package, of Keras whatever is below it."""
        packages = packages_of(self.content["cell"]["tool"])
        return self._first_installed(packages[:1] if self._is_layered else packages)

    @cached_property
    def backend(self) -> tuple[str, str] | None:
        """Name and version of the package below Keras."""
        return self._first_installed(packages_of(self.content["cell"]["tool"])[1:]) if self._is_layered else None

    @property
    def _is_layered(self) -> bool:
        """Whether the tool is Keras on a backend."""
        tool = self.content["cell"]["tool"]
        return tool in TOOLS and "backend" in TOOLS[tool].options

    def _first_installed(self, names: Sequence[str]) -> tuple[str, str] | None:
        return next(iter(installed(names, self.content["versions"])), None)
