"""What published runs of a workload came to: bands of training loss that a repeat of it has to lie in."""

from collections.abc import Mapping

Band = tuple[float, float]

PUBLISHED_LOSSES: Mapping[tuple[str, int], Mapping[int, Band]] = {
    ("mnist-cnn", 128): {1: (0.26, 0.35), 10: (0.025, 0.031)},
    ("cifar10-cnn", 32): {1: (1.40, 1.55), 10: (0.46, 0.53)},
}
"""By workload (nothing chosen) and batch size: epoch, counted from 1, to the lowest and highest mean training loss.

mnist-cnn: the run logs of szilard/benchm-dl (commit 4f6de55), widened by what other initial weights do to epoch 1.
cifar10-cnn: both runs of the Colab article, widened alike.
"""
