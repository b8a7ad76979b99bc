"""What is kept: one JSON file a run of a cell, written whole or not at all and never edited.

Schema history: 1, the first; 2 adds `sameness`, the verdict of the same-net proof; 3 adds `steps`, what each step of a
step measurement took; 4 has in `utilisation` what was seen of the process group from outside, over training and its
steady part, more parts in the ledger `time`, `checks` of the error rate after each epoch, and the `canary`.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from frameworks import TOOLS
from harness.environments import python_of, requirements_of
from harness.places import PROJECT
from harness.plan import Cell
from harness.record_shape import find_problem
from workloads.datasets import file_sha256
from workloads.errors import UserError
from workloads.spec import fingerprint

SCHEMA = 5
SUITE = "2"
"""Version of what is measured and how: only records of one suite share a table."""
OLD_SUITES = {"1": "CPU % is what the worker's own process used."}
"""What older suites measured otherwise."""
FINAL = ("ok", "diverged", "timeout", "out-of-memory")
"""Statuses that are a result: the cell is done. Any other is tried again at the next start."""
PARTIAL = ".partial-"
"""How the name of a file begins that is being written."""
ABSENT = ("skipped", "unsupported", "unavailable")
"""Statuses that are no failure: the cell is not to be had here, or not wanted."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record as it stands in its file."""

    content: dict[str, Any]

    @property
    def key(self) -> str:
        """The content key of the cell that was run."""
        return str(self.content["key"])

    @property
    def status(self) -> str:
        """`ok`, or what came in its way."""
        return str(self.content["status"])


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A cell with its key, the cores it gets and the record it already has, if that is a result."""

    cell: Cell
    key: str
    cores: int
    done: Record | None


COMMON = ("frameworks/base.py", "workloads/initial.py", "workloads/shapes.py")


def adapter_fingerprint(tool: str) -> str:
    """SHA-256 of the source of a tool's adapter, of the device modules it names and of what all adapters use."""
    folder = PROJECT / "frameworks"
    adapter = folder / f"{TOOLS[tool].adapter.split(':')[0]}.py"
    devices = sorted(set(re.findall(r"\b\w+_device\b", adapter.read_text(encoding="utf-8"))))
    shared = [path for name in devices if (path := folder / f"{name}.py").is_file()]
    common = [PROJECT / path for path in COMMON]
    return fingerprint([file_sha256(path) for path in (adapter, *shared, *common)])


def environment_fingerprint(tool: str, device: str, environment: str) -> str:
    """SHA-256 of what a cell's environment is made from, or of the interpreter that was named for it."""
    requirements = requirements_of(tool, device) if environment == "managed" else None
    made_from = file_sha256(requirements) if requirements else environment
    return fingerprint([made_from, python_of(tool)])


def describe_cell(cell: Cell, cores: int) -> dict[str, Any]:
    """Return the record's `cell` part; `cores` is what the cell was given, `steps` only there if it measures steps."""
    return {
        "tool": cell.tool,
        "device": cell.device,
        "cores": cores,
        "gpus": 1 if cell.device == "gpu" else 0,
        "model": cell.workload.label,
        "batch_size": cell.workload.batch_size,
        "precision": cell.precision,
        "measure": cell.measure,
        "epochs": 0 if cell.steps else cell.workload.epochs,
        "repeat": cell.repeat,
        "seed": cell.seed,
        "workload": {"name": cell.workload.name, "parameters": dict(cell.workload.parameters)},
        **({"steps": asdict(cell.steps)} if cell.steps else {}),
    }


KeyMaker = Callable[[Cell, int], str]
"""From a cell and the cores it is given to its key."""


def key_maker(machine: str) -> KeyMaker:
    """Return what makes the keys of one plan, which reads the source of each adapter and environment once.

    A key is the SHA-256 of what a cell is: machine, workload, adapter, environment, and why it is not run if it is not.
    A record with this key is the cell's record. What is found out only by running is not in it: the data's bytes and
    what an interpreter that was named holds.
    """
    workload, adapter, environment = cache(fingerprint), cache(adapter_fingerprint), cache(environment_fingerprint)

    def make_key(cell: Cell, cores: int) -> str:
        return fingerprint(
            [
                SUITE,
                machine,
                describe_cell(cell, cores),
                workload(cell.workload),
                adapter(cell.tool),
                environment(cell.tool, cell.device, cell.environment),
                list(cell.not_run or ()),
            ]
        )

    return make_key


def timed_s(steps: Iterable[dict[str, Any]]) -> list[float]:
    """Return the seconds of each timed one of a record's steps."""
    return [step["wall_s"] for step in steps if not step["warmup"]]


def read_records(folder: Path) -> Iterator[Record]:
    """Read the records below a folder one by one, in the order of their paths; one that is not there yet holds none.

    Raises UserError for a path that is no folder, and where a record is unreadable once it is its turn.
    """
    _refuse_file(folder)
    return (read_record(path) for path in sorted(folder.glob("**/*.json"), key=str))


def read_record(path: Path) -> Record:
    """Read one record. Raises UserError for one that is unreadable."""
    try:
        content = orjson.loads(path.read_bytes())
        problem = None
    except (OSError, ValueError) as error:
        content, problem = None, str(error)
    if isinstance(content, dict):
        content = _upgrade(content)
        newer = content.get("schema") != SCHEMA
        problem = f"its schema is {content.get('schema')!r}; accepted: {SCHEMA}" if newer else find_problem(content)
    elif problem is None:
        problem = f"it holds {type(content).__name__}"
    if problem:
        raise UserError(
            f"record {path} cannot be read: {problem}. Move the file out of the results folder (its cell is then "
            "run again) or restore it, and start again."
        )
    return Record(content=content)


OLD = "measured before it was looked at"
FOURTH: dict[str, Any] = {
    "session": None,
    "canary": {"gflops": None, "others_pct": None, "reason": OLD},
    "checks": [],
    "time": dict.fromkeys(("start_s", "weights_s", "checks_s", "end_s")),
    "utilisation": {
        "others_pct": None,
        "gpu_strangers": None,
        "energy_j": None,
        "package_energy_j": None,
        "throttle": None,
        "before": {"others_pct": None, "gpu_strangers": None},
    },
    "cell": {"price_per_hour": None, "workload": {"name": None, "parameters": {}}},
}
"""What records lacked before schema 4."""


def _upgrade(content: dict[str, Any]) -> dict[str, Any]:
    """Return a record of an older schema as one of this schema, with what it lacks empty."""
    if content.get("schema") == 1:
        content |= {"schema": 2, "sameness": {"level": None, "reason": "measured before proofs", "findings": []}}
    if content.get("schema") == 2:
        content |= {"schema": 3, "steps": []}
    if content.get("schema") == 3:
        content["schema"] = 4
        for part, empty in FOURTH.items():
            if part not in content:
                content[part] = empty
            elif isinstance(empty, dict) and isinstance(content[part], dict):
                content[part] = {**empty, **content[part]}
    if content.get("schema") == 4:
        content |= {"schema": 5, "probe": {"precision": None, "peak_gflops": None}}
        if isinstance(content.get("time"), dict):
            content["time"] = {"probe_s": None, **content["time"]}
    return content


def record_name(content: dict[str, Any]) -> str:
    """Return where a record lies in its results folder: a folder for the machine, and a name made from its cell."""
    cell = content["cell"]
    words = [cell["tool"], cell["device"], f"{cell['cores']}c", cell["model"], f"b{cell['batch_size']}"]
    words += [cell["measure"]] if cell["measure"] != "epochs" else []
    name = re.sub(r"[^A-Za-z0-9.=-]+", "_", "_".join(words))
    moment = re.sub(r"\D", "", content["finished_at"])[:17]
    return f"{content['host']['machine']}/{name}_r{cell['repeat']}_{content['key'][:12]}_{moment}.json"


def write_record(folder: Path, content: dict[str, Any]) -> Path:
    """Write a record below `folder` and return its path. Raises UserError if the folder takes no file."""
    path = folder / record_name(content)
    write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def _refuse_file(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"results {folder} is a file; accepted: a folder. Name another.")


@contextlib.contextmanager
def hold_results(folder: Path) -> Iterator[None]:
    """Keep other runners away from a results folder, until the block or this process ends, however it ends.

    What a runner that was killed left half written is removed. Raises UserError if another runner is at it, or if the
    folder takes no file.
    """
    _refuse_file(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise _unwritable(folder, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for partial in [*folder.glob(f"{PARTIAL}*"), *folder.glob(f"*/{PARTIAL}*")]:
                partial.unlink()
        except BlockingIOError as error:
            raise UserError(
                f"another runner is at work on results {folder}; accepted: one at a time, because two would disturb "
                "each other's measurements. Wait until it has finished."
            ) from error
        except OSError as error:
            raise _unwritable(folder, error) from error
        yield


def check_writable(folder: Path) -> None:
    """Make sure that records can be written before anything is measured. Raises UserError if they cannot."""
    probe = folder / ".writable"
    write_whole(probe, "")
    probe.unlink()


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or as it was: temporary file, fsync, rename.

    Raises UserError if it cannot be written.
    """
    whole = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(whole)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UserError:
    advice = "Free some space" if error.errno == errno.ENOSPC else "Make the folder writable, or name another"
    return UserError(f"{path} cannot be written ({error.strerror}). {advice} and start again: finished cells are kept.")


def newest_by_key(records: Iterable[Record]) -> dict[str, Record]:
    """Return the newest record of each key."""
    newest: dict[str, Record] = {}
    for record in records:
        known = newest.setdefault(record.key, record)
        if str(known.content["finished_at"]) <= str(record.content["finished_at"]):
            newest[record.key] = record
    return newest
