"""What surrounds a run on its machine: the container, its memory limit, and the commit of this project."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.places import PROJECT

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
CONTAINER_VARIABLE = "container"
SYSTEMD_CONTAINER = Path("/run/systemd/container")
"""Where systemd keeps for others what it was told by CONTAINER_VARIABLE, https://systemd.io/CONTAINER_INTERFACE."""
CONTAINERS = ("docker", "lxc", "podman", "systemd-nspawn", "wsl")
CONTAINER_MARKS = {"docker": Path("/.dockerenv"), "podman": Path("/run/.containerenv")}
"""The empty file that an engine leaves in each of its containers."""
CGROUP_WORDS = {"docker": "docker", "libpod": "podman", "lxc": "lxc", "nspawn": "systemd-nspawn"}
"""What an engine writes into the cgroup of a container's first process, unless that sees a tree of its own."""


class UnreadableError(Exception):
    """Why something cannot be read here, in words without names or folders."""


def text_of(path: Path) -> str | None:
    """Return what stands in a file of the system, or None if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def find_container() -> str:
    """Return the kind of container this process runs in, or `none`; its name and id stay untold."""
    groups = text_of(PROC / "1" / "cgroup") or ""
    if "KUBERNETES_SERVICE_HOST" in os.environ or "kubepods" in groups:
        return "kubernetes"
    told = os.environ.get(CONTAINER_VARIABLE) or text_of(SYSTEMD_CONTAINER)
    named = [told] if told in CONTAINERS else []
    marked = [kind for kind, mark in CONTAINER_MARKS.items() if mark.exists()]
    grouped = [kind for word, kind in CGROUP_WORDS.items() if word in groups]
    return next(iter(named + marked + grouped), "other" if told else "none")


def memory_limit_gib(machine_bytes: int) -> float:
    """Return the tightest memory limit of this process's cgroup and of those above it.

    Raises UnreadableError if there is none below the memory of the machine; version 1 writes a huge number for none.
    """
    found = [text for path in _limit_files() if (text := text_of(path))]
    limits = [int(text) for text in found if text != "max"]
    limit = min(limits, default=machine_bytes)
    if limit >= machine_bytes:
        raise UnreadableError("no cgroup limits the memory" if found else "this system shows no cgroup's memory limit")
    return round(limit / 2**30, 3)


def _limit_files() -> Iterator[Path]:
    """Yield where this process's cgroup and those above it state their limits, in version 1 and 2 of cgroups."""
    for line in (text_of(PROC / "self" / "cgroup") or "").splitlines():
        number, controllers, group = line.split(":", 2)
        if number == "0":
            root, file = CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, file = CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = root / group.lstrip("/")
        yield folder / file
        yield from (above / file for above in folder.parents if above.is_relative_to(root))


def git_state() -> dict[str, Any]:
    """Return the commit of this project and whether its tree is `clean`; results do not count, since runs write them.

    Raises UnreadableError if git or the repository is not there.
    """
    git = shutil.which("git")
    if git is None:
        raise UnreadableError("git is not installed")
    if not (PROJECT / ".git").exists():
        raise UnreadableError("this copy of the project is no git repository")
    changes = _ask_git(git, "status", "--porcelain", "--", ".", ":(exclude)results")
    return {"commit": _ask_git(git, "rev-parse", "HEAD"), "clean": not changes}


def _ask_git(git: str, *arguments: str) -> str:
    asked = subprocess.run([git, "--no-optional-locks", *arguments], cwd=PROJECT, capture_output=True, text=True)
    if asked.returncode:
        raise UnreadableError(f"git {arguments[0]} ended with exit code {asked.returncode}")
    return asked.stdout.strip()
