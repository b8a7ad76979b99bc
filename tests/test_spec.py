"""Specs refuse nonsense, travel as JSON and are told apart by their fingerprint."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from workloads import WORKLOADS, make_workload
from workloads.keras_form import conv
from workloads.spec import (
    GELU,
    INPUT,
    LSTM,
    SGD,
    Adam,
    Add,
    Dropout,
    Embedding,
    GlorotUniform,
    Graph,
    LayerNorm,
    MaxPool2D,
    MultiHeadAttention,
    Network,
    Node,
    ReLU,
    fingerprint,
    from_json,
    sequential,
    to_json,
)


def test_a_workload_hashes_its_net_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    monkeypatch.setattr(Network, "__hash__", lambda network: hashed.append(network) or 1)
    workload, other = (make_workload("digits-cnn", {"epochs": epochs}) for epochs in (2, 3))
    assert len({workload, workload, other}) == 2
    assert hashed == [workload.network, other.network]
    assert hash(workload) == hash(make_workload("digits-cnn", {"epochs": 2}))


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_comes_back_from_json_as_it_was(name: str) -> None:
    workload = make_workload(name, {})
    assert from_json(json.loads(json.dumps(to_json(workload)))) == workload


def test_the_fingerprint_depends_on_every_number() -> None:
    workload = make_workload("mnist-cnn", {})
    assert fingerprint(workload) == fingerprint(make_workload("mnist-cnn", {"epochs": 10}))
    others = [
        replace(workload, optimizer=replace(workload.optimizer, decay=0.0)),
        replace(workload, data=replace(workload.data, scaling="none")),
        replace(workload, network=replace(workload.network, nodes=workload.network.nodes[:-1])),
    ]
    assert len({fingerprint(other) for other in [workload, *others]}) == 4


def test_specs_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        make_workload("mnist-cnn", {}).epochs = 1  # type: ignore[misc]


@pytest.mark.parametrize("padding", ["SAME", (1, 1), ((1, 1), (1, -1)), 1])
def test_an_unknown_padding_is_refused(padding: object) -> None:
    with pytest.raises(ValueError, match="accepted: 'same', 'valid'"):
        conv(filters=1, kernel_size=(3, 3), padding=padding)


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="not positive"):
        conv(filters=0, kernel_size=(3, 3), padding="same")
    with pytest.raises(ValueError, match="not positive"):
        MaxPool2D(pool_size=(2, 2), strides=(0, 1), padding="valid")
    with pytest.raises(ValueError, match="accepted: 0 <= rate < 1"):
        Dropout(rate=1.0)


def test_layers_of_sequences_out_of_range_are_refused() -> None:
    glorot = GlorotUniform()
    recurrent = {"return_sequences": True, "kernel_initializer": glorot, "recurrent_initializer": glorot}
    with pytest.raises(ValueError, match="not positive"):
        LSTM(units=0, forget_bias=1.0, **recurrent)
    with pytest.raises(ValueError, match="not positive"):
        MultiHeadAttention(heads=0, causal=True, use_bias=True, kernel_initializer=glorot)
    with pytest.raises(ValueError, match="not positive"):
        LayerNorm(epsilon=0.0)
    for rows, columns in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="not positive"):
            Embedding(input_dim=rows, output_dim=columns, embeddings_initializer=glorot)
    with pytest.raises(ValueError, match="form of GELU"):
        GELU(form="sigmoid")


def test_tokens_go_to_embeddings_alone() -> None:
    embedding = Embedding(input_dim=3, output_dim=2, embeddings_initializer=GlorotUniform())
    for shape, layers in (((5,), [ReLU()]), ((5,), [embedding, embedding]), ((4, 4, 1), [embedding])):
        with pytest.raises(ValueError, match="cannot take"):
            sequential(shape, layers)
    assert sequential((5,), [embedding, ReLU()]).input_shape == (5,)


def test_noise_is_neither_read_nor_scaled_and_has_the_labels_of_its_classes() -> None:
    data = make_workload("resnet50", {}).data
    with pytest.raises(ValueError, match="noise is synthetic and not scaled"):
        replace(data, scaling="unit")
    with pytest.raises(ValueError, match="more labels than classes"):
        replace(data, classes=999)
    with pytest.raises(ValueError, match="not positive"):
        replace(data.noise, stddev=0.0)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="accepted: softmax-cross-entropy, half-squared-sum"):
        replace(make_workload("digits-cnn", {}), loss="hinge")


def test_optimisers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="out of range"):
        SGD(learning_rate=0.1, momentum=1.0, decay=0.0, nesterov=False)
    with pytest.raises(ValueError, match="epsilon_form"):
        Adam(learning_rate=0.1, beta_1=0.9, beta_2=0.9, epsilon=1e-8, epsilon_form="outside")
    with pytest.raises(ValueError, match="out of range"):
        Adam(learning_rate=0.1, beta_1=0.9, beta_2=1.0, epsilon=1e-8, epsilon_form="algorithm-1")


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        ([], "at least one layer"),
        ([("a", ReLU(), (INPUT,)), ("a", ReLU(), ("a",))], "two nodes called a"),
        ([("a", ReLU(), ("b",))], "nodes before it"),
        ([("a", ReLU(), (INPUT, INPUT))], "number of inputs"),
        ([("a", Add(), (INPUT,))], "number of inputs"),
        ([("a", ReLU(), (INPUT,)), ("b", ReLU(), (INPUT,))], "nothing takes a"),
    ],
)
def test_a_graph_that_is_none_is_refused(nodes: list, problem: str) -> None:
    built = tuple(Node(name=name, layer=layer, inputs=inputs) for name, layer, inputs in nodes)
    with pytest.raises(ValueError, match=problem):
        Network(input_shape=(1, 1, 1), nodes=built)


def test_nodes_are_named_by_kind_and_place() -> None:
    graph = Graph()
    first = graph.chain(INPUT, ReLU(), Dropout(rate=0.1), ReLU())
    assert first == "relu_2"
    assert [node.name for node in graph.network((1, 1, 1)).nodes] == ["relu_1", "dropout_1", "relu_2"]


def test_the_label_names_what_was_chosen() -> None:
    assert make_workload("mnist-mlp", {}).label == "mnist-mlp"
    assert make_workload("mnist-mlp", {"units": 64, "epochs": 2}).label == "mnist-mlp units=64 epochs=2"


def test_parameters_in_another_order_are_the_same_workload() -> None:
    one, other = ({"units": 64, "epochs": 2}, {"epochs": 2, "units": 64})
    assert make_workload("mnist-mlp", one) == make_workload("mnist-mlp", other)
