"""One virtual environment per requirements file, made with uv, named by its content, whole or not at all."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

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


def ensure_environment(requirements: Path, python: str, show: Callable[[str], None]) -> Path:
    """Return the interpreter of an environment, making it first if it is not there whole.

    `show` is given uv's progress line by line. Raises EnvironmentFailedError with uv's last words.
    """
    try:
        return _ensure(environment_folder(requirements, python), requirements, python, show)
    except OSError as error:
        raise EnvironmentFailedError(f"{samenet_home()} cannot be written: {error.strerror}") from error


def _ensure(folder: Path, requirements: Path, python: str, show: Callable[[str], None]) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{folder.name}.lock"):
        found = find_environment(requirements, python)
        if found:
            return found
        shutil.rmtree(folder, ignore_errors=True)
        show(f"making environment {folder.name}")
        _uv(["venv", "--quiet", "--python", python, str(folder)], show)
        interpreter = folder / "bin" / "python"
        links = [word for link in os.environ.get("PIP_FIND_LINKS", "").split() for word in ("--find-links", link)]
        install = ["pip", "install", "--compile-bytecode", "--python", str(interpreter), *links]
        _uv([*install, "--requirements", str(requirements)], show)
        (folder / COMPLETE).touch()
        return interpreter


def _uv(arguments: list[str], show: Callable[[str], None]) -> None:
    command = [sys.executable, "-m", "uv", *arguments]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
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
