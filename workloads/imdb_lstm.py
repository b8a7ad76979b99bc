"""A recurrent net of the size of Keras' example of IMDB reviews, on made-up reviews (workloads/sequences.py)."""

from workloads.keras_form import KERAS_ADAM, dense
from workloads.sequences import REVIEW_TOKENS
from workloads.spec import (
    LSTM,
    DataSet,
    Dropout,
    Embedding,
    GlorotUniform,
    TruncatedNormal,
    Workload,
    sequential,
)

PLACES = 80
CLASSES = 2
"""A bad review, or a good one."""


def imdb_lstm(*, epochs: int = 2, dropout: float = 0.2, train_samples: int = 10_000) -> Workload:
    """Words of 128 columns, an LSTM of 128 units, and two logits of its last state: 2,691,842 parameters.

    Dropout sits between the last state and the dense layer, and nowhere else. The example drops inputs and recurrent
    states, too, each framework in a way of its own.
    """
    glorot = GlorotUniform()
    return Workload(
        name="imdb-lstm",
        data=DataSet(
            source="reviews",
            scaling="none",
            image_shape=(PLACES,),
            classes=CLASSES,
            train_samples=train_samples,
            validation_samples=0,
            test_samples=2_000,
        ),
        network=sequential(
            (PLACES,),
            (
                Embedding(input_dim=REVIEW_TOKENS, output_dim=128, embeddings_initializer=TruncatedNormal(stddev=0.05)),
                LSTM(
                    units=128,
                    return_sequences=False,
                    kernel_initializer=glorot,
                    recurrent_initializer=glorot,
                    forget_bias=1.0,
                ),
                Dropout(rate=dropout),
                dense(units=CLASSES),
            ),
        ),
        optimizer=KERAS_ADAM,
        batch_size=32,
        epochs=epochs,
    )
