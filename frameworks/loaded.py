"""Which CUDA libraries this process has really loaded, whatever its packages say."""

import ctypes
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

MAPS = Path("/proc/self/maps")
FILE_NAME = re.compile(r"lib(cudart|cudnn|cublas)(?:-[0-9a-f]+)?\.so(?:\.([\d.]+))?")
"""A library's file; wheels put a hash behind the name of those they bundle."""


class _UnknownVersionError(Exception):
    """A library was asked for its version and gave none."""


def loaded_libraries() -> dict[str, str]:
    """Return the version of each of cudart, cudnn and cublas that is mapped into this process.

    Each is asked itself; where it does not answer, the version is the one in its file's name, or `unknown`. Where
    several are mapped, all versions are told.
    """
    versions: dict[str, set[str]] = defaultdict(set)
    for path in _mapped_files():
        if match := FILE_NAME.fullmatch(path.name):
            versions[match[1]].add(_version(match[1], path) or match[2] or "unknown")
    return {name: ", ".join(sorted(found)) for name, found in sorted(versions.items())}


def _mapped_files() -> Iterator[Path]:
    """Yield each file mapped into this process, from lines like `7f00-7f01 r-xp 0 08:01 42  /folder/file`."""
    lines = MAPS.read_text(errors="replace").splitlines() if MAPS.exists() else []
    fields = (line.split(maxsplit=5) for line in lines)
    yield from (Path(name) for name in dict.fromkeys(parts[5] for parts in fields if len(parts) == 6))


def _version(name: str, path: Path) -> str | None:
    """Ask a library for its version; None if it cannot be asked. Only what is loaded already is opened."""
    try:
        return ASK[name](ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_LAZY))
    except (OSError, AttributeError, _UnknownVersionError):
        return None


def _number(function: Callable[..., int], *arguments: int) -> int:
    """Call a function of CUDA that writes an int behind its last argument and returns 0."""
    number = ctypes.c_int()
    if status := function(*arguments, ctypes.byref(number)):
        raise _UnknownVersionError(status)
    return number.value


def _cudart_version(library: ctypes.CDLL) -> str:
    """12080 is 12.8, https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART____VERSION.html."""
    number = _number(library.cudaRuntimeGetVersion)
    return f"{number // 1000}.{number % 1000 // 10}"


def _cudnn_version(library: ctypes.CDLL) -> str:
    """91002 is 9.10.2; before version 9, 8907 is 8.9.7 (CUDNN_VERSION in cudnn_version.h)."""
    library.cudnnGetVersion.restype = ctypes.c_size_t
    number = library.cudnnGetVersion()
    major, rest = divmod(number, 10_000 if number >= 90_000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def _cublas_version(library: ctypes.CDLL) -> str:
    """Major, minor and patch are the properties 0, 1 and 2 (libraryPropertyType in library_types.h)."""
    return ".".join(str(_number(library.cublasGetProperty, part)) for part in range(3))


ASK: dict[str, Callable[[ctypes.CDLL], str]] = {
    "cudart": _cudart_version,
    "cudnn": _cudnn_version,
    "cublas": _cublas_version,
}
