"""What draws charts is made once, kept, and made anew where it is of no use."""

from pathlib import Path

import pytest

from harness import drawing
from harness.drawing import Drawing, make_drawing

MADE = Drawing(library="draw()", charts={"bars": {"marks": []}})


@pytest.fixture
def made(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[Drawing]:
    """How often a drawing was made."""
    drawings: list[Drawing] = []
    monkeypatch.setattr(drawing, "_draw", lambda: drawings.append(MADE) or MADE)
    return drawings


def test_a_drawing_is_made_once_and_kept(made: list[Drawing]) -> None:
    assert [make_drawing.__wrapped__() for _ in range(2)] == [MADE, MADE]
    assert len(made) == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"library": "draw()"}'])
def test_a_kept_drawing_that_cannot_be_read_is_made_anew(content: str, made: list[Drawing], home: Path) -> None:
    make_drawing.__wrapped__()
    (kept,) = (home / "drawings").iterdir()
    kept.write_text(content)
    assert make_drawing.__wrapped__() == MADE
    assert len(made) == 2


def test_a_drawing_of_other_sources_is_not_taken(made: list[Drawing], monkeypatch: pytest.MonkeyPatch) -> None:
    make_drawing.__wrapped__()
    monkeypatch.setattr(drawing, "SOURCES", ("charts.py",))
    make_drawing.__wrapped__()
    assert len(made) == 2


def test_a_drawing_that_cannot_be_kept_is_used_all_the_same(made: list[Drawing], home: Path) -> None:
    (home / "drawings").touch()
    assert make_drawing.__wrapped__() == MADE
