"""Which CUDA libraries are mapped, by maps and libraries that are made up here."""

import ctypes
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frameworks import loaded
from frameworks.loaded import loaded_libraries


@pytest.fixture
def maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a process that has mapped its interpreter and some memory without a file."""
    path = tmp_path / "maps"
    path.write_text(
        "55d0c0000000-55d0c0100000 r-xp 00000000 08:01 42                         /usr/bin/python3.11\n"
        "7f0000000000-7f0000100000 rw-p 00000000 00:00 0\n"
    )
    monkeypatch.setattr(loaded, "MAPS", path)
    return path


def map_file(maps: Path, file: str) -> None:
    """Map a file twice, as code and as data."""
    with maps.open("a") as lines:
        for mode in ("r-xp", "rw-p"):
            lines.write(f"7f1000000000-7f1000100000 {mode} 00000000 08:01 43                         {file}\n")


class CudaFunction:
    """Writes a number behind its last argument, by those before it, and returns a status, as CUDA's functions do."""

    def __init__(self, numbers: dict[tuple[int, ...], int], status: int = 0) -> None:
        self._numbers, self._status = numbers, status

    def __call__(self, *arguments: Any) -> int:
        *which, place = arguments
        ctypes.cast(place, ctypes.POINTER(ctypes.c_int))[0] = self._numbers[tuple(which)]
        return self._status


class PlainFunction:
    """Returns a number of the type that it was given."""

    restype: Any = ctypes.c_int

    def __init__(self, number: int) -> None:
        self._number = number

    def __call__(self) -> int:
        assert self.restype is ctypes.c_size_t
        return self._number


class Library:
    """What is found in a library."""

    def __init__(self, **functions: Any) -> None:
        vars(self).update(functions)


def open_as(monkeypatch: pytest.MonkeyPatch, libraries: dict[str, Library]) -> None:
    """Let each path be opened as a library; every other one is not loaded."""

    def open_library(path: str, mode: int) -> Library:
        assert mode & os.RTLD_NOLOAD
        if path not in libraries:
            raise OSError("not loaded")
        return libraries[path]

    monkeypatch.setattr(loaded.ctypes, "CDLL", open_library)


def test_a_process_without_cuda_has_none(maps: Path) -> None:
    map_file(maps, "/usr/lib/libcudnn_ops.so.9")
    map_file(maps, "/usr/lib/libcublasLt.so.12")
    map_file(maps, "/usr/lib/libcuda.so.580.1")
    map_file(maps, "/usr/lib/libcudart.sonar.so.1")
    assert loaded_libraries() == {}


def test_a_system_without_maps_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded, "MAPS", tmp_path / "maps")
    assert loaded_libraries() == {}


def test_each_library_is_asked_itself(maps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = {
        "/a/nvidia/libcudart.so.12": Library(cudaRuntimeGetVersion=CudaFunction({(): 12080})),
        "/a b/libcudnn.so.9": Library(cudnnGetVersion=PlainFunction(91002)),
        "/a/libcublas.so.12": Library(cublasGetProperty=CudaFunction({(0,): 12, (1,): 8, (2,): 4})),
    }
    open_as(monkeypatch, libraries)
    for path in libraries:
        map_file(maps, path)
    assert loaded_libraries() == {"cublas": "12.8.4", "cudart": "12.8", "cudnn": "9.10.2"}


def test_a_cudnn_before_version_9_counts_by_the_thousand(maps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    map_file(maps, "/a/libcudnn.so.8")
    open_as(monkeypatch, {"/a/libcudnn.so.8": Library(cudnnGetVersion=PlainFunction(8907))})
    assert loaded_libraries() == {"cudnn": "8.9.7"}


def test_a_library_that_does_not_answer_is_told_by_its_file(maps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Library(cudaRuntimeGetVersion=CudaFunction({(): 0}, status=35))
    open_as(monkeypatch, {"/a/libcudart-d0da41ae.so.11.0": failing, "/a/libcublas.so.12.8.4.1": Library()})
    for name in ("libcudart-d0da41ae.so.11.0", "libcublas.so.12.8.4.1", "libcudnn.so"):
        map_file(maps, f"/a/{name}")
    assert loaded_libraries() == {"cublas": "12.8.4.1", "cudart": "11.0", "cudnn": "unknown"}


def test_all_versions_of_a_library_are_told(maps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_as(monkeypatch, {})
    for name in ("libcudart.so.12.4", "libcudart.so.11.0"):
        map_file(maps, f"/a/{name}")
    assert loaded_libraries() == {"cudart": "11.0, 12.4"}


def test_nothing_is_loaded_by_asking(maps: Path, tmp_path: Path) -> None:
    """A real library that is not loaded stays so."""
    library = tmp_path / "libcudnn.so.9.1.0"
    shutil.copy(np._core._multiarray_umath.__file__, library)
    map_file(maps, str(library))
    assert loaded_libraries() == {"cudnn": "9.1.0"}
    assert str(library) not in Path("/proc/self/maps").read_text()
