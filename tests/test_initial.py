"""What all tools start from: the same weights and the same order for ever."""

import numpy as np
import pytest

from workloads import make_workload
from workloads.initial import arrays_fingerprint, epoch_order, initial_weights
from workloads.shapes import weight_shapes


def test_weights_have_the_shapes_of_the_spec_and_glorots_limits() -> None:
    network = make_workload("mnist-cnn", {}).network
    weights = initial_weights(network, seed=0)
    assert {name: weight.shape for name, weight in weights.items()} == weight_shapes(network)
    assert all(weight.dtype == np.float32 for weight in weights.values())
    for name, limit in (("conv2d_1/kernel", (6 / (16 + 512)) ** 0.5), ("dense_1/kernel", (6 / 528) ** 0.5)):
        assert 0.97 * limit < np.abs(weights[name]).max() <= np.float32(limit)
        assert weights[name].std() == pytest.approx(limit / 3**0.5, rel=0.05)
    assert not weights["dense_1/bias"].any()


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
