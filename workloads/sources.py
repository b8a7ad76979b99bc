"""The data sets as their publishers split them, and how a workload takes less of them or made-up images instead."""

from dataclasses import replace

from workloads.spec import DataSet

DIGITS = DataSet(
    source="digits",
    scaling="unit",
    image_shape=(8, 8, 1),
    classes=10,
    train_samples=1_437,
    validation_samples=0,
    test_samples=360,
)
MNIST = DataSet(
    source="mnist",
    scaling="unit",
    image_shape=(28, 28, 1),
    classes=10,
    train_samples=60_000,
    validation_samples=0,
    test_samples=10_000,
)
CIFAR10 = DataSet(
    source="cifar10",
    scaling="unit",
    image_shape=(32, 32, 3),
    classes=10,
    train_samples=50_000,
    validation_samples=0,
    test_samples=10_000,
)


def choose_data(published: DataSet, source: str, train_samples: int) -> DataSet:
    """Return `published` cut to its first `train_samples`, or synthetic images of its shape and number.

    Raises ValueError for another source and for more samples than there are.
    """
    if source not in (published.source, "synthetic"):
        raise ValueError(f"data {source!r}; accepted: {published.source}, synthetic")
    if not 0 < train_samples <= published.train_samples:
        raise ValueError(f"train_samples {train_samples}; accepted: 1 to {published.train_samples}")
    data = replace(published, train_samples=train_samples)
    return data if source == published.source else replace(data, source="synthetic", scaling="none")
