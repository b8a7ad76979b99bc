"""The embedded default: two small nets on the 8×8 digits that ship with scikit-learn, trained in seconds."""

from workloads.keras_form import KERAS_ADAM, POOL_2X2, conv, dense
from workloads.sources import DIGITS, choose_data
from workloads.spec import SGD, Dropout, Flatten, ReLU, Workload, sequential


def digits_cnn(
    *, epochs: int = 20, dropout: float = 0.2, data: str = "digits", train_samples: int = DIGITS.train_samples
) -> Workload:
    """LeNet (LeCun et al. 1998) for 8×8 images: two convolutions with pools, then dense layers of 120, 84 and 10."""
    return Workload(
        name="digits-cnn",
        data=choose_data(DIGITS, data, train_samples),
        network=sequential(
            DIGITS.image_shape,
            (
                conv(filters=16, kernel_size=(3, 3), padding="same"),
                ReLU(),
                POOL_2X2,
                conv(filters=48, kernel_size=(3, 3), padding="same"),
                ReLU(),
                POOL_2X2,
                Flatten(),
                dense(units=120),
                ReLU(),
                Dropout(rate=dropout),
                dense(units=84),
                ReLU(),
                dense(units=DIGITS.classes),
            ),
        ),
        optimizer=SGD(learning_rate=0.05, momentum=0.9, decay=1e-3, nesterov=False),
        batch_size=32,
        epochs=epochs,
    )


def digits_mlp(
    *,
    units: int = 128,
    epochs: int = 20,
    dropout: float = 0.2,
    data: str = "digits",
    train_samples: int = DIGITS.train_samples,
) -> Workload:
    """Two hidden layers of `units`, trained with Adam."""
    hidden = (dense(units=units), ReLU(), Dropout(rate=dropout))
    return Workload(
        name="digits-mlp",
        data=choose_data(DIGITS, data, train_samples),
        network=sequential(DIGITS.image_shape, (Flatten(), *hidden, *hidden, dense(units=DIGITS.classes))),
        optimizer=KERAS_ADAM,
        batch_size=32,
        epochs=epochs,
    )
