"""The nets that adapters are compared on with hand-written loops, with fewer samples so that epochs take seconds."""

from typing import Any

NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "mnist-cnn": ("mnist-cnn", {"train_samples": 12_800}),
    "mnist-mlp-1024": ("mnist-mlp", {"units": 1024, "train_samples": 12_800}),
    "cifar10-cnn": ("cifar10-cnn", {"train_samples": 6_400}),
}
