"""W4: the MNIST perceptron whose width is swept (Keras 2.2.4 script): 2·units² + 797·units + 10 parameters."""

from dataclasses import replace

from workloads.keras_form import KERAS_ADAM, dense
from workloads.sources import MNIST, choose_data
from workloads.spec import Dropout, Flatten, ReLU, Workload, sequential

PUBLISHED = replace(MNIST, scaling="min-max-per-pixel", train_samples=54_000, validation_samples=6_000)


def mnist_mlp(
    *,
    units: int = 512,
    epochs: int = 10,
    dropout: float = 0.2,
    data: str = "mnist",
    train_samples: int = PUBLISHED.train_samples,
) -> Workload:
    """Three hidden layers of `units`; the last 6,000 training images validate every epoch inside the timed part."""
    hidden = (dense(units=units), ReLU(), Dropout(rate=dropout))
    return Workload(
        name="mnist-mlp",
        data=choose_data(PUBLISHED, data, train_samples),
        network=sequential(
            MNIST.image_shape,
            (Flatten(), *hidden, *hidden, *hidden, dense(units=MNIST.classes)),
        ),
        optimizer=KERAS_ADAM,
        batch_size=128,
        epochs=epochs,
    )
