"""Which versions a run was of, as far as tables name them."""

from collections.abc import Iterable, Mapping
from typing import Any

from frameworks import TOOLS

Versions = tuple[tuple[str, str], ...]
"""Name and version, one after another."""


def name_versions(tool: str, versions: Mapping[str, Any]) -> Versions:
    """Return Python and a tool's main packages with their versions; nothing of a run that did not tell them."""
    if not versions["packages"]:
        return ()
    return (("Python", str(versions["python"])), *installed(packages_of(tool), versions))


def packages_of(tool: str) -> tuple[str, ...]:
    """Return the packages whose versions are named of a tool, the main one first; none of a tool that is not known."""
    return TOOLS[tool].packages if tool in TOOLS else ()


def installed(names: Iterable[str], versions: Mapping[str, Any]) -> Versions:
    """Return those of these packages that a run told, with their versions."""
    told = versions["packages"] or {}
    # Some packages write their name with underscores.
    found = ((name, told.get(name) or told.get(name.replace("-", "_"))) for name in names)
    return tuple((name, str(version)) for name, version in found if version)
