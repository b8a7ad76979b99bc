"""Words of others cannot steer a terminal, neither in lines nor in tables that are printed."""

import pytest

from harness.markdown import escape
from harness.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("torch · 1 µs – ≥ 日本", "torch · 1 µs – ≥ 日本"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07\x9b2J", r"\x1b]0;title\x07\x9b2J"),
        ("  one\r\ntwo\tthree", "  one  two three"),
        ("\u202eabc\u200f", r"\u202eabc\u200f"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_cannot_be_printed_is_shown_as_its_escape_on_one_line(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_printed_table_holds_nothing_that_steers_a_terminal() -> None:
    assert escape("a\n\x1b[2J | b") == r"a \\x1b\[2J \| b"
