"""What is kept: one JSON file a run of a cell, written whole or not at all and never edited.

Schema history: 1, the first; 2 adds `sameness`, the verdict of the same-net proof; 3 adds `steps`, what each step of a
step measurement took.
"""

import errno
import json
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from frameworks import TOOLS
from harness.environments import python_of, requirements_of
from harness.places import PROJECT
from harness.plan import Cell
from workloads.datasets import file_sha256
from workloads.errors import UserError
from workloads.spec import fingerprint

SCHEMA = 3
SUITE = "1"
"""Version of what is measured and how: only records of one suite share a table."""
PARTS = (
    "key", "schema", "suite", "finished_at", "cell", "status", "reason", "time", "epochs", "steps", "error_rate",
    "test_loss", "utilisation", "sameness", "host", "versions", "fingerprints",
)  # fmt: skip
NAMES_WITHIN = {
    "cell": (
        "tool",
        "device",
        "cores",
        "gpus",
        "model",
        "batch_size",
        "precision",
        "measure",
        "epochs",
        "seed",
        "repeat",
    ),
    "time": ("train_s", "total_s"),
    "utilisation": ("gpu_pct", "cpu_pct"),
    "sameness": ("level", "reason", "findings"),
    "host": ("machine", "cpu", "memory_gib", "gpus"),
    "fingerprints": ("spec", "adapter", "environment", "data", "data_unverified"),
}
"""What the tables need of those parts."""
FINAL = ("ok", "diverged", "timeout", "out-of-memory")
"""Statuses that are a result: the cell is done. Any other is tried again at the next start."""
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


COMMON = ("frameworks/base.py", "workloads/initial.py", "workloads/shapes.py")


def adapter_fingerprint(tool: str) -> str:
    """SHA-256 of the source of a tool's adapter, of the device modules it names and of what all adapters use."""
    folder = PROJECT / "frameworks"
    adapter = folder / f"{TOOLS[tool].adapter.split(':')[0]}.py"
    devices = sorted(set(re.findall(r"\b\w+_device\b", adapter.read_text(encoding="utf-8"))))
    shared = [path for name in devices if (path := folder / f"{name}.py").is_file()]
    common = [PROJECT / path for path in COMMON]
    return fingerprint([file_sha256(path) for path in (adapter, *shared, *common)])


def environment_fingerprint(cell: Cell) -> str:
    """SHA-256 of what a cell's environment is made from, or of the interpreter that was named for it."""
    requirements = requirements_of(cell.tool, cell.device) if cell.environment == "managed" else None
    made_from = file_sha256(requirements) if requirements else cell.environment
    return fingerprint([made_from, python_of(cell.tool)])


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
        **({"steps": asdict(cell.steps)} if cell.steps else {}),
    }


def cell_key(cell: Cell, cores: int, machine: str) -> str:
    """SHA-256 of what a cell is: machine, workload, adapter, environment, and why it is not run if it is not.

    A record with this key is the cell's record. What is found out only by running is not in it: the data's bytes and
    what an interpreter that was named holds.
    """
    return fingerprint(
        [
            SCHEMA,
            SUITE,
            machine,
            describe_cell(cell, cores),
            fingerprint(cell.workload),
            adapter_fingerprint(cell.tool),
            environment_fingerprint(cell),
            list(cell.not_run or ()),
        ]
    )


def timed_s(steps: Iterable[dict[str, Any]]) -> list[float]:
    """Return the seconds of each timed one of a record's steps."""
    return [step["wall_s"] for step in steps if not step["warmup"]]


def read_records(folder: Path) -> list[Record]:
    """Read every record below a folder, in the order of their paths; a folder that is not there yet holds none.

    Raises UserError for a record that is unreadable and for a path that is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"results {folder} is a file; accepted: a folder. Name another with --results.")
    return [_read(path) for path in sorted(folder.glob("**/*.json"))]


def _read(path: Path) -> Record:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        problem = None
    except (OSError, ValueError) as error:
        content, problem = None, str(error)
    if isinstance(content, dict):
        if content.get("schema") == 1:
            content |= {"schema": 2, "sameness": {"level": None, "reason": "measured before proofs", "findings": []}}
        if content.get("schema") == 2:
            content |= {"schema": 3, "steps": []}
        missing = [part for part in PARTS if part not in content]
        missing += [
            f"{part}.{name}"
            for part, names in NAMES_WITHIN.items()
            for name in names
            if part in content and not (isinstance(content[part], dict) and name in content[part])
        ]
        problem = f"it lacks {', '.join(missing)}" if missing else None
        if content.get("schema") != SCHEMA:
            problem = f"its schema is {content.get('schema')!r}; accepted: {SCHEMA}"
    elif problem is None:
        problem = f"it holds {type(content).__name__}"
    if problem:
        raise UserError(
            f"record {path} cannot be read: {problem}. Move the file out of the results folder (its cell is then "
            "run again) or restore it, and start again."
        )
    return Record(content=content)


def write_record(folder: Path, content: dict[str, Any]) -> Path:
    """Write a record below `folder` and return its path. Raises UserError if the folder takes no file."""
    cell = content["cell"]
    words = [cell["tool"], cell["device"], f"{cell['cores']}c", cell["model"], f"b{cell['batch_size']}"]
    words += [cell["measure"]] if cell["measure"] != "epochs" else []
    name = re.sub(r"[^A-Za-z0-9.=-]+", "_", "_".join(words))
    moment = re.sub(r"\D", "", content["finished_at"])[:17]
    name = f"{name}_r{cell['repeat']}_{content['key'][:12]}_{moment}.json"
    path = folder / str(content["host"]["machine"]) / name
    write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def check_writable(folder: Path) -> None:
    """Make sure that records can be written before anything is measured. Raises UserError if they cannot."""
    probe = folder / ".writable"
    write_whole(probe, "")
    probe.unlink()


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or as it was: temporary file, fsync, rename."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise
    except OSError as error:
        advice = "Free some space" if error.errno == errno.ENOSPC else "Make the folder writable, or name another"
        raise UserError(
            f"{path} cannot be written ({error.strerror}). {advice} and start again: finished cells are kept."
        ) from error


def newest_by_key(records: Iterable[Record]) -> dict[str, Record]:
    """Return the newest record of each key."""
    ordered = sorted(records, key=lambda record: str(record.content["finished_at"]))
    return {record.key: record for record in ordered}
