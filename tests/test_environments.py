"""Environments are made once, whole or not at all, with pip's find-links, and fail with uv's words."""

import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from frameworks import TOOLS
from harness.environments import (
    COMPLETE,
    REQUIREMENTS,
    EnvironmentFailedError,
    ensure_environment,
    environment_folder,
    find_environment,
    has_python,
    python_of,
    requirements_of,
)


@pytest.fixture(autouse=True)
def offline(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")


@pytest.fixture
def requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A requirements file of one package that only a find-links folder has."""
    links = tmp_path / "links"
    links.mkdir()
    with zipfile.ZipFile(links / "tinypackage-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tinypackage.py", "answer = 42\n")
        wheel.writestr("tinypackage-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinypackage\nVersion: 1.0\n")
        wheel.writestr("tinypackage-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("tinypackage-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    path = tmp_path / "tiny.txt"
    path.write_text("tinypackage==1.0\n")
    return path


def answer(python: Path) -> str:
    command = [python, "-c", "import tinypackage; print(tinypackage.answer)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_an_environment_is_made_once(requirements: Path) -> None:
    shown: list[str] = []
    python = ensure_environment(requirements, python_of("torch"), shown.append)
    assert answer(python) == "42"
    assert any("Installed 1 package" in line for line in shown)
    shown.clear()
    assert ensure_environment(requirements, python_of("torch"), shown.append) == python
    assert shown == []


def test_a_killed_install_is_never_taken_for_whole(requirements: Path) -> None:
    python = ensure_environment(requirements, python_of("torch"), str)
    folder = environment_folder(requirements, python_of("torch"))
    (folder / COMPLETE).unlink()
    next(folder.glob("lib/*/site-packages/tinypackage.py")).unlink()
    assert find_environment(requirements, python_of("torch")) is None
    assert answer(ensure_environment(requirements, python_of("torch"), str)) == "42"
    assert python == find_environment(requirements, python_of("torch"))


def test_other_content_is_another_environment(requirements: Path) -> None:
    before = environment_folder(requirements, "3.11")
    assert environment_folder(requirements, "3.12") != before
    requirements.write_text("tinypackage==1.1\n")
    assert environment_folder(requirements, "3.11") != before


def test_a_failed_install_gives_uvs_words_and_leaves_nothing_whole(requirements: Path) -> None:
    requirements.write_text("tinypackage==9.9\n")
    with pytest.raises(EnvironmentFailedError, match=r"uv pip install ended with 1: .*tinypackage==9\.9"):
        ensure_environment(requirements, python_of("torch"), str)
    assert find_environment(requirements, python_of("torch")) is None


def test_exactly_what_is_listed_is_installed(requirements: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "links" / "needy-1.0-py3-none-any.whl", "w") as wheel:
        needs = "Requires-Dist: tinypackage==9.9\n"
        wheel.writestr("needy-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: needy\nVersion: 1.0\n{needs}")
        wheel.writestr("needy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("needy-1.0.dist-info/RECORD", "")
    requirements.write_text("tinypackage==1.0\nneedy==1.0\n")
    with pytest.raises(EnvironmentFailedError, match="needy"):
        ensure_environment(requirements, python_of("torch"), str)
    assert answer(ensure_environment(requirements, python_of("torch"), str, exactly=True)) == "42"


def test_a_python_is_here_in_exactly_its_version_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python3").symlink_to(Path(sys.executable).resolve())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert has_python(platform.python_version())
    assert not has_python("3.11.99")


def test_every_tool_has_its_requirements_pinned_exactly() -> None:
    for tool, entry in TOOLS.items():
        for device in ("cpu", "gpu"):
            path = requirements_of(tool, device)
            assert (path is None) == (tool == "null" or device in entry.unsupported)
            if path is not None:
                lines = path.read_text().splitlines()
                assert lines
                assert all(line.count("==") == 1 for line in lines)


def test_no_requirements_file_is_left_over() -> None:
    used = {name for tool in TOOLS.values() for name in tool.requirements.values() if name}
    assert {path.name for path in REQUIREMENTS.glob("*.txt")} == used | {"runner.txt", "test.txt"}


def test_the_tests_have_every_package_of_the_runner_in_its_version() -> None:
    runner, test = ((REQUIREMENTS / name).read_text().splitlines() for name in ("runner.txt", "test.txt"))
    assert set(runner) <= set(test)
