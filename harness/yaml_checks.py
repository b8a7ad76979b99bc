"""Checks of what stands in a YAML file: each takes a value and its path, and names both where it is not accepted."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from workloads.errors import UserError, unknown

Check = Callable[[Any, str], Any]
"""From a value and its path to what is kept of it. Raises UserError for a value that is not accepted."""


def read_yaml(path: Path, what: str, advice: str) -> Any:
    """Return what a YAML file holds. Raises UserError, which says `what` the file is and what to do without it."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read ({error.strerror}). {advice}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{what} {path} is not YAML: {error}. Correct the file.") from error


def read_keys(entry: Any, checks: Mapping[str, Check], may_lack: Iterable[str], where: str) -> dict[str, Any]:
    """Return a mapping's values by key, each checked; a key that it may lack is None where it lacks it."""
    for key in check_mapping(entry, where):
        check_known(key, checks, where, "key")
    lacking = [key for key in checks if key not in entry and key not in may_lack]
    if lacking:
        raise UserError(f"{where} lacks {', '.join(lacking)}; accepted: {', '.join(checks)}. Add what is missing.")
    return {key: check(entry[key], f"{where}.{key}") if key in entry else None for key, check in checks.items()}


def check_known(value: Any, accepted: Iterable[str], where: str, what: str) -> str:
    """Accept one of some words."""
    if not isinstance(value, str) or value not in accepted:
        raise unknown(what, value, accepted, where=where)
    return value


def check_mapping(value: Any, where: str) -> dict[str, Any]:
    """Accept keys with values, whatever they are."""
    if not isinstance(value, dict):
        raise _refused(value, "keys with values", where)
    return value


def check_list(value: Any, where: str) -> list[Any]:
    """Accept a list that holds something."""
    if not isinstance(value, list) or not value:
        raise _refused(value, "a list of at least one", where)
    return value


def check_text(value: Any, where: str) -> str:
    """Accept a text that says something."""
    if not isinstance(value, str) or not value.strip():
        raise _refused(value, "a text", where)
    return value.strip()


def check_texts(value: Any, where: str) -> tuple[str, ...]:
    """Accept a list of texts."""
    return tuple(check_text(one, f"{where}[{number}]") for number, one in enumerate(check_list(value, where)))


def check_number(value: Any, where: str, most: float = math.inf) -> float:
    """Accept a finite number above 0."""
    if type(value) not in (int, float) or not 0 < value <= most or not math.isfinite(value):
        raise _refused(value, "a finite number above 0" + (f" and up to {most:g}" if most < math.inf else ""), where)
    return float(value)


def check_numbers(value: Any, where: str) -> tuple[float, ...]:
    """Accept a list of finite numbers above 0."""
    return tuple(check_number(one, f"{where}[{number}]") for number, one in enumerate(check_list(value, where)))


def check_whole(value: Any, where: str) -> int:
    """Accept a whole number above 0."""
    if type(value) is not int or value < 1:
        raise _refused(value, "a whole number above 0", where)
    return value


def check_matching(pattern: str, accepted: str) -> Check:
    """Return the check that accepts a text, or a whole number, that matches a pattern as a whole."""

    def check(value: Any, where: str) -> str:
        if type(value) not in (str, int) or not re.fullmatch(pattern, str(value)):
            raise _refused(value, accepted, where)
        return str(value)

    return check


def _refused(value: Any, accepted: str, where: str) -> UserError:
    return UserError(f"{where} is {value!r}; accepted: {accepted}. Correct it.")
