"""Runs the cell of a record again, in an environment made from the record, and says how far the two agree."""

import hashlib
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from frameworks import TOOLS
from harness.audit import installed_packages, no_verdict
from harness.canary import DRIFT, release_canary
from harness.compare import learned_less
from harness.data import prepare
from harness.environments import (
    EnvironmentFailedError,
    ensure_environment,
    find_environment,
    has_python,
    python_of,
    requirements_of,
)
from harness.frames import VERSIONED
from harness.host import available_cores
from harness.launch import launch_worker
from harness.ledger import measured_s
from harness.places import samenet_home
from harness.plan import Cell, Steps, mark_unavailable
from harness.recording import Circumstances, make_record
from harness.records import Planned, Record, key_maker, read_record, read_records, write_whole
from workloads import make_workload
from workloads.errors import UserError, unknown
from workloads.spec import fingerprint

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
"""A package's name or a version, and nothing that a requirements file reads as an option or an address."""
NOT_COMPARED = ("repeat", "time_limit_s", "price_per_hour")
"""In what two runs of one cell may differ."""
UNCHANGED = {"adapter": "the source of its adapter", "weights": "the initial weights", "order": "the order of samples"}
"""The fingerprints that are compared after the run, and of what they are."""


def replay(path: Path, host: dict[str, Any], show: Callable[[str], None]) -> int:
    """Run a record's cell again and show what came of it; exit code 1 if it failed or learned less than it did.

    Nothing is written but data and the environment. Raises UserError for a record that cannot be replayed here.
    """
    record, records = _read(path)
    stored = record.content
    cell = rebuild_cell(stored, path)
    (cell,) = mark_unavailable([cell], cores=len(available_cores()), no_gpu=host["no_gpu"])
    if cell.not_run:
        raise UserError(f"{cell.label} cannot be run here: {cell.not_run[1]}. Replay it where that is to be had.")
    data, facts = prepare(cell.workload.data)
    if facts["fingerprint"] != stored["fingerprints"]["data"]:
        raise UserError(
            f"data {cell.workload.data.source} is not what {path} was measured on; accepted: the same bytes. Name a "
            "folder that has them in SAMENET_DATA."
        )
    try:
        python = find_interpreter(cell, stored["versions"], show)
    except EnvironmentFailedError as error:
        show(
            f"failed: its environment could not be made: {error}. What no index has, such as a build with a local "
            "version like 2.13.0+cpu, is looked for in the folders that PIP_FIND_LINKS names."
        )
        return 1
    show(f"running {cell.label}")
    again = _run(cell, python, data, facts, host)
    lines, is_sound = describe_replay(stored, again, stored_runs_s(stored, records))
    for line in lines:
        show(line)
    return 0 if is_sound else 1


def _read(path: Path) -> tuple[Record, list[Record]]:
    """Return a record and all that lie in its folder. Raises UserError if it does not say how to run it again."""
    if not path.is_file() or path.suffix != ".json":
        raise UserError(f"record {path} is no JSON file; accepted: one of a results folder. Correct the path.")
    record = read_record(path)
    if record.status != "ok":
        raise UserError(
            f"record {path} is {record.status}; accepted: one that is ok, since no other says what was installed. "
            "Name another."
        )
    if record.content["cell"]["workload"]["name"] is None:
        raise UserError(
            f"record {path} does not say which workload it ran, as none did before schema 4; accepted: a newer record. "
            "Name another, or measure the cell anew with --fresh."
        )
    return record, list(read_records(path.parent))


def rebuild_cell(content: Mapping[str, Any], path: Path) -> Cell:
    """Return the cell of a record. Raises UserError for one that this version knows no more, or knows otherwise."""
    kept = content["cell"]
    if kept["tool"] not in TOOLS:
        raise unknown("tool", kept["tool"], TOOLS, where=str(path))
    workload = make_workload(kept["workload"]["name"], kept["workload"]["parameters"], where=str(path))
    workload = replace(workload, batch_size=kept["batch_size"])
    if fingerprint(workload) != content["fingerprints"]["spec"]:
        git = content["host"].get("git")
        advice = f"Check out commit {git['commit']}" if git else "Check out the version that it was measured with"
        raise UserError(
            f"{workload.label} is another workload now than when {path} was measured; accepted: the same. {advice} "
            "and start again."
        )
    return Cell(
        tool=kept["tool"],
        device=kept["device"],
        cores=kept["cores"],
        workload=workload,
        precision=kept["precision"],
        measure=kept["measure"],
        steps=Steps(**kept["steps"]) if "steps" in kept else None,
        repeat=kept["repeat"],
        seed=kept["seed"],
        time_limit_s=kept["time_limit_s"],
        environment="managed",
    )


def find_interpreter(cell: Cell, versions: Mapping[str, Any], show: Callable[[str], None]) -> str:
    """Return an interpreter with exactly a record's Python and packages, making its environment if none is there.

    A tool without an environment gets the runner's own. Raises UserError if that Python is not here, and
    EnvironmentFailedError.
    """
    requirements = requirements_of(cell.tool, cell.device)
    if requirements is None:
        return sys.executable
    python, packages = versions["python"], versions["packages"]
    managed = find_environment(requirements, python_of(cell.tool))
    if managed and _holds(managed, {"python": python, **packages}):
        return str(managed)
    text = lock_text(packages)
    if not (PLAIN.fullmatch(python) and has_python(python)):
        raise UserError(
            f"Python {python} is not here; accepted: the version of the record. Install it, for example with "
            f"`{sys.executable} -m uv python install {python}`, and start again."
        )
    lock = samenet_home() / "locks" / hashlib.sha256(text.encode()).hexdigest()[:12] / f"{cell.tool}.txt"
    write_whole(lock, text)
    return str(ensure_environment(lock, python, show, exactly=True))


def _holds(python: Path, packages: Mapping[str, str]) -> bool:
    try:
        return installed_packages(str(python)) == packages
    except (OSError, subprocess.SubprocessError, ValueError):
        return False


def lock_text(packages: Mapping[str, str]) -> str:
    """Return a requirements file of exactly these packages. Raises UserError for what is no name or no version.

    >>> lock_text({"torch": "2.13.0+cpu", "Jinja2": "3.1.6"})
    'Jinja2==3.1.6\\ntorch==2.13.0+cpu\\n'
    """
    for name, version in packages.items():
        if not (PLAIN.fullmatch(name) and PLAIN.fullmatch(version)):
            raise UserError(
                f"the record lists package {name!r} with version {version!r}; accepted: letters, digits and . ! + _ -. "
                "Replay a record as the runner wrote it."
            )
    return "".join(f"{name}=={version}\n" for name, version in sorted(packages.items()))


def _run(cell: Cell, python: str, data: Path, facts: dict[str, Any], host: dict[str, Any]) -> dict[str, Any]:
    """Run a cell as a session does and return the record that it would write."""
    assert cell.cores is not None
    item = Planned(cell=cell, key=key_maker(host["machine"])(cell, cell.cores), cores=cell.cores, done=None)
    around = Circumstances(
        session=uuid.uuid4().hex[:12],
        host=host,
        verdict=no_verdict("it is a replay"),
        canary=release_canary(cell.cores),
        data=facts,
    )
    return make_record(item, launch_worker(cell, cell.cores, python, data, lambda event: None), around)


def stored_runs_s(content: Mapping[str, Any], records: Iterable[Record]) -> list[float]:
    """Return the seconds of all runs of a record's cell: those that differ from it in nothing but the repeat.

    Of a repeat that was run several times the newest one that came out well counts.
    """
    wanted = _identity(content)
    same = [record.content for record in records if _identity(record.content) == wanted]
    ordered = sorted(same, key=lambda one: str(one["finished_at"]))
    newest = {one["cell"]["repeat"]: seconds for one in ordered if (seconds := measured_s(one)) is not None}
    return list(newest.values())


def _identity(content: Mapping[str, Any]) -> tuple[Any, ...]:
    cell = {name: value for name, value in content["cell"].items() if name not in NOT_COMPARED}
    versions = [content["versions"][name] for name in ("python", "packages")]
    prints = [content["fingerprints"][name] for name in VERSIONED]
    return content["host"]["machine"], content["suite"], cell, versions, prints


def describe_replay(
    stored: Mapping[str, Any], again: Mapping[str, Any], runs_s: Sequence[float]
) -> tuple[list[str], bool]:
    """Return what two records of one cell have in common, line by line, and whether the second learned as well."""
    changed = [f"changed since: {change}" for change in _changes(stored, again)]
    seconds = measured_s(again)
    if seconds is None:
        return [*changed, f"{again['status']}: {again['reason']}"], False
    then, now = stored["error_rate"], again["error_rate"]
    has_learned_less = then is not None and now is not None and learned_less(then, now)
    return [*changed, *_outcomes(stored, again), judge_time(seconds, runs_s)], not has_learned_less


def _changes(stored: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is not as it was, and may be why the results are not."""
    if stored["suite"] != again["suite"]:
        yield f"what is measured, suite {stored['suite']} then, {again['suite']} now"
    then, now = stored["host"], again["host"]
    if then["machine"] != now["machine"]:
        yield f"the machine, {then['cpu']} with {then['cores']} cores then, {now['cpu']} with {now['cores']} now"
    before, after = (content["canary"]["gflops"] for content in (stored, again))
    if before and after and abs(after - before) > DRIFT * before:
        yield f"the machine's speed, {before:.4g} GFLOP/s then, {after:.4g} now"
    for name, what in UNCHANGED.items():
        if again["fingerprints"][name] not in (None, stored["fingerprints"][name]):
            yield what
    if again["versions"]["packages"] is None:
        return
    then, now = ({"Python": one["versions"]["python"], **one["versions"]["packages"]} for one in (stored, again))
    for name in sorted({*then, *now}, key=str.lower):
        if then.get(name) != now.get(name):
            yield f"{name}, {then.get(name, 'not there')} then, {now.get(name, 'not there')} now"


def _outcomes(stored: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    """Yield how the error rate and the losses of two runs agree; a measurement by step has no error rate."""
    then, now = stored["error_rate"], again["error_rate"]
    if then is not None and now is not None:
        yield f"error rate: equal, {100 * then:.2f} %" if then == now else f"error rate: {then:.6g} then, {now:.6g} now"
    part = "steps" if stored["steps"] else "epochs"
    before, after = ([one["loss"] for one in content[part]] for content in (stored, again))
    yield compare_losses(before, after, part)


def compare_losses(stored: Sequence[float | None], again: Sequence[float | None], part: str) -> str:
    """Say in how many epochs or steps the losses differ, from which on, and by how much at most."""
    both = [
        (number, then, now)
        for number, (then, now) in enumerate(zip(stored, again, strict=False), 1)
        if then is not None and now is not None
    ]
    if not both:
        return "loss: there is none"
    off = [(abs(now - then), number, then, now) for number, then, now in both if now != then]
    if not off:
        return f"loss: equal in all of {len(both)} {part}"
    most, number, then, now = max(off)
    return (
        f"loss: other in {len(off)} of {len(both)} {part}, from number {off[0][1]} on; by {most:.2g} at most, in number"
        f" {number}, {then:.6g} then, {now:.6g} now"
    )


def judge_time(seconds: float, runs_s: Sequence[float]) -> str:
    """Say whether a new run lies between the least and the most of stored ones.

    Of n + 1 runs under equal conditions the new one is the least with probability 1 / (n + 1), and as often the most;
    so it lies between the others with probability (n − 1) / (n + 1), whatever the distribution.
    """
    count, least, most = len(runs_s), min(runs_s), max(runs_s)
    if count == 1:
        ratio = seconds / least
        return f"time: {seconds:.4g} s, {ratio:.3f} times the one stored run's {least:.4g} s; no verdict from one run"
    inside, probability = least <= seconds <= most, (count - 1) / (count + 1)
    return (
        f"time: {seconds:.4g} s, {'inside' if inside else 'outside'} {least:.4g} – {most:.4g} s, the interval of "
        f"{count} stored runs, where a new run lies with probability {probability:.2f} if nothing has changed"
    )
