"""W6: VGG-16 (Simonyan and Zisserman 2015, configuration D) as tf_cnn_benchmarks has it."""

from workloads.spec import Flatten, Layer, MaxPool2D, ReLU, Workload, sequential
from workloads.tf_cnn import IMAGES, benchmark, classifier, conv, hidden

GROUPS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Filters, and how many convolutions have them before the next pool."""


def vgg16(*, train_samples: int = IMAGES) -> Workload:
    """Thirteen 3×3 convolutions in five groups and three dense layers: 138,361,641 parameters."""
    layers: list[Layer] = []
    for filters, convolutions in GROUPS:
        layers += (conv(filters=filters, kernel_size=(3, 3), use_bias=True), ReLU()) * convolutions
        layers.append(MaxPool2D(pool_size=(2, 2), strides=(2, 2), padding="valid"))
    layers += (Flatten(), *hidden(7 * 7 * 512, 4096), *hidden(4096, 4096), classifier(4096))
    network = sequential((224, 224, 3), layers)
    return benchmark("vgg16", network, learning_rate=0.005, train_samples=train_samples)
