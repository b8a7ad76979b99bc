"""One virtual environment per requirements file, made with uv, named by its content, whole or not at all."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from frameworks import TOOLS
from harness.places import PROJECT, samenet_home

REQUIREMENTS = PROJECT / "requirements"
COMPLETE = "samenet-complete"
"""The file that is written last: an environment without it is taken for broken and made anew."""


class EnvironmentFailedError(Exception):
    """An environment could not be made; the text is the reason for the record."""


def requirements_of(tool: str, device: str) -> Path | None:
    """Return the requirements file of a tool on a device, or None for the runner's own interpreter."""
    name = TOOLS[tool].requirements.get(device)
    return REQUIREMENTS / name if name else None


def python_of(tool: str) -> str:
    """Return the Python version that a tool's environment has, `major.minor`."""
    return TOOLS[tool].python or f"{sys.version_info.major}.{sys.version_info.minor}"


def environment_folder(requirements: Path, python: str) -> Path:
    """Return where the environment of a requirements file belongs, whether it is there or not."""
    content = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    return samenet_home() / "environments" / f"{requirements.stem}-py{python}-{content}"


def find_environment(requirements: Path, python: str) -> Path | None:
    """Return the interpreter of a complete environment, or None."""
    folder = environment_folder(requirements, python)
    python_path = folder / "bin" / "python"
    return python_path if (folder / COMPLETE).is_file() and python_path.is_file() else None


def has_python(version: str) -> bool:
    """Return whether a Python of exactly this version is here; none is downloaded."""
    command = [sys.executable, "-m", "uv", "python", "find", "--system", version]
    return subprocess.run(command, capture_output=True).returncode == 0


def ensure_environment(requirements: Path, python: str, show: Callable[[str], None], *, exactly: bool = False) -> Path:
    """Return the interpreter of an environment, making it first if it is not there whole.

    `show` is given uv's progress line by line; `exactly` installs what the file lists and not what that depends on.
    Raises EnvironmentFailedError with uv's last words.
    """
    options = ["--no-deps"] if exactly else []
    try:
        return _ensure(environment_folder(requirements, python), requirements, python, options, show)
    except OSError as error:
        raise EnvironmentFailedError(f"{samenet_home()} cannot be written: {error.strerror}") from error


def _ensure(folder: Path, requirements: Path, python: str, options: list[str], show: Callable[[str], None]) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = find_environment(requirements, python)
        if found:
            return found
        shutil.rmtree(folder, ignore_errors=True)
        show(f"making environment {folder.name}")
        _uv(["venv", "--quiet", "--python", python, str(folder)], lock, show)
        interpreter = folder / "bin" / "python"
        links = [word for link in os.environ.get("PIP_FIND_LINKS", "").split() for word in ("--find-links", link)]
        install = ["pip", "install", "--compile-bytecode", "--python", str(interpreter), *options, *links]
        _uv([*install, "--requirements", str(requirements)], lock, show)
        (folder / COMPLETE).touch()
        return interpreter


def _uv(arguments: list[str], lock: IO[Any], show: Callable[[str], None]) -> None:
    """Run uv, which keeps the lock as well: it may outlive a runner that is killed, and then still writes."""
    command = [sys.executable, "-m", "uv", *arguments]
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=[lock.fileno()]
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line.strip())
                if not line.startswith(" + "):
                    show(line.rstrip())
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        last = " ".join(lines[-5:]) or "it printed nothing"
        raise EnvironmentFailedError(f"uv {' '.join(arguments[:2])} ended with {process.returncode}: {last}")
