"""Imports go one way, and the child loads nothing but NumPy, the standard library and one framework."""

import ast
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
FRAMEWORKS = {"tensorflow", "torch", "jax", "jaxlib", "optax", "keras", "mxnet", "flax"}
CHILD = [f"frameworks/{name}.py" for name in ("__init__", "base", "memory", "worker", "reference")]


def imported(path: Path) -> set[str]:
    """The top-level packages a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def files(pattern: str) -> list[Path]:
    found = sorted(PROJECT.glob(pattern))
    assert found
    return found


@pytest.mark.parametrize("path", files("workloads/*.py"), ids=lambda path: path.name)
def test_workloads_need_numpy_alone(path: Path) -> None:
    assert imported(path) <= {*sys.stdlib_module_names, "numpy", "workloads"}


@pytest.mark.parametrize("path", [*CHILD, "frameworks/null_adapter.py", "tests/conformance.py"])
def test_what_the_child_loads_needs_numpy_alone(path: str) -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "workloads", "frameworks"}
    assert imported(PROJECT / path) <= allowed


@pytest.mark.parametrize("path", files("frameworks/*_*.py"), ids=lambda path: path.name)
def test_adapters_know_nothing_of_the_harness(path: Path) -> None:
    assert not imported(path) & {"harness", "runner"}


@pytest.mark.parametrize("path", [*files("harness/*.py"), PROJECT / "runner.py"], ids=lambda path: path.name)
def test_the_parent_imports_no_framework(path: Path) -> None:
    assert not imported(path) & FRAMEWORKS
    source = path.read_text()
    assert "_adapter" not in source.replace("adapter_fingerprint", "")


@pytest.mark.parametrize("path", files("benchmarks/native/*.py"), ids=lambda path: path.name)
def test_the_hand_written_loops_know_nothing_of_the_project(path: Path) -> None:
    assert not imported(path) & {"workloads", "frameworks", "harness", "runner"}
