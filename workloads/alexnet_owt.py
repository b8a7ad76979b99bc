"""W5: the convolutions of "one weird trick" AlexNet (Krizhevsky 2014) as TensorFlow's alexnet_benchmark.py times them.

The form that it has had since June 2017 (tensorflow/models 44fa1d37), with response normalisation.
"""

from functools import partial

from workloads.spec import (
    Conv2D,
    DataSet,
    LocalResponseNorm,
    MaxPool2D,
    Noise,
    ReLU,
    TruncatedNormal,
    Workload,
    sequential,
)

BATCH_SIZE = 128
conv = partial(Conv2D, strides=(1, 1), padding="same", use_bias=True, kernel_initializer=TruncatedNormal(stddev=0.1))
POOL = MaxPool2D(pool_size=(3, 3), strides=(2, 2), padding="valid")
RESPONSE_NORM = LocalResponseNorm(radius=2, bias=2.0, alpha=1e-4, beta=0.75)


def alexnet_owt(*, image_size: int = 224, train_samples: int = BATCH_SIZE) -> Workload:
    """Five convolutions: 2,469,696 parameters. Nothing is trained: it is run forward, and differentiated."""
    shape = (image_size, image_size, 3)
    layers = (
        conv(filters=64, kernel_size=(11, 11), strides=(4, 4)),
        ReLU(),
        RESPONSE_NORM,
        POOL,
        conv(filters=192, kernel_size=(5, 5)),
        ReLU(),
        RESPONSE_NORM,
        POOL,
        conv(filters=384, kernel_size=(3, 3)),
        ReLU(),
        conv(filters=256, kernel_size=(3, 3)),
        ReLU(),
        conv(filters=256, kernel_size=(3, 3)),
        ReLU(),
        POOL,
    )
    data = DataSet(
        source="synthetic",
        scaling="none",
        image_shape=shape,
        classes=1,
        train_samples=train_samples,
        validation_samples=0,
        test_samples=1,
        noise=Noise(mean=0.0, stddev=0.1, truncated=False, labels=1),
    )
    return Workload(
        name="alexnet-owt",
        data=data,
        network=sequential(shape, layers),
        optimizer=None,
        batch_size=BATCH_SIZE,
        epochs=1,
        loss="half-squared-sum",
    )
