"""A small decoder-only transformer (Radford et al. 2019) that learns to predict echoes (workloads/sequences.py)."""

from functools import partial

from workloads.sequences import ECHO_TOKENS
from workloads.spec import (
    GELU,
    INPUT,
    Adam,
    Add,
    DataSet,
    Dense,
    Embedding,
    Graph,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    PositionEmbedding,
    TruncatedNormal,
    Workload,
)

PLACES = 64
COLUMNS = 256
BLOCKS = 4
HEADS = 4
SMALL = TruncatedNormal(stddev=0.02)
NORM = LayerNorm(epsilon=1e-5)

dense = partial(Dense, kernel_initializer=SMALL)


def gpt_nano(*, epochs: int = 2, train_samples: int = 4_096) -> Workload:
    """Four blocks on 64 places of 256 columns: 3,208,704 parameters, no dropout, output weights of their own."""
    graph = Graph()
    table = Embedding(input_dim=ECHO_TOKENS, output_dim=COLUMNS, embeddings_initializer=SMALL)
    last = graph.chain(INPUT, table, PositionEmbedding(embeddings_initializer=SMALL))
    attention = MultiHeadAttention(heads=HEADS, causal=True, use_bias=True, kernel_initializer=SMALL)
    widen, narrow = dense(units=4 * COLUMNS, use_bias=True), dense(units=COLUMNS, use_bias=True)
    for _ in range(BLOCKS):
        last = _residual(graph, last, NORM, attention)
        last = _residual(graph, last, NORM, widen, GELU(form="erf"), narrow)
    graph.chain(last, NORM, dense(units=ECHO_TOKENS, use_bias=False))
    return Workload(
        name="gpt-nano",
        data=DataSet(
            source="echoes",
            scaling="none",
            image_shape=(PLACES,),
            classes=ECHO_TOKENS,
            train_samples=train_samples,
            validation_samples=0,
            test_samples=512,
        ),
        network=graph.network((PLACES,)),
        optimizer=Adam(learning_rate=1e-3, beta_1=0.9, beta_2=0.99, epsilon=1e-8, epsilon_form="algorithm-1"),
        batch_size=32,
        epochs=epochs,
    )


def _residual(graph: Graph, before: str, *layers: Layer) -> str:
    """Add what layers make of `before` to it; the first of them normalises (Xiong et al. 2020: pre-norm)."""
    return graph.add(Add(), before, graph.chain(before, *layers))
