"""W3: the wide CIFAR-10 ResNet of hideyukiinada/benchmark (dacb0d2, benchmark1): 15,187,722 parameters."""

from workloads.keras_form import KERAS_ADAM, conv, dense
from workloads.sources import CIFAR10, choose_data
from workloads.spec import INPUT, Add, BatchNorm, GlobalAveragePool2D, Graph, Layer, ReLU, Workload

NORM = BatchNorm(momentum=0.99, epsilon=1e-3, scale=True, center=True)


def cifar10_resnet(
    *, depth: int = 10, epochs: int = 1, data: str = "cifar10", train_samples: int = CIFAR10.train_samples
) -> Workload:
    """Three stages of `depth` residual blocks. The convolutions have biases, which the norms take out again."""
    if depth < 1:
        raise ValueError(f"depth {depth}; accepted: 1 and more")
    graph = Graph()
    last = graph.chain(INPUT, *_conv_norm(64), ReLU())
    for filters in (64, 128, 256):
        for block in range(depth):
            last = _block(graph, last, filters, downsamples=filters > 64 and block == 0)
    graph.chain(last, GlobalAveragePool2D(), dense(units=CIFAR10.classes))
    return Workload(
        name="cifar10-resnet",
        data=choose_data(CIFAR10, data, train_samples),
        network=graph.network(CIFAR10.image_shape),
        optimizer=KERAS_ADAM,
        batch_size=64,
        epochs=epochs,
    )


def _block(graph: Graph, before: str, filters: int, *, downsamples: bool) -> str:
    """Add two 3×3 convolutions to a shortcut, which is a convolution where the block halves the size."""
    stride = 2 if downsamples else 1
    residual = graph.chain(before, *_conv_norm(filters, stride=stride), ReLU(), *_conv_norm(filters))
    shortcut = graph.chain(before, *_conv_norm(filters, kernel=1, stride=stride)) if downsamples else before
    return graph.chain(graph.add(Add(), residual, shortcut), ReLU())


def _conv_norm(filters: int, *, kernel: int = 3, stride: int = 1) -> tuple[Layer, ...]:
    """Return a convolution with its normalisation."""
    size, strides = (kernel, kernel), (stride, stride)
    return conv(filters=filters, kernel_size=size, strides=strides, padding="same"), NORM
