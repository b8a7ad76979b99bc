"""Valid random workloads for hypothesis: every layer, odd sizes and lengths, branches, optimisers and L2 terms."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from workloads import make_workload
from workloads.shapes import output_shape
from workloads.spec import (
    GELU,
    INPUT,
    L2,
    LSTM,
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
    Embedding,
    Flatten,
    GlobalAveragePool2D,
    GlorotUniform,
    Graph,
    Layer,
    LayerNorm,
    LocalResponseNorm,
    MaxPool2D,
    MultiHeadAttention,
    PositionEmbedding,
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


def activations() -> st.SearchStrategy[ReLU | GELU]:
    """ReLU, and GELU in both forms."""
    return st.sampled_from([ReLU(), GELU(form="erf"), GELU(form="tanh")])


@st.composite
def embeddings(draw: Draw) -> Embedding:
    """Tables of 2 to 12 tokens, of 1 to 8 columns that mostly several heads can share.

    A table of one number is left out: PyTorch 2.13's compiler ends in an assertion where it makes that gradient.
    """
    return Embedding(
        input_dim=draw(st.integers(2, 12)),
        output_dim=draw(st.sampled_from([1, 2, 3, 4, 4, 6, 6, 8])),
        embeddings_initializer=GlorotUniform(),
    )


def recurrent_layers(units: st.SearchStrategy[int], *, return_sequences: bool) -> st.SearchStrategy[LSTM]:
    """LSTMs of all states or the last one."""
    return st.builds(
        LSTM,
        units=units,
        return_sequences=st.just(return_sequences),
        kernel_initializer=st.just(GlorotUniform()),
        recurrent_initializer=st.just(GlorotUniform()),
        forget_bias=st.sampled_from([0.0, 1.0]),
    )


@st.composite
def attentions(draw: Draw, columns: int) -> MultiHeadAttention:
    """Attentions of as many heads as can share the columns, causal or not."""
    return MultiHeadAttention(
        heads=draw(st.sampled_from([heads for heads in range(1, columns + 1) if columns % heads == 0])),
        causal=draw(st.booleans()),
        use_bias=draw(st.booleans()),
        kernel_initializer=GlorotUniform(),
    )


def layers_of_sequences(units: st.SearchStrategy[int], columns: int) -> st.SearchStrategy[Layer]:
    """Layers from sequences to sequences, of `units` columns where they choose them.

    A layer norm's epsilon is large, as a batch normalisation's is.
    """
    norms = st.builds(LayerNorm, epsilon=st.sampled_from([0.01, 0.1]))
    positions = PositionEmbedding(embeddings_initializer=GlorotUniform())
    recurrent = recurrent_layers(units, return_sequences=True)
    return st.one_of(activations(), norms, st.just(positions), dense_layers(units), recurrent, attentions(columns))


def layers_after(shape: Shape) -> st.SearchStrategy[Layer]:
    """Layers that may follow an output of that shape, where they fit."""
    if len(shape) == 2:
        last = recurrent_layers(st.integers(1, 8), return_sequences=False)
        return st.one_of(layers_of_sequences(st.integers(1, 8), shape[-1]), last)
    common = [activations(), norms()]
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

    def add_fitting(self, layer: Layer, *inputs: str) -> str:
        """Add a layer that fits."""
        name = self.add(layer, *inputs)
        assert name is not None
        return name

    def embed(self) -> str:
        """Add an embedding of the tokens, or two, added or side by side."""
        layer = self._draw(embeddings())
        one = self.add_fitting(layer, INPUT)
        if self._draw(st.integers(0, 3)):
            return one
        other = self.add_fitting(replace(self._draw(embeddings()), output_dim=layer.output_dim), INPUT)
        return self.add_fitting(self._draw(st.sampled_from([Add(), Concatenate()])), one, other)

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
            return self.add_fitting(Add(), one, other)
        return self.add_fitting(Concatenate(), one, other)

    def _keeping_size(self, before: str) -> str:
        """Add a layer that changes nothing but the channels."""
        shape = self.shapes[before]
        if len(shape) == 1:
            layer = self._draw(st.one_of(activations(), norms(), dense_layers(st.just(shape[0]))))
        elif len(shape) == 2:
            units = st.one_of(st.just(shape[-1]), st.integers(1, 8))
            layer = self._draw(layers_of_sequences(units, shape[-1]))
        else:
            choices = [activations(), norms(), convolutions(), depthwise_convolutions(), pools()]
            layer = self._draw(st.one_of(*choices))
            if not isinstance(layer, ReLU | GELU | BatchNorm):
                layer = replace(layer, strides=(1, 1), padding="same")
            if isinstance(layer, Conv2D) and self._draw(st.booleans()):
                layer = replace(layer, filters=shape[-1])
        return self.add_fitting(layer, before)


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
    kinds = st.sampled_from([("kernel",), ("kernel", "bias"), ("kernel", "bias", "gamma", "beta", "embeddings")])
    return st.one_of(st.none(), st.builds(L2, rate=st.sampled_from([1e-4, 1e-2]), kinds=kinds))


@st.composite
def random_workloads(draw: Draw) -> Workload:
    """A net of 1 to some 20 layers on images or tokens."""
    return draw(st.one_of(image_workloads(), sequence_workloads()))


@st.composite
def image_workloads(draw: Draw) -> Workload:
    """A net that ends in 10 logits, or in whatever there is where nothing is trained."""
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


@st.composite
def sequence_workloads(draw: Draw) -> Workload:
    """A net on 1 to 9 tokens that ends in 10 logits, of a last state or for each place, or is not trained."""
    input_shape = (draw(st.integers(1, 9)),)
    builder = _Builder(draw, input_shape)
    last = builder.embed()
    for _ in range(draw(st.integers(0, MOST_STEPS))):
        last = builder.step(last)
    base = make_workload("gpt-nano", {})
    data = replace(base.data, image_shape=input_shape, classes=CLASSES)
    shared = {"name": "random", "data": data, "l2": draw(l2_terms())}
    if len(builder.shapes[last]) == 2:
        match draw(st.sampled_from(["places", "state", "untrained"])):
            case "state":
                last = builder.add_fitting(draw(recurrent_layers(st.integers(1, 8), return_sequences=False)), last)
            case "untrained":
                network = builder.graph.network(input_shape)
                return replace(base, network=network, optimizer=None, loss="half-squared-sum", **shared)
    builder.add(draw(dense_layers(st.just(CLASSES))), last)
    return replace(base, network=builder.graph.network(input_shape), optimizer=draw(optimizers()), **shared)
