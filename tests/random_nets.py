"""Valid random workloads for hypothesis: every layer, odd sizes, paddings, branches, optimisers and L2 terms."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from workloads import make_workload
from workloads.shapes import output_shape
from workloads.spec import (
    INPUT,
    L2,
    SGD,
    Adam,
    Add,
    AveragePool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Crop2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePool2D,
    GlorotUniform,
    Graph,
    Layer,
    LocalResponseNorm,
    MaxPool2D,
    ReLU,
    Shape,
    Workload,
)

CLASSES = 10
MOST_STEPS = 8
Draw = Any


def _pair(least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


def _paddings(window: tuple[int, int], most: int) -> st.SearchStrategy[Any]:
    amounts = st.tuples(*(_pair(0, min(most, size - 1)) for size in window))
    return st.one_of(st.sampled_from(["same", "valid"]), amounts)


@st.composite
def convolutions(draw: Draw) -> Conv2D:
    """Kernels of 1 to 4, strides of 1 to 3, any padding below the kernel's size."""
    window = draw(_pair(1, 4))
    return Conv2D(
        filters=draw(st.integers(1, 6)),
        kernel_size=window,
        strides=draw(_pair(1, 3)),
        padding=draw(_paddings(window, 3)),
        use_bias=draw(st.booleans()),
        kernel_initializer=GlorotUniform(),
    )


@st.composite
def depthwise_convolutions(draw: Draw) -> DepthwiseConv2D:
    """Like convolutions; mostly of one stride for both directions, which some tools need."""
    window = draw(_pair(1, 4))
    stride = draw(st.integers(1, 3))
    return DepthwiseConv2D(
        kernel_size=window,
        strides=draw(st.one_of(st.just((stride, stride)), st.just((stride, stride)), _pair(1, 3))),
        padding=draw(_paddings(window, 3)),
        use_bias=draw(st.booleans()),
        kernel_initializer=GlorotUniform(),
    )


def crops() -> st.SearchStrategy[Crop2D]:
    """Crops of up to two rows and columns at each side."""
    return st.builds(Crop2D, cropping=st.tuples(_pair(0, 2), _pair(0, 2)))


@st.composite
def pools(draw: Draw) -> MaxPool2D | AveragePool2D:
    """Windows of 1 to 3, overlapping, gapped or neither."""
    window = draw(_pair(1, 3))
    kind = draw(st.sampled_from([MaxPool2D, AveragePool2D]))
    return kind(pool_size=window, strides=draw(_pair(1, 3)), padding=draw(_paddings(window, 2)))


def norms() -> st.SearchStrategy[BatchNorm]:
    """Batch normalisations with or without gamma and beta.

    Epsilon is large, so that batches that hardly vary do not blow float32's rounding up.
    """
    return st.builds(
        BatchNorm,
        momentum=st.sampled_from([0.5, 0.9, 0.99]),
        epsilon=st.sampled_from([0.01, 0.1]),
        scale=st.booleans(),
        center=st.booleans(),
    )


def response_norms() -> st.SearchStrategy[LocalResponseNorm]:
    """Response normalisations strong enough to show."""
    return st.builds(
        LocalResponseNorm,
        radius=st.integers(0, 3),
        bias=st.sampled_from([1.0, 2.0]),
        alpha=st.sampled_from([1e-4, 0.1, 1.0]),
        beta=st.sampled_from([0.5, 0.75, 1.0]),
    )


def dense_layers(units: st.SearchStrategy[int]) -> st.SearchStrategy[Dense]:
    """Dense layers with or without bias."""
    return st.builds(Dense, units=units, use_bias=st.booleans(), kernel_initializer=st.just(GlorotUniform()))


def layers_after(shape: Shape) -> st.SearchStrategy[Layer]:
    """Layers that may follow an output of that shape, where they fit."""
    common = [st.just(ReLU()), norms()]
    if len(shape) == 3:
        ends = st.sampled_from([Flatten(), GlobalAveragePool2D()])
        convolving = convolutions(), convolutions(), depthwise_convolutions()
        return st.one_of(*common, *convolving, pools(), response_norms(), crops(), ends)
    return st.one_of(*common, dense_layers(st.integers(1, 12)))


class _Builder:
    """A graph that grows, with the shape of each node."""

    def __init__(self, draw: Draw, input_shape: Shape) -> None:
        self._draw = draw
        self.graph = Graph()
        self.shapes: dict[str, Shape] = {INPUT: input_shape}

    def add(self, layer: Layer, *inputs: str) -> str | None:
        """Add a layer if it fits, and return its name."""
        try:
            shape = output_shape(layer, *(self.shapes[name] for name in inputs))
        except ValueError:
            return None
        name = self.graph.add(layer, *inputs)
        self.shapes[name] = shape
        return name

    def step(self, before: str) -> str:
        """Add a layer, or two branches that meet again."""
        if self._draw(st.integers(0, 3)) == 0:
            return self.branches(before)
        return self.add(self._draw(layers_after(self.shapes[before])), before) or before

    def branches(self, before: str) -> str:
        """Go two ways and add or concatenate; a way may be the input itself."""
        one, other = before, before
        for _ in range(self._draw(st.integers(1, 2))):
            one = self._keeping_size(one)
        if self._draw(st.booleans()):
            other = self._keeping_size(other)
        if self.shapes[one] == self.shapes[other] and one != other and self._draw(st.booleans()):
            return self.graph_merge(Add(), one, other)
        return self.graph_merge(Concatenate(), one, other)

    def graph_merge(self, layer: Layer, one: str, other: str) -> str:
        """Merge two ways that fit."""
        merged = self.add(layer, one, other)
        assert merged is not None
        return merged

    def _keeping_size(self, before: str) -> str:
        """Add a layer that changes nothing but the channels."""
        if len(self.shapes[before]) == 1:
            choices = [st.just(ReLU()), norms(), dense_layers(st.just(self.shapes[before][0]))]
            layer = self._draw(st.one_of(*choices))
        else:
            choices = [st.just(ReLU()), norms(), convolutions(), depthwise_convolutions(), pools()]
            layer = self._draw(st.one_of(*choices))
            if not isinstance(layer, ReLU | BatchNorm):
                layer = replace(layer, strides=(1, 1), padding="same")
            if isinstance(layer, Conv2D) and self._draw(st.booleans()):
                layer = replace(layer, filters=self.shapes[before][-1])
        name = self.add(layer, before)
        assert name is not None
        return name


def optimizers() -> st.SearchStrategy[SGD | Adam]:
    """Every optimiser in every form."""
    sgd = st.builds(
        SGD,
        learning_rate=st.sampled_from([0.01, 0.1]),
        momentum=st.sampled_from([0.0, 0.5, 0.9]),
        decay=st.sampled_from([0.0, 1e-3]),
        nesterov=st.booleans(),
    )
    adam = st.builds(
        Adam,
        learning_rate=st.sampled_from([1e-3, 1e-2]),
        beta_1=st.sampled_from([0.5, 0.9]),
        beta_2=st.sampled_from([0.9, 0.999]),
        epsilon=st.sampled_from([1e-7, 1e-3]),
        epsilon_form=st.sampled_from(["epsilon-hat", "algorithm-1"]),
    )
    return st.one_of(sgd, adam)


def l2_terms() -> st.SearchStrategy[L2 | None]:
    """No L2 term, or one over some kinds of weights."""
    kinds = st.sampled_from([("kernel",), ("kernel", "bias"), ("kernel", "bias", "gamma", "beta")])
    return st.one_of(st.none(), st.builds(L2, rate=st.sampled_from([1e-4, 1e-2]), kinds=kinds))


@st.composite
def random_workloads(draw: Draw) -> Workload:
    """A net of 1 to some 20 layers that ends in 10 logits, or in whatever there is where nothing is trained."""
    input_shape = (draw(st.integers(2, 10)), draw(st.integers(2, 10)), draw(st.integers(1, 4)))
    builder = _Builder(draw, input_shape)
    last = INPUT
    for _ in range(draw(st.integers(0, MOST_STEPS))):
        last = builder.step(last)
    base = make_workload("mnist-cnn", {"data": "synthetic"})
    shared = {"name": "random", "data": replace(base.data, image_shape=input_shape), "l2": draw(l2_terms())}
    if len(builder.shapes[last]) == 3 and draw(st.integers(0, 3)) == 0:
        builder.add(replace(draw(convolutions()), padding="same"), last)
        network = builder.graph.network(input_shape)
        return replace(base, network=network, optimizer=None, loss="half-squared-sum", **shared)
    if len(builder.shapes[last]) == 3:
        last = builder.add(draw(st.sampled_from([Flatten(), GlobalAveragePool2D()])), last) or last
    builder.add(draw(dense_layers(st.just(CLASSES))), last)
    return replace(base, network=builder.graph.network(input_shape), optimizer=draw(optimizers()), **shared)
