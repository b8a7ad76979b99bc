"""W6: Inception v3 (Szegedy et al. 2016) as tf_cnn_benchmarks has it, without the auxiliary head."""

from workloads.spec import (
    INPUT,
    AveragePool2D,
    BatchNorm,
    Concatenate,
    Flatten,
    Graph,
    Layer,
    MaxPool2D,
    Padding,
    ReLU,
    Workload,
)
from workloads.tf_cnn import IMAGES, benchmark, classifier, conv

NORM = BatchNorm(momentum=0.999, epsilon=1e-3, scale=False, center=True)
HALVE = MaxPool2D(pool_size=(3, 3), strides=(2, 2), padding="valid")
AVERAGE = AveragePool2D(pool_size=(3, 3), strides=(1, 1), padding="same")
LARGEST = MaxPool2D(pool_size=(3, 3), strides=(1, 1), padding="same")


def inception3(*, train_samples: int = IMAGES) -> Workload:
    """A stem and eleven modules of columns side by side: 23,819,401 parameters."""
    graph = Graph()
    last = graph.chain(
        INPUT,
        *_conv(32, 3, 3, stride=2, padding="valid"),
        *_conv(32, 3, 3, padding="valid"),
        *_conv(64, 3, 3),
        HALVE,
        *_conv(80, 1, 1, padding="valid"),
        *_conv(192, 3, 3, padding="valid"),
        HALVE,
    )
    for pooled in (32, 64, 64):
        last = _module_a(graph, last, pooled)
    last = _module_b(graph, last)
    for narrow in (128, 160, 160, 192):
        last = _module_c(graph, last, narrow)
    last = _module_d(graph, last)
    # The paper and Keras take the average in both.
    for pool in (AVERAGE, LARGEST):
        last = _module_e(graph, last, pool)
    graph.chain(last, AveragePool2D(pool_size=(8, 8), strides=(1, 1), padding="valid"), Flatten(), classifier(2048))
    network = graph.network((299, 299, 3))
    return benchmark("inception3", network, learning_rate=0.005, train_samples=train_samples)


def _conv(filters: int, height: int, width: int, *, stride: int = 1, padding: Padding = "same") -> tuple[Layer, ...]:
    """Return a convolution with its normalisation and ReLU."""
    size, strides = (height, width), (stride, stride)
    return conv(filters=filters, kernel_size=size, strides=strides, padding=padding, use_bias=False), NORM, ReLU()


def _columns(graph: Graph, before: str, *columns: tuple[Layer, ...]) -> str:
    """Put columns of layers side by side."""
    return graph.add(Concatenate(), *[graph.chain(before, *column) for column in columns])


def _module_a(graph: Graph, before: str, pooled: int) -> str:
    return _columns(
        graph,
        before,
        _conv(64, 1, 1),
        (*_conv(48, 1, 1), *_conv(64, 5, 5)),
        (*_conv(64, 1, 1), *_conv(96, 3, 3), *_conv(96, 3, 3)),
        (AVERAGE, *_conv(pooled, 1, 1)),
    )


def _module_b(graph: Graph, before: str) -> str:
    return _columns(
        graph,
        before,
        _conv(384, 3, 3, stride=2, padding="valid"),
        (*_conv(64, 1, 1), *_conv(96, 3, 3), *_conv(96, 3, 3, stride=2, padding="valid")),
        (HALVE,),
    )


def _module_c(graph: Graph, before: str, narrow: int) -> str:
    across, down = _conv(narrow, 1, 7), _conv(narrow, 7, 1)
    return _columns(
        graph,
        before,
        _conv(192, 1, 1),
        (*_conv(narrow, 1, 1), *across, *_conv(192, 7, 1)),
        (*_conv(narrow, 1, 1), *down, *across, *down, *_conv(192, 1, 7)),
        (AVERAGE, *_conv(192, 1, 1)),
    )


def _module_d(graph: Graph, before: str) -> str:
    last = _conv(192, 3, 3, stride=2, padding="valid")
    return _columns(
        graph,
        before,
        (*_conv(192, 1, 1), *_conv(320, 3, 3, stride=2, padding="valid")),
        (*_conv(192, 1, 1), *_conv(192, 1, 7), *_conv(192, 7, 1), *last),
        (HALVE,),
    )


def _module_e(graph: Graph, before: str, pool: AveragePool2D | MaxPool2D) -> str:
    """Add the module whose second and third column end in two convolutions side by side."""
    across, down = _conv(384, 1, 3), _conv(384, 3, 1)
    single = graph.chain(before, *_conv(320, 1, 1))
    second = graph.chain(before, *_conv(384, 1, 1))
    third = graph.chain(before, *_conv(448, 1, 1), *_conv(384, 3, 3))
    split = [graph.chain(column, *way) for column in (second, third) for way in (across, down)]
    return graph.add(Concatenate(), single, *split, graph.chain(before, pool, *_conv(192, 1, 1)))
