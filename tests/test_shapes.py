"""Counts, shapes and FLOPs of the workloads, to the digit as they were published or computed by hand."""

import math
from dataclasses import replace

import pytest

from workloads import WORKLOADS, make_workload
from workloads.keras_form import conv
from workloads.shapes import (
    forward_flops,
    moving_count,
    moving_shapes,
    output_shape,
    output_shapes,
    padding_amounts,
    parameter_count,
    train_flops,
    weight_shapes,
    window_counts,
)
from workloads.spec import (
    GELU,
    INPUT,
    LSTM,
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
    Network,
    PositionEmbedding,
    ReLU,
    Shape,
    sequential,
)

COUNTS = [
    ("mnist-cnn", {}, 65_402, 0, 1_681_664, 4_404_992),
    ("cifar10-cnn", {}, 1_667_594, 0, 28_878_848, 84_867_072),
    ("mnist-mlp", {"units": 4}, 3_230, 0, 6_416, 12_976),
    ("mnist-mlp", {"units": 8}, 6_514, 0, 12_960, 26_336),
    ("mnist-mlp", {"units": 16}, 13_274, 0, 26_432, 54_208),
    ("mnist-mlp", {"units": 32}, 27_562, 0, 54_912, 114_560),
    ("mnist-mlp", {"units": 64}, 59_210, 0, 118_016, 253_696),
    ("mnist-mlp", {"units": 128}, 134_794, 0, 268_800, 605_696),
    ("mnist-mlp", {"units": 256}, 335_114, 0, 668_672, 1_604_608),
    ("mnist-mlp", {"units": 512}, 932_362, 0, 1_861_632, 4_782_080),
    ("mnist-mlp", {"units": 1024}, 2_913_290, 0, 5_820_416, 15_855_616),
    ("digits-cnn", {}, 41_294, 0, 307_536, 904_176),
    ("digits-mlp", {}, 26_122, 0, 51_712, 138_752),
    ("cifar10-resnet", {}, 15_187_722, 18_816, 4_466_283_520, 13_395_311_616),
    ("alexnet-owt", {}, 2_469_696, 0, 1_316_290_560, 3_803_160_576),
    ("alexnet", {}, 61_842_345, 0, 1_677_585_792, 4_892_203_776),
    ("vgg16", {}, 138_361_641, 0, 30_940_536_832, 92_648_202_240),
    ("resnet50", {}, 25_559_081, 53_120, 7_715_950_592, 22_911_823_872),
    ("resnet50-v1.5", {}, 25_559_081, 53_120, 8_178_372_608, 24_299_089_920),
    ("inception3", {}, 23_819_401, 34_432, 11_426_436_288, 34_240_945_536),
    ("nasnet", {}, 5_291_035, 36_738, 1_127_279_744, 3_360_548_544),
    ("imdb-lstm", {}, 2_691_842, 0, 20_972_032, 62_916_096),
    ("gpt-nano", {}, 3_208_704, 0, 421_527_552, 1_264_582_656),
]


def counts(network: Network) -> tuple[int, int, int, int]:
    return parameter_count(network), moving_count(network), forward_flops(network), train_flops(network)


@pytest.mark.parametrize(("name", "parameters", "trainable", "moving", "forward", "train"), COUNTS)
def test_counts_and_flops(name: str, parameters: dict, trainable: int, moving: int, forward: int, train: int) -> None:
    assert counts(make_workload(name, parameters).network) == (trainable, moving, forward, train)


def test_every_workload_is_counted() -> None:
    assert {name for name, *_ in COUNTS} == set(WORKLOADS)


def changed(name: str, kind: type, **changes: object) -> Network:
    network = make_workload(name, {}).network
    nodes = (
        replace(node, layer=replace(node.layer, **changes)) if isinstance(node.layer, kind) else node
        for node in network.nodes
    )
    return replace(network, nodes=tuple(nodes))


def test_counts_of_forms_that_were_published_and_are_not_the_workload() -> None:
    stride_1 = changed("mnist-cnn", MaxPool2D, strides=(1, 1))
    assert counts(stride_1) == (917_370, 0, 6_924_544, 20_133_632)
    without_bias = changed("mnist-cnn", Conv2D | Dense, use_bias=False)
    assert counts(without_bias) == (65_152, 0, 1_681_664, 4_404_992)
    owt = make_workload("alexnet-owt", {"image_size": 227}).network
    first = replace(owt.nodes[0], layer=replace(owt.nodes[0].layer, padding="valid"))
    form_a = replace(owt, nodes=(first, *owt.nodes[1:]))
    assert counts(form_a) == (2_469_696, 0, 1_311_133_056, 3_792_845_568)


def shapes_of(name: str, kind: type) -> list[Shape]:
    network = make_workload(name, {}).network
    shapes = output_shapes(network)
    return [shapes[node.name] for node in network.nodes if isinstance(node.layer, kind)]


def test_the_stages_of_the_residual_nets() -> None:
    sums = [(32, 32, 64)] * 10 + [(16, 16, 128)] * 10 + [(8, 8, 256)] * 10
    assert shapes_of("cifar10-resnet", Add) == sums
    assert len(shapes_of("cifar10-resnet", Conv2D)) == len(shapes_of("cifar10-resnet", BatchNorm)) == 63
    sums = [(56, 56, 256)] * 3 + [(28, 28, 512)] * 4 + [(14, 14, 1024)] * 6 + [(7, 7, 2048)] * 3
    for name in ("resnet50", "resnet50-v1.5"):
        assert shapes_of(name, Conv2D)[0] == (112, 112, 64)
        assert shapes_of(name, MaxPool2D) == [(56, 56, 64)]
        assert shapes_of(name, Add) == sums
        assert len(shapes_of(name, Conv2D)) == 53


def test_where_the_versions_of_resnet50_stride() -> None:
    def strided_kernels(name: str) -> set[tuple[int, int]]:
        layers = [node.layer for node in make_workload(name, {}).network.nodes]
        return {x.kernel_size for x in layers[1:] if isinstance(x, Conv2D) and x.strides == (2, 2)}

    assert strided_kernels("resnet50") == {(1, 1)}
    assert strided_kernels("resnet50-v1.5") == {(1, 1), (3, 3)}


def test_the_layers_of_the_nets_in_a_row() -> None:
    assert shapes_of("alexnet-owt", Conv2D)[:2] == [(56, 56, 64), (27, 27, 192)]
    assert shapes_of("alexnet-owt", MaxPool2D) == [(27, 27, 64), (13, 13, 192), (6, 6, 256)]
    assert shapes_of("alexnet", Conv2D)[0] == (55, 55, 64)
    assert shapes_of("alexnet", MaxPool2D) == [(27, 27, 64), (13, 13, 192), (6, 6, 256)]
    pools = [(112, 112, 64), (56, 56, 128), (28, 28, 256), (14, 14, 512), (7, 7, 512)]
    assert shapes_of("vgg16", MaxPool2D) == pools
    assert shapes_of("vgg16", Flatten) == [(25_088,)]


def test_the_modules_of_inception3() -> None:
    assert [shape[:1] for shape in shapes_of("inception3", Conv2D)[:5]] == [(149,), (147,), (147,), (73,), (71,)]
    assert shapes_of("inception3", MaxPool2D)[:2] == [(73, 73, 64), (35, 35, 192)]
    modules = [(35, 35, 256), *[(35, 35, 288)] * 2, *[(17, 17, 768)] * 5, (8, 8, 1280), *[(8, 8, 2048)] * 2]
    assert shapes_of("inception3", Concatenate) == modules
    assert len(shapes_of("inception3", Conv2D)) == 94
    assert shapes_of("inception3", Flatten) == [(2048,)]


def test_the_cells_of_nasnet() -> None:
    network = make_workload("nasnet", {}).network
    shapes = output_shapes(network)
    cells = [
        shapes[node.name]
        for node in network.nodes
        if isinstance(node.layer, Concatenate) and len(node.inputs) in (4, 6)
    ]
    assert cells == [
        (56, 56, 44),
        (28, 28, 88),
        *[(28, 28, 264)] * 4,
        (14, 14, 352),
        *[(14, 14, 528)] * 4,
        (7, 7, 704),
        *[(7, 7, 1056)] * 4,
    ]
    assert len(shapes_of("nasnet", Conv2D)) == 196
    assert len(shapes_of("nasnet", DepthwiseConv2D)) == 160
    depthwise = [(node, shapes[node.name]) for node in network.nodes if isinstance(node.layer, DepthwiseConv2D)]
    assert sum(math.prod(shape) * math.prod(node.layer.kernel_size) for node, shape in depthwise) == 69_658_400


def test_a_depthwise_convolution_has_a_kernel_a_channel() -> None:
    layer = DepthwiseConv2D(
        kernel_size=(3, 5), strides=(2, 2), padding="same", use_bias=True, kernel_initializer=GlorotUniform()
    )
    network = sequential((7, 8, 6), (conv(filters=4, kernel_size=(1, 1), padding="same"), layer))
    assert output_shapes(network)["depthwiseconv2d_1"] == (4, 4, 4)
    assert weight_shapes(network)["depthwiseconv2d_1/kernel"] == (3, 5, 4, 1)
    assert weight_shapes(network)["depthwiseconv2d_1/bias"] == (4,)
    assert forward_flops(network) == 2 * (7 * 8 * 4 * 6 + 4 * 4 * 4 * 15)
    assert train_flops(network) == 3 * forward_flops(network) - 2 * 7 * 8 * 4 * 6


def test_a_crop_leaves_the_middle() -> None:
    assert output_shape(Crop2D(cropping=((1, 0), (2, 3))), (4, 8, 5)) == (3, 3, 5)
    with pytest.raises(ValueError, match="leaves nothing"):
        output_shape(Crop2D(cropping=((2, 2), (0, 0))), (4, 4, 1))
    with pytest.raises(ValueError, match="negative"):
        Crop2D(cropping=((-1, 0), (0, 0)))


def test_the_numbers_of_imdb_lstm_by_formula() -> None:
    words, places, columns, units, classes = 20_000, 80, 128, 128, 2
    gates = 4 * units * (columns + units)
    trainable = words * columns + gates + 4 * units + units * classes + classes
    multiply_adds = places * gates + units * classes
    # Nothing needs the gradient of tokens, and the table has no products of its own.
    assert counts(make_workload("imdb-lstm", {}).network) == (trainable, 0, 2 * multiply_adds, 6 * multiply_adds)


def test_the_numbers_of_gpt_nano_by_formula() -> None:
    tokens, places, columns, blocks = 64, 64, 256, 4
    norm, wide = 2 * columns, 4 * columns
    attention = 4 * (columns**2 + columns)
    dense_pair = columns * wide + wide + wide * columns + columns
    block = norm + attention + norm + dense_pair
    trainable = tokens * columns + places * columns + blocks * block + norm + columns * tokens
    projections = places * 4 * columns**2
    scores_and_mixing = 2 * places * places * columns
    products = blocks * (projections + scores_and_mixing + places * 2 * columns * wide) + places * columns * tokens
    assert counts(make_workload("gpt-nano", {}).network) == (trainable, 0, 2 * products, 6 * products)


def test_the_layers_of_the_nets_on_sequences() -> None:
    shapes = output_shapes(make_workload("imdb-lstm", {}).network)
    assert list(shapes.values()) == [(80,), (80, 128), (128,), (128,), (2,)]
    network = make_workload("gpt-nano", {}).network
    shapes = output_shapes(network)
    assert shapes[network.nodes[-1].name] == (64, 64)
    assert shapes_of("gpt-nano", MultiHeadAttention) == [(64, 256)] * 4
    assert shapes_of("gpt-nano", GELU) == [(64, 1024)] * 4
    assert shapes_of("gpt-nano", LayerNorm) == [(64, 256)] * 9
    assert shapes_of("gpt-nano", Add) == [(64, 256)] * 8
    normed = [node for node in network.nodes if isinstance(node.layer, LayerNorm)]
    kinds = {node.name: node.layer for node in network.nodes}
    assert all(isinstance(kinds[node.inputs[0]], Add | PositionEmbedding) for node in normed)


def recurrent(units: int, *, return_sequences: bool = True) -> LSTM:
    return LSTM(
        units=units,
        return_sequences=return_sequences,
        kernel_initializer=GlorotUniform(),
        recurrent_initializer=GlorotUniform(),
        forget_bias=1.0,
    )


def attention(heads: int, *, use_bias: bool = True) -> MultiHeadAttention:
    return MultiHeadAttention(heads=heads, causal=True, use_bias=use_bias, kernel_initializer=GlorotUniform())


POSITIONS = PositionEmbedding(embeddings_initializer=GlorotUniform())
LOGITS = Dense(units=2, use_bias=True, kernel_initializer=GlorotUniform())


def test_the_weights_of_layers_on_sequences() -> None:
    table = Embedding(input_dim=9, output_dim=6, embeddings_initializer=GlorotUniform())
    layers = table, POSITIONS, attention(3), attention(2, use_bias=False), LayerNorm(epsilon=1e-5), recurrent(4), LOGITS
    network = sequential((5,), layers)
    kernels = ("query", "key", "value", "output")
    assert weight_shapes(network) == {
        "embedding_1/embeddings": (9, 6),
        "positionembedding_1/embeddings": (5, 6),
        **{f"multiheadattention_1/{part}_kernel": (6, 6) for part in kernels},
        **{f"multiheadattention_1/{part}_bias": (6,) for part in kernels},
        **{f"multiheadattention_2/{part}_kernel": (6, 6) for part in kernels},
        "layernorm_1/gamma": (6,),
        "layernorm_1/beta": (6,),
        "lstm_1/kernel": (6, 16),
        "lstm_1/recurrent_kernel": (4, 16),
        "lstm_1/bias": (16,),
        "dense_1/kernel": (4, 2),
        "dense_1/bias": (2,),
    }
    assert output_shapes(network)["dense_1"] == (5, 2)
    assert moving_shapes(network) == {}
    attended = 5 * 4 * 6 * 6 + 2 * 5 * 5 * 6
    products = 2 * attended + 5 * 16 * (6 + 4) + 5 * 4 * 2
    assert (forward_flops(network), train_flops(network)) == (2 * products, 6 * products)


@pytest.mark.parametrize(
    ("layer", "shape", "problem"),
    [
        (attention(3), (5, 8), "3 heads cannot share 8 columns"),
        (attention(1), (8,), "MultiHeadAttention needs a sequence of places and columns, got"),
        (recurrent(4), (4, 4, 1), "LSTM needs a sequence"),
        (recurrent(4), (8,), "LSTM needs a sequence"),
        (LayerNorm(epsilon=1e-5), (8,), "LayerNorm needs a sequence"),
        (LayerNorm(epsilon=1e-5), (4, 4, 1), "LayerNorm needs a sequence"),
        (POSITIONS, (4, 4, 1), "PositionEmbedding needs a sequence"),
        (BatchNorm(momentum=0.9, epsilon=1e-3, scale=True, center=True), (5, 8), "needs images or a flat input"),
        (LOGITS, (4, 4, 1), "needs a flat input or a sequence"),
        (Flatten(), (5, 8), "height, width and channels"),
        (conv(filters=1, kernel_size=(1, 1), padding="same"), (5, 8), "height, width and channels"),
        (LocalResponseNorm(radius=1, bias=1.0, alpha=0.1, beta=0.75), (5, 8), "height, width and channels"),
    ],
)
def test_layers_that_cannot_take_a_shape_say_so(layer: Layer, shape: Shape, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        output_shape(layer, shape)


def test_sequences_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be added"):
        output_shape(Add(), (5, 8), (5, 4))
    with pytest.raises(ValueError, match="cannot be concatenated"):
        output_shape(Concatenate(), (5, 8), (4, 8))
    assert output_shape(Concatenate(), (5, 8), (5, 3)) == (5, 11)
    assert output_shape(GELU(form="erf"), (5, 8)) == (5, 8)


def test_the_layers_of_mnist_cnn() -> None:
    network = make_workload("mnist-cnn", {}).network
    outputs = output_shapes(network)
    assert outputs["conv2d_1"] == (25, 25, 32)
    assert outputs["maxpool2d_1"] == (12, 12, 32)
    assert outputs["conv2d_2"] == (10, 10, 16)
    assert outputs["maxpool2d_2"] == (5, 5, 16)
    assert outputs["flatten_1"] == (400,)
    assert weight_shapes(network) == {
        "conv2d_1/kernel": (4, 4, 1, 32),
        "conv2d_1/bias": (32,),
        "conv2d_2/kernel": (3, 3, 32, 16),
        "conv2d_2/bias": (16,),
        "dense_1/kernel": (400, 128),
        "dense_1/bias": (128,),
        "dense_2/kernel": (128, 64),
        "dense_2/bias": (64,),
        "dense_3/kernel": (64, 10),
        "dense_3/bias": (10,),
    }


def test_the_layers_of_cifar10_cnn() -> None:
    shapes = output_shapes(make_workload("cifar10-cnn", {}).network)
    assert [shapes[name] for name in ("conv2d_1", "conv2d_2", "conv2d_3", "maxpool2d_2", "flatten_1")] == [
        (32, 32, 32),
        (16, 16, 64),
        (14, 14, 64),
        (7, 7, 64),
        (3136,),
    ]


@pytest.mark.parametrize(
    ("size", "window", "strides", "padding", "amounts"),
    [
        ((224, 224), (11, 11), (4, 4), "same", ((3, 4), (3, 4))),
        ((112, 112), (3, 3), (2, 2), "same", ((0, 1), (0, 1))),
        ((56, 28), (5, 7), (2, 2), "same", ((1, 2), (2, 3))),
        ((111, 111), (5, 5), (2, 2), "same", ((2, 2), (2, 2))),
        ((5, 5), (1, 1), (3, 3), "same", ((0, 0), (0, 0))),
        ((9, 9), (3, 3), (1, 1), "valid", ((0, 0), (0, 0))),
        ((9, 9), (3, 3), (1, 1), ((1, 2), (3, 0)), ((1, 2), (3, 0))),
    ],
)
def test_padding_amounts_follow_tensorflow(size, window, strides, padding, amounts) -> None:
    assert padding_amounts(size, window, strides, padding) == amounts


def test_a_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        output_shape(conv(filters=1, kernel_size=(5, 5), padding="valid"), (4, 4, 1))
    with pytest.raises(ValueError, match="needs a flat input"):
        output_shape(Dense(units=1, use_bias=True, kernel_initializer=GlorotUniform()), (4, 4, 1))


def test_a_pool_keeps_the_channels() -> None:
    assert output_shape(MaxPool2D(pool_size=(3, 3), strides=(2, 2), padding="same"), (112, 112, 64)) == (56, 56, 64)


def test_a_graph_has_the_shapes_of_its_ways() -> None:
    norm = BatchNorm(momentum=0.9, epsilon=1e-3, scale=False, center=True)
    graph = Graph()
    wide = graph.chain(INPUT, conv(filters=4, kernel_size=(3, 3), padding="same"), norm)
    both = graph.add(Concatenate(), graph.add(Add(), wide, wide), INPUT)
    graph.chain(both, GlobalAveragePool2D(), Dense(units=2, use_bias=False, kernel_initializer=GlorotUniform()))
    network = graph.network((5, 6, 3))
    shapes = output_shapes(network)
    assert (shapes["concatenate_1"], shapes["globalaveragepool2d_1"]) == ((5, 6, 7), (7,))
    assert weight_shapes(network) == {
        "conv2d_1/kernel": (3, 3, 3, 4),
        "conv2d_1/bias": (4,),
        "batchnorm_1/beta": (4,),
        "dense_1/kernel": (7, 2),
    }
    assert moving_shapes(network) == {"batchnorm_1/moving_mean": (4,), "batchnorm_1/moving_variance": (4,)}
    assert (parameter_count(network), moving_count(network)) == (108 + 4 + 4 + 14, 8)
    multiply_adds = 5 * 6 * 4 * 27 + 14
    assert forward_flops(network) == 2 * multiply_adds
    assert train_flops(network) == 6 * multiply_adds - 2 * 5 * 6 * 4 * 27


def test_inputs_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be added"):
        output_shape(Add(), (2, 2, 1), (2, 2, 2))
    with pytest.raises(ValueError, match="cannot be concatenated"):
        output_shape(Concatenate(), (2, 2, 1), (2, 1, 1))
    with pytest.raises(ValueError, match="height, width and channels"):
        output_shape(Flatten(), (4,))
    with pytest.raises(ValueError, match="nothing but padding"):
        output_shape(AveragePool2D(pool_size=(2, 2), strides=(1, 1), padding=((2, 0), (0, 0))), (4, 4, 1))
    assert output_shape(ReLU(), (4, 4, 1)) == (4, 4, 1)


def test_windows_at_an_edge_hold_less() -> None:
    pool = AveragePool2D(pool_size=(2, 2), strides=(2, 2), padding="same")
    assert window_counts((3, 3), pool).tolist() == [[4, 2], [2, 1]]
