"""W6: AlexNet as tf_cnn_benchmarks has it: no response normalisation, 384 filters in the fourth convolution."""

from workloads.spec import Flatten, MaxPool2D, ReLU, Workload, sequential
from workloads.tf_cnn import IMAGES, benchmark, classifier, conv, hidden

POOL = MaxPool2D(pool_size=(3, 3), strides=(2, 2), padding="valid")


def alexnet(*, train_samples: int = IMAGES) -> Workload:
    """Five convolutions and three dense layers: 61,842,345 parameters."""
    layers = (
        conv(filters=64, kernel_size=(11, 11), strides=(4, 4), padding="valid", use_bias=True),
        ReLU(),
        POOL,
        conv(filters=192, kernel_size=(5, 5), use_bias=True),
        ReLU(),
        POOL,
        conv(filters=384, kernel_size=(3, 3), use_bias=True),
        ReLU(),
        conv(filters=384, kernel_size=(3, 3), use_bias=True),
        ReLU(),
        conv(filters=256, kernel_size=(3, 3), use_bias=True),
        ReLU(),
        POOL,
        Flatten(),
        *hidden(6 * 6 * 256, 4096),
        *hidden(4096, 4096),
        classifier(4096),
    )
    # The source pads 224 by 3 so that the unpadded first convolution fits.
    network = sequential((227, 227, 3), layers)
    return benchmark("alexnet", network, learning_rate=0.005, train_samples=train_samples)
