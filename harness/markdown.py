"""How tables come to look: numbers, devices, notes and cells as Markdown."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

MISSING = "–"


class Notes:
    """Numbers the reasons below a table, the same reason once."""

    def __init__(self) -> None:
        self._reasons: list[str] = []

    def mark(self, reason: str) -> str:
        """Return the mark for a reason, e.g. ` [1]`."""
        if reason not in self._reasons:
            self._reasons.append(reason)
        return f" [{self._reasons.index(reason) + 1}]"

    def lines(self) -> list[str]:
        """Return the notes as a list, with an empty line after it."""
        notes = [f"{number}. {escape(reason)}" for number, reason in enumerate(self._reasons, 1)]
        return [*notes, ""] if notes else []


def to_markdown(table: pd.DataFrame) -> str:
    """Return a table, its first column flush left and all others flush right."""
    columns = ["left"] + ["right"] * (len(table.columns) - 1)
    return str(table.to_markdown(index=False, colalign=columns, disable_numparse=True))


def without_empty(lines: Sequence[Mapping[str, str]], columns: Iterable[str]) -> pd.DataFrame:
    """Return lines as a table without those of the columns in which nothing stands."""
    empty = [column for column in columns if all(line[column] == MISSING for line in lines)]
    return pd.DataFrame(lines).drop(columns=empty)


def device_name(device: str, cores: int) -> str:
    """Name a device for people, e.g. `CPU, 2 cores`."""
    return f"CPU, {cores} core{'s' if cores > 1 else ''}" if device == "cpu" else f"GPU, {cores} CPU cores"


def number(value: float, spec: str, unit: str = "") -> str:
    """Format a number, or say that it is missing."""
    return MISSING if pd.isna(value) else f"{value:{spec}}{unit}"


def escape(value: str) -> str:
    """Make a text harmless in a Markdown table and on one line."""
    one_line = " ".join(value.split())
    return one_line.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
