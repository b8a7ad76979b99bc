"""W6: ResNet-50 (He et al. 2016) as tf_cnn_benchmarks has it, in two versions that differ by where a block strides."""

from workloads.spec import INPUT, Add, BatchNorm, GlobalAveragePool2D, Graph, Layer, MaxPool2D, ReLU, Workload
from workloads.tf_cnn import BATCH_SIZE, IMAGES, benchmark, classifier, conv

NORM = BatchNorm(momentum=0.9, epsilon=1e-5, scale=True, center=True)
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Filters inside a stage's blocks, and how many blocks it has; four times as many filters come out."""
PEAK_RATE = 0.128 * BATCH_SIZE / 256
WARMUP_STEPS = 5 * 1_281_167 / BATCH_SIZE
# The rate climbs from 0 for five epochs of ImageNet. A benchmark of 10 + 100 steps sees its first 8.7e-6 of 0.016, and
# hardly learns; the rate of its middle step stands for them all, and that of a batch of 32 for every batch size.
LEARNING_RATE = PEAK_RATE * 55 / WARMUP_STEPS


def resnet50(*, image_size: int = 224, train_samples: int = IMAGES) -> Workload:
    """Version 1: the first 1×1 convolution of a stage's first block has stride 2. 25,559,081 parameters."""
    return _resnet50("resnet50", image_size, train_samples, stride_in_3x3=False)


def resnet50_v1_5(*, image_size: int = 224, train_samples: int = IMAGES) -> Workload:
    """Version 1.5: the 3×3 convolution of a stage's first block has stride 2. 25,559,081 parameters."""
    return _resnet50("resnet50-v1.5", image_size, train_samples, stride_in_3x3=True)


def _resnet50(name: str, image_size: int, train_samples: int, *, stride_in_3x3: bool) -> Workload:
    graph = Graph()
    pool = MaxPool2D(pool_size=(3, 3), strides=(2, 2), padding="same")
    last = graph.chain(INPUT, *_conv_norm(64, kernel=7, stride=2), ReLU(), pool)
    for stage, (filters, blocks) in enumerate(STAGES):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            last = _bottleneck(graph, last, filters, stride, widens=block == 0, stride_in_3x3=stride_in_3x3)
    graph.chain(last, GlobalAveragePool2D(), classifier(4 * STAGES[-1][0]))
    network = graph.network((image_size, image_size, 3))
    return benchmark(name, network, learning_rate=LEARNING_RATE, train_samples=train_samples)


def _bottleneck(graph: Graph, before: str, filters: int, stride: int, *, widens: bool, stride_in_3x3: bool) -> str:
    """Add 1×1, 3×3 and 1×1 convolutions to a shortcut, which is a convolution where the block widens."""
    first, second = (1, stride) if stride_in_3x3 else (stride, 1)
    shortcut = graph.chain(before, *_conv_norm(4 * filters, kernel=1, stride=stride)) if widens else before
    residual = graph.chain(
        before,
        *_conv_norm(filters, kernel=1, stride=first),
        ReLU(),
        *_conv_norm(filters, kernel=3, stride=second),
        ReLU(),
        *_conv_norm(4 * filters, kernel=1, stride=1),
    )
    return graph.chain(graph.add(Add(), shortcut, residual), ReLU())


def _conv_norm(filters: int, *, kernel: int, stride: int) -> tuple[Layer, ...]:
    """Return a convolution that pads all sides alike, with its normalisation."""
    side = (kernel // 2, kernel // 2)
    size, strides = (kernel, kernel), (stride, stride)
    return conv(filters=filters, kernel_size=size, strides=strides, padding=(side, side), use_bias=False), NORM
