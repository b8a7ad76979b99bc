"""W6: NASNet-A mobile (Zoph et al. 2018) as tf_cnn_benchmarks runs it, which is not quite as the paper has it.

Its builder leaves out the scope that sets the paper's layers, so every convolution has a bias and a ReLU of its own
before the normalisation, which has no gamma; and the L2 term covers the normalisations' betas, by the names they have.
"""

from typing import NamedTuple

from workloads.spec import (
    INPUT,
    Add,
    AveragePool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Crop2D,
    DepthwiseConv2D,
    GlobalAveragePool2D,
    GlorotUniform,
    Graph,
    Layer,
    MaxPool2D,
    Padding,
    ReLU,
    Workload,
)
from workloads.tf_cnn import IMAGES, benchmark, classifier

NORM = BatchNorm(momentum=0.999, epsilon=1e-3, scale=False, center=True)
FILTERS = 44
CELLS = 12
REDUCTIONS = (4, 8)
"""The cells before which there is a reduction, after which they have twice the filters."""


class Maps(NamedTuple):
    """A node that cells take: its name, height (and width), and channels."""

    node: str
    size: int
    channels: int


def nasnet(*, image_size: int = 224, train_samples: int = IMAGES) -> Workload:
    """Two reductions as a stem, then twelve normal cells with two reductions between them: 5,291,035 parameters."""
    graph = Graph()
    stem = graph.chain(INPUT, *_conv(32, kernel=3, stride=2, padding="valid"), NORM)
    before = last = Maps(stem, (image_size - 3) // 2 + 1, 32)
    for filters in (FILTERS // 4, FILTERS // 2):
        before, last = last, _reduction_cell(graph, filters, last, before)
    filters = FILTERS
    for cell in range(CELLS):
        if cell in REDUCTIONS:
            filters *= 2
            before, last = last, _reduction_cell(graph, filters, last, before)
        before, last = last, _normal_cell(graph, filters, last, before)
    graph.chain(last.node, ReLU(), GlobalAveragePool2D(), classifier(last.channels))
    network = graph.network((image_size, image_size, 3))
    return benchmark(
        "nasnet", network, learning_rate=0.005, train_samples=train_samples, decayed=("kernel", "bias", "beta")
    )


def _normal_cell(graph: Graph, filters: int, last: Maps, before: Maps) -> Maps:
    """Add the cell of the paper's figure 4, left: sums of what is done to the last cell's maps and those before."""
    h, p = _cell_inputs(graph, filters, last, before)
    pool = AveragePool2D(pool_size=(3, 3), strides=(1, 1), padding="same")
    sums = (
        (graph.chain(h, *_separable(filters, 5)), graph.chain(p, *_separable(filters, 3))),
        (graph.chain(p, *_separable(filters, 5)), graph.chain(p, *_separable(filters, 3))),
        (graph.add(pool, h), p),
        (graph.add(pool, p), graph.add(pool, p)),
        (graph.chain(h, *_separable(filters, 3)), h),
    )
    states = [p, *(graph.add(Add(), *pair) for pair in sums)]
    return Maps(graph.add(Concatenate(), *states), last.size, len(states) * filters)


def _reduction_cell(graph: Graph, filters: int, last: Maps, before: Maps) -> Maps:
    """Add the cell of the paper's figure 4, right, whose operations on its inputs have stride 2."""
    h, p = _cell_inputs(graph, filters, last, before)
    largest = MaxPool2D(pool_size=(3, 3), strides=(2, 2), padding="same")
    average = AveragePool2D(pool_size=(3, 3), strides=(2, 2), padding="same")
    even = AveragePool2D(pool_size=(3, 3), strides=(1, 1), padding="same")
    inner = graph.add(
        Add(), graph.chain(h, *_separable(filters, 5, stride=2)), graph.chain(p, *_separable(filters, 7, stride=2))
    )
    first = graph.add(Add(), graph.add(largest, h), graph.chain(p, *_separable(filters, 7, stride=2)))
    second = graph.add(Add(), graph.add(average, h), graph.chain(p, *_separable(filters, 5, stride=2)))
    third = graph.add(Add(), first, graph.add(even, inner))
    fourth = graph.add(Add(), graph.chain(inner, *_separable(filters, 3)), graph.add(largest, h))
    return Maps(graph.add(Concatenate(), first, second, third, fourth), -(-last.size // 2), 4 * filters)


def _cell_inputs(graph: Graph, filters: int, last: Maps, before: Maps) -> tuple[str, str]:
    """Return the last maps, and those before made to fit them; the first cell takes the same twice."""
    previous = before.node
    if before.size != last.size:
        previous = _halve(graph, filters, previous)
    elif before.channels != filters and before != last:
        previous = graph.chain(previous, ReLU(), *_conv(filters, kernel=1), NORM)
    return graph.chain(last.node, ReLU(), *_conv(filters, kernel=1), NORM), previous


def _halve(graph: Graph, filters: int, before: str) -> str:
    """Take every second pixel twice, the other time one further down and right, where zeros follow the last."""
    relu = graph.add(ReLU(), before)
    here = graph.chain(relu, *_conv(filters // 2, kernel=1, stride=2, padding="valid"))
    shift = Crop2D(cropping=((1, 0), (1, 0)))
    further = graph.chain(relu, shift, *_conv(filters // 2, kernel=1, stride=2, padding=((0, 1), (0, 1))))
    return graph.chain(graph.add(Concatenate(), here, further), NORM)


def _separable(filters: int, kernel: int, *, stride: int = 1) -> tuple[Layer, ...]:
    """Return two separable convolutions, each with a ReLU before and a normalisation after it."""
    layers: list[Layer] = []
    for step in (stride, 1):
        depthwise = DepthwiseConv2D(
            kernel_size=(kernel, kernel),
            strides=(step, step),
            padding="same",
            use_bias=False,
            kernel_initializer=GlorotUniform(),
        )
        layers += (ReLU(), depthwise, *_conv(filters, kernel=1), NORM)
    return tuple(layers)


def _conv(filters: int, *, kernel: int, stride: int = 1, padding: Padding = "same") -> tuple[Layer, ...]:
    """Return a convolution with bias and its ReLU."""
    layer = Conv2D(
        filters=filters,
        kernel_size=(kernel, kernel),
        strides=(stride, stride),
        padding=padding,
        use_bias=True,
        kernel_initializer=GlorotUniform(),
    )
    return layer, ReLU()
