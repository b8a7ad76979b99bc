"""W1: the MNIST CNN of szilard/benchm-dl (commit 4f6de55) as its Keras script has it: 65,402 parameters."""

from workloads.keras_form import POOL_2X2, conv, dense
from workloads.sources import MNIST, choose_data
from workloads.spec import SGD, Dropout, Flatten, ReLU, Workload, sequential


def mnist_cnn(
    *, epochs: int = 10, dropout: float = 0.2, data: str = "mnist", train_samples: int = MNIST.train_samples
) -> Workload:
    """Two convolutions and three dense layers; the script's `decay=1e-5` is Keras' learning-rate decay."""
    return Workload(
        name="mnist-cnn",
        data=choose_data(MNIST, data, train_samples),
        network=sequential(
            MNIST.image_shape,
            (
                conv(filters=32, kernel_size=(4, 4), padding="valid"),
                ReLU(),
                POOL_2X2,
                conv(filters=16, kernel_size=(3, 3), padding="valid"),
                ReLU(),
                POOL_2X2,
                Dropout(rate=dropout),
                Flatten(),
                dense(units=128),
                ReLU(),
                dense(units=64),
                ReLU(),
                dense(units=MNIST.classes),
            ),
        ),
        optimizer=SGD(learning_rate=0.05, momentum=0.9, decay=1e-5, nesterov=False),
        batch_size=128,
        epochs=epochs,
    )
