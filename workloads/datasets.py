"""From published files to prepared arrays: parsing, scaling, and the folder of `.npy` files that workers map.

No pickle is read. A prepared folder holds four arrays and `dataset.json`; it appears whole (by rename) or not at all.
Finding and downloading the files is the harness's affair (harness/data.py).
"""

import gzip
import hashlib
import json
import math
import shutil
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.errors import UserError
from workloads.initial import arrays_fingerprint, draw_normal
from workloads.sequences import SEQUENCES
from workloads.spec import DataSet, Noise

Arrays = dict[str, NDArray[Any]]
Draw = Callable[[int], tuple[NDArray[Any], NDArray[Any]]]
ARRAY_NAMES = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, kw_only=True)
class PublishedFiles:
    """Where a data set can be had and what its files are.

    `files` maps each path below the data folder to the SHA-256 of the published bytes, or to None where its
    publisher gives none for that file by itself. `archive` is the name below each mirror of one archive that holds
    all files, with its SHA-256; without one, each file is fetched by its own name.
    """

    folder: str
    files: dict[str, str | None]
    mirrors: tuple[str, ...]
    archive: tuple[str, str] | None = None


PUBLISHED_FILES = {
    "mnist": PublishedFiles(
        folder="mnist",
        files={
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
        mirrors=(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
    ),
    "cifar10": PublishedFiles(
        folder="cifar10",
        files={
            "cifar-10-batches-bin/data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "cifar-10-batches-bin/data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "cifar-10-batches-bin/data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "cifar-10-batches-bin/data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "cifar-10-batches-bin/data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            "cifar-10-batches-bin/test_batch.bin": None,
        },
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
        archive=(
            "cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
}


class BrokenFileError(Exception):
    """A data file that is not what it should be; the text says what is wrong with it."""


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of unsigned bytes (LeCun's MNIST format).

    Raises BrokenFileError unless it holds exactly `shape`.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BrokenFileError(f"it cannot be unpacked ({error})") from error
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    if not content.startswith(header):
        raise BrokenFileError(
            f"it starts with {content[: len(header)].hex(' ')}; an IDX file of {shape} with {header.hex(' ')}"
        )
    if len(content) != len(header) + math.prod(shape):
        raise BrokenFileError(f"it unpacks to {len(content)} bytes; expected {len(header) + math.prod(shape)}")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def read_cifar_batch(path: Path, samples: int = 10_000) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read one batch of CIFAR-10's binary version: per sample a label byte, then red, green and blue planes.

    Returns images (N, 32, 32, 3) and labels (N,). Raises BrokenFileError for another size or a label above 9.
    """
    content = np.fromfile(path, np.uint8)
    if content.size != samples * 3073:
        raise BrokenFileError(f"it holds {content.size} bytes; expected {samples} samples of 3,073 bytes")
    records = content.reshape(samples, 3073)
    images = records[:, 1:].reshape(samples, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, _checked_labels(records[:, 0])


def _checked_labels(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if labels.max() > 9:
        raise BrokenFileError(f"it holds the label {labels.max()}; expected 0 to 9")
    return labels


def read_published(source: str, folder: Path) -> Arrays:
    """Read the files of `mnist` or `cifar10` into uint8 images (N, H, W, C) and labels (N,).

    Raises UserError that names the file at fault.
    """
    paths = [folder / name for name in PUBLISHED_FILES[source].files]
    if source == "mnist":
        parts = [
            _read(path, lambda path, shape=shape: read_idx(path, shape), folder)
            for path, shape in zip(paths, ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)), strict=True)
        ]
        for path, labels in zip(paths[1::2], parts[1::2], strict=True):
            _read(path, lambda _, labels=labels: _checked_labels(labels), folder)
        return dict(zip(ARRAY_NAMES, (part[..., None] if part.ndim == 3 else part for part in parts), strict=True))
    *train, test = (_read(path, read_cifar_batch, folder) for path in paths)
    images, labels = (np.concatenate(part) for part in zip(*train, strict=True))
    return dict(zip(ARRAY_NAMES, (images, labels, *test), strict=True))


def _read(path: Path, read: Any, folder: Path) -> Any:
    try:
        return read(path)
    except FileNotFoundError:
        problem = "it is missing"
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})"
    except BrokenFileError as error:
        problem = str(error)
    raise UserError(f"data file {path} cannot be used: {problem}. {how_to_get(folder)}")


def how_to_get(folder: Path) -> str:
    """Say both ways to get the files of a data set."""
    return (
        f"Either put the published files below a folder named {folder.name} and name its parent in SAMENET_DATA, "
        f"or delete {folder} and start again with a network, so that they are downloaded."
    )


def unverified_files(source: str, folder: Path) -> list[str]:
    """Name the files whose bytes are not known to be the published ones."""
    files = PUBLISHED_FILES[source].files
    return [name for name, published in files.items() if file_sha256(folder / name) != published]


def made_up(data: DataSet) -> Arrays:
    """Draw synthetic images and labels, which are noise or can be learnt, or token sequences and theirs."""
    if data.source in SEQUENCES:
        draw: Draw = SEQUENCES[data.source](data)
    else:
        draw = _learnable(data) if data.noise is None else _noise(data, data.noise)
    train, test = draw(data.train_samples + data.validation_samples), draw(data.test_samples)
    return dict(zip(ARRAY_NAMES, (*train, *test), strict=True))


def _learnable(data: DataSet) -> Draw:
    """Return what draws images in [0, 1], each half a fixed random picture of its class and half noise."""
    stream = np.random.RandomState(0)
    pictures = stream.random_sample((data.classes, *data.image_shape)).astype(np.float32)

    def draw(samples: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        labels = stream.randint(data.classes, size=samples)
        images = np.empty((samples, *data.image_shape), np.float32)
        for start in range(0, samples, 1000):
            part = slice(start, start + 1000)
            images[part] = (pictures[labels[part]] + stream.random_sample(images[part].shape)) / 2
        return images, labels

    return draw


def _noise(data: DataSet, noise: Noise) -> Draw:
    """Return what draws images of nothing but noise, and labels that have nothing to do with them."""
    stream = np.random.RandomState(0)

    def draw(samples: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        shape = (samples, *data.image_shape)
        images = draw_normal(stream, shape, mean=noise.mean, stddev=noise.stddev, truncated=noise.truncated)
        return images, stream.randint(noise.labels, size=samples)

    return draw


def scale(images: NDArray[Any], scaling: str, largest: int) -> NDArray[Any]:
    """Scale pixels to float32: `"unit"` by the largest possible pixel, `"min-max-per-pixel"` by each pixel's extremes.

    A pixel that never changes becomes 0, as in scikit-learn's MinMaxScaler. With `"none"` values and type stay.
    """
    match scaling:
        case "unit":
            return images.astype(np.float32) / np.float32(largest)
        case "min-max-per-pixel":
            low, high = images.min(axis=0).astype(np.float64), images.max(axis=0).astype(np.float64)
            scaled: NDArray[np.float32] = ((images - low) / np.where(high > low, high - low, 1)).astype(np.float32)
            return scaled
        case _:
            return images


def write_prepared(folder: Path, arrays: Arrays, facts: dict[str, Any]) -> None:
    """Write scaled arrays and what is known of them; the folder appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        for name in ARRAY_NAMES:
            np.save(partial / f"{name}.npy", arrays[name], allow_pickle=False)
        facts = {"fingerprint": arrays_fingerprint(arrays), **facts}
        (partial / "dataset.json").write_text(json.dumps(facts, indent=1) + "\n")
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class Split:
    """What a worker trains on, mapped from the prepared files.

    Images (N, H, W, C) float32 and labels (N,) int32, or tokens (N, T) int32 and labels (N,) or (N, T).
    """

    train_images: NDArray[Any]
    train_labels: NDArray[np.int32]
    validation_images: NDArray[Any]
    validation_labels: NDArray[np.int32]
    test_images: NDArray[Any]
    test_labels: NDArray[np.int32]


def load_split(folder: Path, data: DataSet) -> Split:
    """Map a prepared folder and cut it as the workload says."""
    stored = {name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in ARRAY_NAMES}
    images, labels = stored["train_images"], stored["train_labels"]
    held_out = len(labels) - data.validation_samples
    return Split(
        train_images=images[: data.train_samples],
        train_labels=labels[: data.train_samples],
        validation_images=images[held_out:],
        validation_labels=labels[held_out:],
        test_images=stored["test_images"][: data.test_samples],
        test_labels=stored["test_labels"][: data.test_samples],
    )
