"""How tables come to look: numbers, devices, notes, cells and sections as Markdown."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from harness.printable import printable

MISSING = "–"
MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])|^[#+>-]")
"""What would be markup: an underscore within a word is none."""
NUMBERED = re.compile(r"^(\d+)([.)])(?= |$)")
"""What would begin a numbered list."""
LINKED = re.compile(r"@(?=\w)|#(?=\d)|\bGH-(?=\d)|:(?=//|[+a-z-][\w+-]*:)|\bwww(?=\.)", re.IGNORECASE)
"""What GitHub makes into a mention, a reference, a link or an emoji by itself, up to where that is stopped."""
WORD_JOINER = "&#8288;"
"""U+2060: nobody sees it, and what it parts is none of these any more."""


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


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, what stands below it, and the sections within it; `title` is plain text, `lines` are Markdown."""

    title: str
    lines: Sequence[str] = ()
    parts: Sequence["Section"] = ()


def render_sections(sections: Iterable[Section], level: int = 2) -> list[str]:
    """Return sections with headings of a level, those within them one deeper."""
    lines: list[str] = []
    for section in sections:
        lines += [f"{'#' * level} {escape(section.title)}", "", *section.lines]
        lines += render_sections(section.parts, level + 1)
    return lines


def render_contents(title: str, sections: Sequence[Section], depth: int) -> list[str]:
    """Return links to the sections down to a depth, as they stand in a text below the heading `title`.

    A heading's anchor is GitHub's: lower case, no punctuation, hyphens for spaces, and a number from its second use on.
    """
    used = Counter([_anchor(title)])
    links = []
    for level, section in _walk(sections):
        anchor = _anchor(section.title)
        numbered = f"{anchor}-{used[anchor]}" if used[anchor] else anchor
        used[anchor] += 1
        if level < depth:
            links.append(f"{'  ' * level}- [{escape(section.title)}](#{numbered})")
    return [*links, ""] if links else []


def _walk(sections: Iterable[Section], level: int = 0) -> Iterator[tuple[int, Section]]:
    for section in sections:
        yield level, section
        yield from _walk(section.parts, level + 1)


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", _plain(title).lower()).replace(" ", "-")


def to_markdown(table: pd.DataFrame) -> str:
    """Return a table, its first column flush left and all others flush right."""
    columns = ["left"] + ["right"] * (len(table.columns) - 1)
    return str(table.to_markdown(index=False, colalign=columns, disable_numparse=True))


def without_empty(lines: Sequence[Mapping[str, str]], columns: Iterable[str]) -> pd.DataFrame:
    """Return lines as a table without those of the columns in which nothing stands."""
    empty = [column for column in columns if all(line[column] == MISSING for line in lines)]
    return as_table(lines).drop(columns=empty)


def as_table(lines: Iterable[Mapping[str, str]]) -> pd.DataFrame:
    """Return lines as a table, whose texts stay Python's: to be written they would all be made into those again."""
    return pd.DataFrame([dict(line) for line in lines], dtype=object)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, e.g. `1 run`, `2 runs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def device_name(device: str, cores: int) -> str:
    """Name a device for people, e.g. `CPU, 2 cores`."""
    return f"CPU, {counted(cores, 'core')}" if device == "cpu" else f"GPU, {counted(cores, 'CPU core')}"


def number(value: float, spec: str, unit: str = "") -> str:
    """Format a number, or say that it is missing."""
    return MISSING if pd.isna(value) else f"{value:{spec}}{unit}"


@lru_cache(maxsize=1024)
def escape(value: str) -> str:
    """Return Markdown that shows a text as it is, on one line and within a table: no markup, link, mention or HTML."""
    text = _plain(value).replace("&", "&amp;").replace("<", "&lt;")
    text = NUMBERED.sub(r"\1\\\2", MARKUP.sub(r"\\\g<0>", text))
    return LINKED.sub(rf"\g<0>{WORD_JOINER}", text)


def _plain(value: str) -> str:
    """Return a text on one line, with escapes for what is not seen."""
    return " ".join(printable(value).split())
