"""The rule of the whole suite, tried on a suite of its own: a tool whose every test was skipped is a failure."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
SUITE = """
import pytest

@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("tool", ["torch", "jax"])
def test_tool(tool, number):
    if tool == "jax" and number <= {skipped}:
        pytest.skip("no environment")
"""


@pytest.mark.parametrize(("skipped", "code"), [(0, 0), (1, 0), (2, 1)])
def test_a_tool_that_is_skipped_whole_fails_the_suite(
    skipped: int, code: int, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    pytester.makeini("[pytest]\nmarkers = conformance: as in the project\n")
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text())
    pytester.makepyfile(SUITE.format(skipped=skipped))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.ret == code
    if code:
        result.stdout.fnmatch_lines(["every test was skipped of: jax"])
