"""The same-net proof of tool × workload: made in a process of its own, never while a cell is timed; kept by content."""

import contextlib
import json
import os
import queue
import signal
import statistics
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from frameworks import FLOOR, TOOLS
from frameworks.base import Device
from harness.ending import last_lines
from harness.launch import child_environment, make_scratch, passed_on_environment, say, signals_held_back, start_child
from harness.places import PROJECT, samenet_home
from harness.plan import Cell
from harness.records import adapter_fingerprint, write_whole
from workloads import TARGET
from workloads.datasets import file_sha256
from workloads.published import PUBLISHED_LOSSES
from workloads.spec import Workload, fingerprint, to_json

Verdict = dict[str, Any]
"""`level` (S0 to S3, or None), `reason` (why there is no level at all, or None), `supported` (False where the tool says
that it cannot train the net) and `findings`, each with its level, what was compared, precision, worst difference, where
it was, tolerance, note, and whether it holds."""
Judgement = tuple[bool | None, str]
"""Whether a loss curve reaches S4, None where there is nothing to judge it by; and what speaks against it."""

ORACLE = (
    "frameworks/proof.py", "frameworks/prover.py", "frameworks/reference.py", "workloads/spec.py", "harness/launch.py",
)  # fmt: skip
"""The source a proof rests on besides the adapter's own."""
TIME_LIMIT_S = 1800.0
PROVEN = ("S3", "S4")
"""The levels from which on a cell is ranked."""
LEVELS = {
    "S0": "every parameter has the spec's name and shape",
    "S1": "every node's output has the spec's shape",
    "S2": "every node's output in inference is the oracle's",
    "S3": "loss, every gradient, the weights after updates and the statistics of dropout are the oracle's",
    "S4": "the loss curve of this very training lies in the published band, or with those of the other tools",
}
ANSWER_LIMIT_S = 60.0
"""How long an interpreter may take to say what it has installed."""
CURVE_TOLERANCE = 0.25
"""The largest share by which a loss curve may differ from the median of the other tools' (see `curve_distance`)."""
FEWEST_OTHERS = 2


def proven_workload(workload: Workload) -> Workload:
    """Return what a proof is about: net, loss and optimiser, and not on what and how much it is trained."""
    images = len(workload.data.image_shape) == 3
    data = replace(
        workload.data,
        source="synthetic" if images else workload.data.source,
        scaling="none",
        train_samples=1,
        validation_samples=0,
        test_samples=1,
        noise=None,
    )
    return replace(workload, name="proof", parameters=(), data=data, batch_size=1, epochs=1, target_error_rate=None)


def verdict_key(
    tool: str,
    device: Device,
    workload: Workload,
    precision: str,
    packages: Mapping[str, str],
    hardware: Mapping[str, Any],
) -> str:
    """SHA-256 of what a verdict depends on.

    Spec and precision, sources of adapter and oracle, versions, processor and GPUs.
    """
    return fingerprint(
        [
            tool,
            device,
            precision,
            fingerprint(proven_workload(workload)),
            adapter_fingerprint(tool),
            dict(TOOLS[tool].options),
            dict(hardware),
            [file_sha256(PROJECT / path) for path in ORACLE],
            dict(packages),
        ]
    )


def installed_packages(python: str) -> dict[str, str]:
    """Return name and version of every package that an interpreter has, with the interpreter's own.

    Raises OSError, subprocess.SubprocessError or ValueError if it cannot be asked.
    """
    code = (
        "import importlib.metadata as m, json, platform; "
        "print(json.dumps({'python': platform.python_version(), "
        "**{str(d.metadata['Name']): str(d.version) for d in m.distributions()}}))"
    )
    asked = subprocess.run(
        [python, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
        timeout=ANSWER_LIMIT_S,
        env=passed_on_environment(),
    )
    packages = json.loads(asked.stdout or "null")
    if not isinstance(packages, dict):
        raise ValueError(f"it answered {asked.stdout[:100]!r}")
    return packages


class Prover:
    """A child that proves workloads for one tool on one device, one after another."""

    def __init__(self, tool: str, device: Device, cores: int, python: str) -> None:
        self._tool, self._device, self._cores, self._python = tool, device, cores, python
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.spent = False

    def __enter__(self) -> "Prover":
        """Start the child. Raises OSError if it cannot be started or there is no place for its temporary files."""
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(make_scratch()))
            self._log = stack.enter_context((folder / "log").open("w+b"))
            environment = child_environment(self._tool, self._device, self._cores, folder)
            with signals_held_back():
                self._process, read_end = start_child(
                    "frameworks.prover", self._python, environment, self._cores, self._log
                )
                stack.callback(self._end)
            self._reader = threading.Thread(target=self._read, args=(read_end,), daemon=True)
            self._reader.start()
            self._say({"tool": self._tool, "device": self._device, "cores": self._cores})
            self._stack = stack.pop_all()
        return self

    def _read(self, read_end: int) -> None:
        with os.fdopen(read_end, encoding="utf-8", errors="replace") as proofs:
            for line in proofs:
                self._answers.put(line)
        self._answers.put(None)

    def _say(self, value: Any) -> None:
        say(self._process, json.dumps(value).encode() + b"\n")

    def prove(self, workload: Workload, precision: str) -> Verdict:
        """Return the verdict on one workload in a precision.

        A child that dies or hangs gives one without a level and is spent.
        """
        self._say({"workload": to_json(workload), "precision": precision})
        try:
            line = self._answers.get(timeout=TIME_LIMIT_S)
        except queue.Empty:
            self.spent = True
            return no_verdict(f"the proof was not done within {TIME_LIMIT_S:g} s")
        if line is None or not line.endswith("\n"):
            self.spent = True
            return no_verdict(" ".join(["the proof's process ended before its answer", *last_lines(self._log)[-1:]]))
        verdict: Verdict = json.loads(line)
        return verdict

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._reader.join(timeout=2)

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def no_verdict(reason: str) -> Verdict:
    """Return the verdict of a proof that could not be made."""
    return {"level": None, "reason": reason, "supported": True, "findings": []}


def audit_cells(
    cells: Iterable[Cell],
    interpreter_of: Callable[[Cell], str | Exception],
    host: Mapping[str, Any],
    show: Callable[[str], None],
) -> dict[Cell, Verdict]:
    """Return the verdict on each cell, proving first what has none; `show` is told what is being proven.

    A proof that could not be made, or came upon an exception, is tried again the next time.
    """
    verdicts: dict[Cell, Verdict] = {}
    for (tool, device, python), group in _by_child(cells, interpreter_of).items():
        if tool == FLOOR:
            verdicts |= dict.fromkeys(group, no_verdict("it trains nothing"))
        elif isinstance(python, Exception):
            verdicts |= dict.fromkeys(group, no_verdict(f"its environment could not be made: {python}"))
        else:
            verdicts |= _audit_tool(tool, device, python, group, host, show)
    return verdicts


def _by_child(
    cells: Iterable[Cell], interpreter_of: Callable[[Cell], str | Exception]
) -> dict[tuple[str, Device, str | Exception], list[Cell]]:
    groups: dict[tuple[str, Device, str | Exception], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.tool, cell.device, interpreter_of(cell)), []).append(cell)
    return groups


def _audit_tool(
    tool: str, device: Device, python: str, cells: list[Cell], host: Mapping[str, Any], show: Callable[[str], None]
) -> dict[Cell, Verdict]:
    hardware = {"cpu": host["cpu"], "gpus": [{name: gpu[name] for name in ("name", "driver")} for gpu in host["gpus"]]}
    try:
        packages = installed_packages(python)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return dict.fromkeys(cells, no_verdict(f"{python} cannot be asked what it has installed: {error}"))
    key_of = cache(lambda workload, precision: verdict_key(tool, device, workload, precision, packages, hardware))
    verdicts: dict[Cell, Verdict] = {}
    by_key: dict[str, Verdict] = {}
    with contextlib.ExitStack() as stack:
        prover: Prover | None = None
        for cell in cells:
            key = key_of(cell.workload, cell.precision)
            known = by_key.get(key) or read_verdict(key)
            if known is None:
                show(f"proving {tool} · {device} · {cell.workload.label} · {cell.precision}")
                try:
                    prover = prover or stack.enter_context(Prover(tool, device, host["cores"], python))
                    known = prover.prove(cell.workload, cell.precision)
                except OSError as error:
                    known = no_verdict(f"the proof's process cannot be started: {error.strerror}")
                if known["findings"] and not any(finding["fault"] for finding in known["findings"]):
                    write_whole(verdict_path(key), json.dumps(known, indent=1, allow_nan=False) + "\n")
                if prover and prover.spent:
                    stack.close()
                    prover = None
            by_key[key] = verdicts[cell] = known
    return verdicts


def verdict_path(key: str) -> Path:
    """Return where the verdict of a key is kept."""
    return samenet_home() / "verdicts" / f"{key}.json"


def read_verdict(key: str) -> Verdict | None:
    """Return a verdict that was kept, or None; one that cannot be read is made anew."""
    try:
        verdict = json.loads(verdict_path(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return verdict if isinstance(verdict, dict) and verdict.keys() == no_verdict("").keys() else None


def _size_and_place(finding: dict[str, Any]) -> str:
    worst = "no number" if finding["worst"] is None else f"{finding['worst']:.2g}"
    return f"{worst} at {finding['where']}" if finding["where"] else worst


def describe_verdict(verdict: Verdict) -> str:
    """Say in a few words why a level was not passed, or what is to be known of what holds, from its notes."""
    if verdict["reason"]:
        return str(verdict["reason"])
    for finding in verdict["findings"]:
        if not finding["holds"]:
            return f"{finding['level']} {finding['what']} ({finding['precision']}): off by {_size_and_place(finding)}"
    return "; ".join(dict.fromkeys(finding["note"] for finding in verdict["findings"] if finding["note"]))


def render_ladder(label: str, verdict: Verdict, curve: Judgement) -> list[str]:
    """Return the lines that show a verdict step by step; `curve` is what its training came to, if it has been."""
    proven = verdict["level"] in PROVEN
    level = "S4" if proven and curve[0] else verdict["level"] or "not proven"
    lines = [f"{label}: {level}" + (f" ({verdict['reason']})" if verdict["reason"] else "")]
    for finding in verdict["findings"]:
        lines.append(
            f"  {'ok ' if finding['holds'] else 'BAD'} {finding['level']} {finding['precision']} {finding['what']}: "
            f"worst {_size_and_place(finding)}, allowed {finding['tolerance']:g}"
            + (f"; {finding['note']}" if finding["note"] else "")
        )
    if proven:
        reached, why = curve
        state = {True: "ok ", False: "BAD", None: "-- "}[reached]
        lines.append(f"  {state} S4 loss curve" + (f": {why}" if why else ""))
    return lines


def worst_judgement(judged: Iterable[Judgement]) -> Judgement:
    """Return what the curves of several runs come to: the worst of them; not to be judged where there are none."""
    order = (False, None, True)
    return min(judged, key=lambda one: order.index(one[0]), default=(None, "there is no record of its training yet"))


def judge_curve(model: str, batch_size: int, losses: Sequence[float], others: Sequence[Sequence[float]]) -> Judgement:
    """Judge a loss curve by the published band, or by the other tools' curves where nothing is published."""
    outside = outside_published(model, batch_size, losses)
    if outside is not None:
        return not outside, outside
    distance = curve_distance(losses, others)
    if distance is None:
        return None, f"nothing is published, and fewer than {FEWEST_OTHERS} other tools have been trained as long"
    if distance > CURVE_TOLERANCE:
        return False, f"its losses are {distance:.0%} from the other tools' median"
    return True, ""


def outside_published(model: str, batch_size: int, losses: Sequence[float]) -> str | None:
    """Say which epoch's loss is outside the published band, "" if none is, or None where nothing is published."""
    # A target of the error rate stands last in a label and changes nothing in training.
    bands = PUBLISHED_LOSSES.get((model.split(f" {TARGET}=")[0], batch_size), {})
    judged = {epoch: band for epoch, band in bands.items() if epoch <= len(losses)}
    for epoch, (low, high) in judged.items():
        if not low <= losses[epoch - 1] <= high:
            return f"its loss of epoch {epoch} is {losses[epoch - 1]:.4f}, published were {low:g} to {high:g}"
    return "" if judged else None


def curve_distance(losses: Sequence[float], others: Sequence[Sequence[float]]) -> float | None:
    """Return the area between a loss curve and the median of the others, relative to the area below the median.

    Small losses at the end, which scatter most, count for little. None where there are too few others to compare with,
    an epoch is lacking, or the others' losses are all 0.
    """
    if len(others) < FEWEST_OTHERS or any(len(other) != len(losses) for other in others) or not losses:
        return None
    medians = _median_curve(tuple(map(tuple, others)))
    if not sum(medians):
        return None
    between = sum(abs(mine - median) for mine, median in zip(losses, medians, strict=True))
    return float(between / sum(medians))


@lru_cache(maxsize=1)
def _median_curve(curves: tuple[tuple[float, ...], ...]) -> list[float]:
    """Return the median of each epoch; all runs of a tool are judged by the same curves, one after another."""
    return [statistics.median(losses) for losses in zip(*curves, strict=True)]
