"""Finds the files of a data set (SAMENET_DATA, then the cache, then a download) and prepares them once."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pooch
from filelock import FileLock

from harness.places import samenet_data, samenet_home
from workloads import sequences
from workloads.datasets import (
    ARRAY_NAMES,
    PUBLISHED_FILES,
    Arrays,
    file_sha256,
    how_to_get,
    made_up,
    read_published,
    scale,
    unverified_files,
    write_prepared,
)
from workloads.errors import UserError
from workloads.sources import DIGITS
from workloads.spec import DataSet, fingerprint

VERIFIED = "samenet-verified"
"""Lies in a downloaded folder: all its bytes were checked against the published sums."""
LARGEST_PIXEL = {"digits": 16, "mnist": 255, "cifar10": 255}


def find_files(source: str) -> Path | None:
    """Return the folder that holds a published data set's files, or None if it must be downloaded.

    Raises UserError if SAMENET_DATA is no folder.
    """
    published = PUBLISHED_FILES[source]
    given = samenet_data()
    if given and not given.is_dir():
        raise UserError(f"SAMENET_DATA is {given}, which is no folder; accepted: a folder of data sets. Correct it.")
    places = [*([given] if given else []), samenet_home() / "downloads"]
    return next((place / published.folder for place in places if (place / published.folder).is_dir()), None)


def download(source: str) -> Path:
    """Download a data set into the cache, checking the published sums, and return its folder.

    Raises UserError if no mirror delivers, or if what it delivers lacks a file.
    """
    published = PUBLISHED_FILES[source]
    folder = samenet_home() / "downloads" / published.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        for name, sha256 in [published.archive] if published.archive else published.files.items():
            _fetch(published.mirrors, name, sha256, partial, folder)
        if published.archive:
            (partial / published.archive[0]).unlink()
        missing = [name for name in published.files if not (partial / name).is_file()]
        if missing:
            raise UserError(f"the download of {source} lacks {', '.join(missing)}. {how_to_get(folder)}")
        (partial / VERIFIED).touch()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _fetch(mirrors: tuple[str, ...], name: str, sha256: str | None, target: Path, folder: Path) -> None:
    processor = pooch.Untar(extract_dir=".") if name.endswith(".tar.gz") else None
    problems = []
    for mirror in mirrors:
        try:
            pooch.retrieve(mirror + name, f"sha256:{sha256}", name, target, processor, progressbar=True)
            return
        except (OSError, ValueError) as error:
            problems.append(f"{mirror}{name}: {error}")
    raise UserError(f"{name} could not be downloaded ({'; '.join(problems)}). {how_to_get(folder)}")


def _load_digits() -> Arrays:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, *DIGITS.image_shape).astype(np.uint8)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=DIGITS.test_samples, stratify=labels, random_state=0
    )
    return dict(zip(ARRAY_NAMES, (train_images, train_labels, test_images, test_labels), strict=True))


def _identify(data: DataSet) -> tuple[str, Path | None]:
    """Return the name of the prepared folder, which changes with the source files, and where those are."""
    if data.source in PUBLISHED_FILES:
        folder = find_files(data.source) or download(data.source)
        present = [folder / name for name in PUBLISHED_FILES[data.source].files if (folder / name).is_file()]
        content = hashlib.sha256("".join(file_sha256(path) for path in present).encode()).hexdigest()
        return f"{data.source}-{data.scaling}-{content[:12]}", folder
    drawn = "1" if data.source == "digits" else fingerprint(data)[:12]
    if data.source in sequences.SEQUENCES:
        # The rule is not in the spec.
        drawn += "-" + file_sha256(Path(sequences.__file__))[:12]
    return f"{data.source}-{data.scaling}-{drawn}", None


def prepare(data: DataSet) -> tuple[Path, dict[str, Any]]:
    """Return the prepared folder of a data set and what is known of it, making it if it is not there.

    The facts are `fingerprint` (SHA-256 of the scaled arrays) and `unverified` (files that are whole but not known to
    be the published bytes). Raises UserError for files that are missing or broken.
    """
    try:
        return _prepare(data)
    except OSError as error:
        raise UserError(
            f"data {data.source} cannot be prepared below {samenet_home()} ({error}). Free some space, make the folder "
            "writable, or name another in SAMENET_HOME, and start again."
        ) from error


def _prepare(data: DataSet) -> tuple[Path, dict[str, Any]]:
    with _lock(samenet_home() / "downloads" / f"{data.source}.lock"):
        name, files = _identify(data)
    folder = samenet_home() / "data" / name
    with _lock(folder.parent / f"{name}.lock"):
        if not folder.is_dir():
            arrays = _read_arrays(data, files)
            for part in ("train", "test"):
                largest = LARGEST_PIXEL.get(data.source, 1)
                arrays[f"{part}_images"] = scale(arrays[f"{part}_images"], data.scaling, largest)
                arrays[f"{part}_labels"] = arrays[f"{part}_labels"].astype(np.int32)
            write_prepared(folder, arrays, {"unverified": doubtful_files(data.source, files) if files else []})
    facts: dict[str, Any] = json.loads((folder / "dataset.json").read_text())
    return folder, facts


def _lock(path: Path) -> FileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def _read_arrays(data: DataSet, files: Path | None) -> Arrays:
    if files is not None:
        return read_published(data.source, files)
    return _load_digits() if data.source == "digits" else made_up(data)


def doubtful_files(source: str, folder: Path) -> list[str]:
    """Name the files that are not known to be the published bytes; a download was checked when it came."""
    return [] if (folder / VERIFIED).is_file() else unverified_files(source, folder)
