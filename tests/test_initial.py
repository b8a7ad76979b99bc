"""What all tools start from: the same weights and the same order for ever."""

import numpy as np
import pytest

from workloads import make_workload
from workloads.initial import CUT_STDDEV, arrays_fingerprint, draw_normal, epoch_order, initial_weights
from workloads.shapes import weight_shapes
from workloads.spec import (
    LSTM,
    Conv2D,
    Embedding,
    GlorotUniform,
    Initializer,
    TruncatedNormal,
    VarianceScaling,
    sequential,
)


def test_weights_have_the_shapes_of_the_spec_and_glorots_limits() -> None:
    network = make_workload("mnist-cnn", {}).network
    weights = initial_weights(network, seed=0)
    assert {name: weight.shape for name, weight in weights.items()} == weight_shapes(network)
    assert all(weight.dtype == np.float32 for weight in weights.values())
    for name, limit in (("conv2d_1/kernel", (6 / (16 + 512)) ** 0.5), ("dense_1/kernel", (6 / 528) ** 0.5)):
        assert 0.97 * limit < np.abs(weights[name]).max() <= np.float32(limit)
        assert weights[name].std() == pytest.approx(limit / 3**0.5, rel=0.05)
    assert not weights["dense_1/bias"].any()


def drawn_kernel(initializer: Initializer) -> np.ndarray:
    """A kernel (3, 3, 64, 128), some 74,000 values."""
    layer = Conv2D(
        filters=128, kernel_size=(3, 3), strides=(1, 1), padding="same", use_bias=False, kernel_initializer=initializer
    )
    return initial_weights(sequential((3, 3, 64), (layer,)), seed=0)["conv2d_1/kernel"].astype(np.float64)


def test_a_truncated_normal_is_cut_at_two_standard_deviations() -> None:
    kernel = drawn_kernel(TruncatedNormal(stddev=0.1))
    assert 0.199 < np.abs(kernel).max() <= 0.2 * (1 + 1e-6)
    assert kernel.mean() == pytest.approx(0, abs=0.001)
    assert kernel.std() == pytest.approx(0.0879626, rel=0.01)
    assert abs(CUT_STDDEV - 0.87962566103423978) < 1e-15


def test_variance_scaling_has_the_variance_of_scale_over_fan_in() -> None:
    kernel = drawn_kernel(VarianceScaling(scale=2.0))
    assert kernel.var() == pytest.approx(2.0 / (3 * 3 * 64), rel=0.02)
    assert np.abs(kernel).max() <= 2 * np.sqrt(2.0 / (3 * 3 * 64)) / CUT_STDDEV * (1 + 1e-6)


def test_depthwise_kernels_count_a_channel_in_their_fan_out() -> None:
    """As TensorFlow and Keras do: (H, W, channels, 1) has H·W·channels in and H·W out."""
    weights = initial_weights(make_workload("nasnet", {"image_size": 32}).network, seed=0)
    kernel = weights["depthwiseconv2d_1/kernel"]
    assert kernel.shape == (5, 5, 11, 1)
    limit = (6 / (25 * 12)) ** 0.5
    assert 0.97 * limit < np.abs(kernel).max() <= np.float32(limit)


def test_an_lstm_starts_with_its_forget_bias_and_the_rest_of_its_bias_at_zero() -> None:
    lstm = LSTM(
        units=3,
        return_sequences=False,
        kernel_initializer=TruncatedNormal(stddev=0.01),
        recurrent_initializer=GlorotUniform(),
        forget_bias=1.5,
    )
    table = Embedding(input_dim=50, output_dim=40, embeddings_initializer=VarianceScaling(scale=2.0))
    weights = initial_weights(sequential((4,), (table, lstm)), seed=0)
    assert weights["lstm_1/bias"].tolist() == [0, 0, 0, 1.5, 1.5, 1.5, 0, 0, 0, 0, 0, 0]
    assert weights["lstm_1/bias"].dtype == np.float32
    assert np.abs(weights["lstm_1/kernel"]).max() <= 0.02
    limit = (6 / (3 + 12)) ** 0.5
    assert 0.8 * limit < np.abs(weights["lstm_1/recurrent_kernel"]).max() <= np.float32(limit)
    assert weights["embedding_1/embeddings"].var() == pytest.approx(2.0 / 50, rel=0.1)


def test_attentions_draw_every_kernel_anew_and_norms_start_as_the_identity() -> None:
    weights = initial_weights(make_workload("gpt-nano", {}).network, seed=0)
    kernels = {name: weight for name, weight in weights.items() if name.endswith(("_kernel", "/embeddings", "/kernel"))}
    assert len({weight.tobytes() for weight in kernels.values()}) == len(kernels) == 4 * 4 + 2 + 4 * 2 + 1
    for weight in kernels.values():
        assert weight.std() == pytest.approx(0.02 * CUT_STDDEV, rel=0.03)
        assert np.abs(weight).max() <= 0.04 * (1 + 1e-6)
    for name in weights.keys() - kernels.keys():
        assert set(weights[name].tolist()) == {1.0 if name.endswith("/gamma") else 0.0}, name


def test_what_lies_outside_is_drawn_anew_in_its_order() -> None:
    expected = np.random.RandomState(3)
    values = expected.standard_normal(1000)
    while (outside := np.abs(values) > 2).any():
        values[outside] = expected.standard_normal(int(outside.sum()))
    drawn = draw_normal(np.random.RandomState(3), (10, 100), mean=5.0, stddev=0.5, truncated=True)
    assert np.array_equal(drawn, (5.0 + 0.5 * values).astype(np.float32).reshape(10, 100))
    plain = draw_normal(np.random.RandomState(3), (1000,), stddev=1.0, truncated=False)
    assert np.array_equal(plain, np.random.RandomState(3).standard_normal(1000).astype(np.float32))


def test_the_stream_of_weights_and_order_never_changes() -> None:
    weights = initial_weights(make_workload("digits-cnn", {}).network, seed=0)
    assert arrays_fingerprint(weights) == "0f35a9275a1d85ff2b71ed6e5b4cd71d5adcbef107bdd59ae2b97e7076ddff35"
    assert (
        arrays_fingerprint({"order": epoch_order(1437, 0, 3)})
        == "6b9220e66824df1f945d022e4c9ff5ef9ddb52f57a357a4b2dcf98bf18593fa0"
    )


def test_an_order_is_a_permutation_and_new_in_every_epoch() -> None:
    orders = [epoch_order(100, seed=5, epoch=epoch) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(100))
    assert len({tuple(order) for order in orders}) == 3
    assert np.array_equal(orders[1], epoch_order(100, seed=5, epoch=1))


def test_the_fingerprint_sees_values_types_shapes_and_names() -> None:
    base = np.zeros((2, 3), np.float32)
    changed = base.copy()
    changed[1, 2] = 1e-30
    variants = [{"a": base}, {"b": base}, {"a": base.T}, {"a": base.astype(np.float64)}, {"a": changed}]
    assert len({arrays_fingerprint(variant) for variant in variants}) == len(variants)
