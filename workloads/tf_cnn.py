"""What the nets of tf_cnn_benchmarks leave to its builder and its defaults (tensorflow/benchmarks 6c2ccb45).

That is the code of January 2019: since October 2018 kernels of convolutions have variance 1 / fan_in, and the L2 term
leaves batch normalisation out.
"""

from functools import partial

from workloads.spec import (
    L2,
    SGD,
    Conv2D,
    DataSet,
    Dense,
    Dropout,
    Layer,
    Network,
    Noise,
    ReLU,
    TruncatedNormal,
    VarianceScaling,
    WeightKind,
    Workload,
)

CLASSES = 1001
"""Those of ImageNet, and one for the background, which no label ever is."""
IMAGES = 64
"""How many images are drawn unless more are asked for: as many as the published tables' largest batch."""
BATCH_SIZE = 32
conv = partial(Conv2D, strides=(1, 1), padding="same", kernel_initializer=VarianceScaling(scale=1.0))


def hidden(inputs: int, units: int) -> tuple[Layer, ...]:
    """Return a dense layer with ReLU and its dropout."""
    return _affine(inputs, units, gain=2.0), ReLU(), Dropout(rate=0.5)


def classifier(inputs: int) -> Dense:
    """Return the dense layer that ends every net."""
    return _affine(inputs, CLASSES, gain=1.0)


def _affine(inputs: int, units: int, *, gain: float) -> Dense:
    """Return a dense layer; the builder does not make up for what the cut takes off the standard deviation."""
    return Dense(units=units, use_bias=True, kernel_initializer=TruncatedNormal(stddev=(gain / inputs) ** 0.5))


def benchmark(
    name: str,
    network: Network,
    *,
    learning_rate: float,
    train_samples: int,
    decayed: tuple[WeightKind, ...] = ("kernel", "bias"),
) -> Workload:
    """Return the training of a net as it is timed: plain SGD on noise that is never rescaled."""
    data = DataSet(
        source="synthetic",
        scaling="none",
        image_shape=network.input_shape,
        classes=CLASSES,
        train_samples=train_samples,
        validation_samples=0,
        test_samples=1,
        noise=Noise(mean=127.0, stddev=60.0, truncated=True, labels=CLASSES - 1),
    )
    return Workload(
        name=name,
        data=data,
        network=network,
        optimizer=SGD(learning_rate=learning_rate, momentum=0.0, decay=0.0, nesterov=False),
        batch_size=BATCH_SIZE,
        epochs=1,
        l2=L2(rate=4e-5, kinds=decayed),
    )
