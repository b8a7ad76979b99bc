"""Files that are right, wrong in every way, missing, downloaded and made up."""

import gzip
import hashlib
import http.server
import json
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import harness.data
from harness.data import download, find_files, prepare
from workloads import datasets, make_workload
from workloads.datasets import ARRAY_NAMES, PublishedFiles, load_split, read_cifar_batch, read_idx, scale
from workloads.errors import UserError
from workloads.initial import arrays_fingerprint
from workloads.sources import CIFAR10, DIGITS, MNIST

MNIST_SHAPES = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
DIGITS_FINGERPRINT = "90f499719139d68feee20ecb231382ee6f6407e41bd17f4a9a39994a4ece9121"


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), 1))


@pytest.fixture
def mnist(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole MNIST of made-up pixels in SAMENET_DATA."""
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    stream = np.random.RandomState(0)
    for name, shape in zip(datasets.PUBLISHED_FILES["mnist"].files, MNIST_SHAPES, strict=True):
        write_idx(folder / name, np.resize(stream.randint(0, 10, 997).astype(np.uint8), shape))
    monkeypatch.setenv("SAMENET_DATA", str(folder.parent))
    return folder


@pytest.fixture
def cifar10(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole CIFAR-10 of made-up pixels in SAMENET_DATA."""
    folder = tmp_path / "data" / "cifar10"
    (folder / "cifar-10-batches-bin").mkdir(parents=True)
    stream = np.random.RandomState(0)
    for name in datasets.PUBLISHED_FILES["cifar10"].files:
        records = np.resize(stream.randint(0, 10, 997).astype(np.uint8), (10_000, 3073))
        (folder / name).write_bytes(records.tobytes())
    monkeypatch.setenv("SAMENET_DATA", str(folder.parent))
    return folder


def test_idx_is_read_as_it_was_written(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "x.gz", array)
    assert np.array_equal(read_idx(tmp_path / "x.gz", (2, 3, 4)), array)


def test_cifar_planes_become_channels(tmp_path: Path) -> None:
    red, green, blue = (np.full(1024, value, np.uint8) for value in (1, 2, 3))
    red[33] = 77
    (tmp_path / "batch.bin").write_bytes(bytes([7]) + b"".join(plane.tobytes() for plane in (red, green, blue)))
    images, labels = read_cifar_batch(tmp_path / "batch.bin", samples=1)
    assert labels.tolist() == [7]
    assert images.shape == (1, 32, 32, 3)
    assert images[0, 0, 0].tolist() == [1, 2, 3]
    assert images[0, 1, 1].tolist() == [77, 2, 3]


def test_whole_files_that_are_not_the_published_bytes_are_used_and_named(mnist: Path) -> None:
    folder, facts = prepare(MNIST)
    assert facts["unverified"] == list(datasets.PUBLISHED_FILES["mnist"].files)
    split = load_split(folder, MNIST)
    assert split.train_images.shape == (60_000, 28, 28, 1)
    assert split.train_images.dtype == np.float32
    assert split.train_images.max() == np.float32(9) / np.float32(255)
    assert split.test_labels.dtype == np.int32


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _wrong_shape(path: Path) -> None:
    write_idx(path, np.zeros((10, 28, 28), np.uint8))


def _too_short(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-5], 1))


def _not_gzip(path: Path) -> None:
    path.write_bytes(b"<html>404</html>")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (_truncate, "it cannot be unpacked"),
        (_not_gzip, "it cannot be unpacked"),
        (_wrong_shape, r"it starts with 00 00 08 03 00 00 00 0a .* an IDX file of \(60000, 28, 28\) with 00 00 08 03"),
        (_too_short, "it unpacks to 47040011 bytes; expected 47040016"),
        (Path.unlink, "it is missing"),
    ],
)
def test_a_broken_mnist_file_is_named_with_both_ways_to_get_it(damage, problem: str, mnist: Path) -> None:
    damage(mnist / "train-images-idx3-ubyte.gz")
    expected = rf"train-images-idx3-ubyte\.gz cannot be used: {problem}.*SAMENET_DATA.*or delete .* downloaded"
    with pytest.raises(UserError, match=expected):
        prepare(MNIST)
    write_idx(mnist / "train-images-idx3-ubyte.gz", np.zeros(MNIST_SHAPES[0], np.uint8))
    assert prepare(MNIST)[0].is_dir()


def test_a_label_out_of_range_is_refused(mnist: Path, cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(mnist / "t10k-labels-idx1-ubyte.gz", np.full(10_000, 10, np.uint8))
    with pytest.raises(UserError, match=r"t10k-labels.* it holds the label 10; expected 0 to 9"):
        prepare(MNIST)
    (cifar10 / "cifar-10-batches-bin/data_batch_3.bin").write_bytes(bytes(3073 * 9_999))
    with pytest.raises(UserError, match=r"data_batch_3\.bin cannot be used: it holds 30726927 bytes; expected 10000"):
        prepare(CIFAR10)


def test_cifar10_is_prepared_once(cifar10: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, facts = prepare(CIFAR10)
    assert facts["fingerprint"] == arrays_fingerprint({name: np.load(folder / f"{name}.npy") for name in ARRAY_NAMES})
    monkeypatch.setattr(harness.data, "read_published", None)
    assert prepare(CIFAR10) == (folder, facts)


def test_other_files_are_prepared_apart(mnist: Path) -> None:
    first, _ = prepare(MNIST)
    write_idx(mnist / "t10k-labels-idx1-ubyte.gz", np.zeros(10_000, np.uint8))
    assert prepare(MNIST)[0] != first


def test_min_max_scaling_is_per_pixel_and_constant_pixels_become_zero() -> None:
    images = np.array([[[0, 5, 100]], [[0, 10, 200]], [[0, 15, 150]]], np.uint8)
    assert scale(images, "min-max-per-pixel", 255).tolist() == [[[0, 0, 0]], [[0, 0.5, 1]], [[0, 1, 0.5]]]
    assert scale(images, "unit", 200)[1].tolist() == [[0, np.float32(0.05), 1]]


def test_digits_are_split_as_ever(home: Path) -> None:
    folder, facts = prepare(DIGITS)
    assert facts == {"fingerprint": DIGITS_FINGERPRINT, "unverified": []}
    split = load_split(folder, DIGITS)
    assert (len(split.train_labels), len(split.test_labels), len(split.validation_labels)) == (1437, 360, 0)
    shares = [np.bincount(labels, minlength=10) / len(labels) for labels in (split.train_labels, split.test_labels)]
    assert np.abs(shares[0] - shares[1]).max() < 0.002
    assert split.train_images.max() == 1


def test_the_split_takes_the_first_to_train_and_the_last_to_validate(home: Path) -> None:
    parameters = {"data": "synthetic", "train_samples": 300}
    data = replace(make_workload("mnist-mlp", parameters).data, validation_samples=50, test_samples=20)
    folder, _ = prepare(data)
    stored = np.load(folder / "train_images.npy")
    split = load_split(folder, data)
    assert len(stored) == 350
    assert np.array_equal(split.train_images, stored[:300])
    assert np.array_equal(split.validation_images, stored[300:])
    assert isinstance(split.train_images, np.memmap)
    assert 0 <= stored.min() < stored.max() <= 1


def test_noise_is_drawn_as_it_is_stated() -> None:
    data = replace(make_workload("resnet50", {"image_size": 64}).data, train_samples=16)
    arrays = datasets.made_up(data)
    images = arrays["train_images"]
    assert (images.dtype, images.shape) == (np.float32, (16, 64, 64, 3))
    assert (images.min(), images.max()) == (pytest.approx(7, abs=0.1), pytest.approx(247, abs=0.1))
    assert images.mean() == pytest.approx(127, abs=0.5)
    assert images.std() == pytest.approx(60 * 0.8796, rel=0.01)
    labels = datasets.made_up(replace(data, image_shape=(1, 1, 1), train_samples=100_000))["train_labels"]
    assert (labels.min(), labels.max()) == (0, 999)
    assert np.bincount(labels).std() == pytest.approx(10, rel=0.1)


def test_noise_that_is_not_truncated_goes_further() -> None:
    images = datasets.made_up(make_workload("alexnet-owt", {"image_size": 67}).data)["train_images"]
    assert images.std() == pytest.approx(0.1, rel=0.01)
    assert np.abs(images).max() > 0.4


def test_nothing_is_ever_unpickled(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = prepare(DIGITS)
    np.save(folder / "test_labels.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"allow_pickle=False|Array can't be memory-mapped"):
        load_split(folder, DIGITS)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on this machine that offers the folder `published`."""
    (tmp_path / "published").mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "published")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/"
        web.shutdown()


def publish(monkeypatch: pytest.MonkeyPatch, source: str, **changes: object) -> None:
    published: PublishedFiles = replace(datasets.PUBLISHED_FILES[source], **changes)
    monkeypatch.setitem(datasets.PUBLISHED_FILES, source, published)


def test_a_download_goes_on_to_the_next_mirror(
    server: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {}
    for name in datasets.PUBLISHED_FILES["mnist"].files:
        (tmp_path / "published" / name).write_bytes(name.encode())
        files[name] = hashlib.sha256(name.encode()).hexdigest()
    publish(monkeypatch, "mnist", files=files, mirrors=(f"{server}nowhere/", server))
    folder = download("mnist")
    assert folder == find_files("mnist")
    assert {path.name for path in folder.iterdir()} == {*files, "samenet-verified"}


def test_a_download_of_other_bytes_is_refused(
    server: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in datasets.PUBLISHED_FILES["mnist"].files:
        (tmp_path / "published" / name).write_bytes(b"tampered")
    publish(monkeypatch, "mnist", mirrors=(server,))
    with pytest.raises(UserError, match=r"train-images.* could not be downloaded .*hash.* SAMENET_DATA"):
        download("mnist")
    assert find_files("mnist") is None
    assert list((home / "downloads").iterdir()) == []


def test_an_archive_is_unpacked_and_all_its_files_count_as_published(
    server: str, home: Path, cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAMENET_DATA")
    archive = tmp_path / "published" / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(cifar10 / "cifar-10-batches-bin", "cifar-10-batches-bin")
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    publish(monkeypatch, "cifar10", mirrors=(server,), archive=(archive.name, sha256))
    folder, facts = prepare(CIFAR10)
    assert facts["unverified"] == []
    assert json.loads((folder / "dataset.json").read_text()) == facts


def test_without_a_network_both_ways_to_the_data_are_said(home: Path) -> None:
    with pytest.raises(
        UserError, match=r"train-images.* could not be downloaded .*SAMENET_DATA.*start again with a net"
    ):
        prepare(MNIST)


@pytest.mark.skipif(find_files("mnist") is None, reason="real MNIST is not here")
def test_the_real_mnist_is_the_published_one() -> None:
    _, facts = prepare(MNIST)
    assert facts["unverified"] == []
    assert facts["fingerprint"] == "c238460d86422a208e8d70ab15188673389034f765b97ed498e97e78a2e7d02c"


@pytest.mark.skipif(find_files("cifar10") is None, reason="real CIFAR-10 is not here")
def test_the_real_cifar10_training_files_are_the_published_ones() -> None:
    _, facts = prepare(CIFAR10)
    assert facts["unverified"] in ([], ["cifar-10-batches-bin/test_batch.bin"])
