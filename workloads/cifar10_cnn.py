"""W2: the CIFAR-10 CNN of the Colab article (tf.keras script): 1,667,594 parameters."""

from workloads.keras_form import KERAS_ADAM, POOL_2X2, conv, dense
from workloads.sources import CIFAR10, choose_data
from workloads.spec import Dropout, Flatten, ReLU, Workload, sequential


def cifar10_cnn(
    *,
    epochs: int = 10,
    pool_dropout: float = 0.25,
    dense_dropout: float = 0.2,
    data: str = "cifar10",
    train_samples: int = CIFAR10.train_samples,
) -> Workload:
    """Three convolutions, the last unpadded, and two dense layers. The script gives no batch size: Keras takes 32."""
    return Workload(
        name="cifar10-cnn",
        data=choose_data(CIFAR10, data, train_samples),
        network=sequential(
            CIFAR10.image_shape,
            (
                conv(filters=32, kernel_size=(3, 3), padding="same"),
                ReLU(),
                POOL_2X2,
                Dropout(rate=pool_dropout),
                conv(filters=64, kernel_size=(3, 3), padding="same"),
                ReLU(),
                conv(filters=64, kernel_size=(3, 3), padding="valid"),
                ReLU(),
                POOL_2X2,
                Dropout(rate=pool_dropout),
                Flatten(),
                dense(units=512),
                ReLU(),
                Dropout(rate=dense_dropout),
                dense(units=CIFAR10.classes),
            ),
        ),
        optimizer=KERAS_ADAM,
        batch_size=32,
        epochs=epochs,
    )
