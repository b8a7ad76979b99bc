"""What precision a model's matrix products really have, and how fast they are: asked after the clock has stopped."""

from collections.abc import Callable
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

Multiply = Callable[[NDArray[np.float32], NDArray[np.float32], int], NDArray[np.float32]]
"""A model's `matmul`."""
SIDE = 1024
"""Of the matrices whose product is known; small ones may go another way than a net's."""
KEPT_BY_FLOAT32, KEPT_BY_TEN_BITS, BEYOND_FLOAT16 = 1 + 2.0**-12, 1 + 2.0**-9, 2.0**17
"""Numbers by whose products with 1 precisions are told apart.

float32 has 23 bits of fraction, TF32 and float16 have ten, bfloat16 seven; float16 ends at 65,504.
"""
SIDES = (1024, 2048, 4096, 8192)
"""Of the matrices that are timed."""
LONG_S = 0.05
"""From how many seconds a product on none is timed that is larger."""
ENOUGH_S = 0.2
"""How long products one after another are to take at least, so that what disturbs weighs little."""
ROUNDS = 3
"""How often they are timed; the least counts, since what disturbs only adds."""


def find_precision(multiply: Multiply) -> str:
    """Return what the products are taken in: `float32`, `tf32`, `float16` or `bfloat16`.

    A diagonal of one number, times the unit matrix, is that number wherever it is not rounded.
    """

    def keeps(number: float) -> bool:
        unit = np.eye(SIDE, dtype=np.float32)
        return float(multiply(np.float32(number) * unit, unit, 1)[0, 0]) == number

    if keeps(KEPT_BY_FLOAT32):
        return "float32"
    if not keeps(KEPT_BY_TEN_BITS):
        return "bfloat16"
    return "tf32" if keeps(BEYOND_FLOAT16) else "float16"


def measure_peak(multiply: Multiply) -> float:
    """Return the GFLOP/s of products one after another, the most of any size up to one whose product takes LONG_S."""
    most = 0.0
    for side in SIDES:
        product_s = _time_product(multiply, side)
        most = max(most, 2e-9 * side**3 / product_s)
        if product_s > LONG_S:
            break
    return most


def _time_product(multiply: Multiply, side: int) -> float:
    """Return the seconds of a product; what a call takes without any, to copy the matrices, is taken off."""
    block, blocks = np.random.RandomState(0).standard_normal((SIDES[0], SIDES[0])), side // SIDES[0]
    a = np.tile(block.astype(np.float32), (blocks, blocks))
    # So divided, products one after another neither grow nor vanish.
    b = a / np.float32(blocks * SIDES[0] ** 0.5)

    def seconds(times: int) -> float:
        began = perf_counter()
        multiply(a, b, times)
        return perf_counter() - began

    def products_s(times: int) -> float:
        pairs = [(seconds(0), seconds(times)) for _ in range(ROUNDS)]
        empty_s, full_s = (min(each) for each in zip(*pairs, strict=True))
        return full_s - empty_s

    seconds(1)
    times = 1
    while (spent_s := products_s(times)) < ENOUGH_S:
        times *= 2
    return spent_s / times
