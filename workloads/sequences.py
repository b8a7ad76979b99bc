"""Made-up token sequences whose rule a net can learn, and how well one can at best: whole numbers drawn by NumPy."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from workloads.spec import DataSet

REVIEW_TOKENS = 20_000
"""Words of the reviews, of which the most frequent have the lowest numbers; as many as Keras' example takes of IMDB."""
OPINIONS = (16, 64)
"""The words from the first to before the second of these are opinions: even ones are good, odd ones bad."""
ZIPF_SHIFT = 2.7
"""Zipf's law as Mandelbrot (1953) has it: the frequency of the word of rank r is as 1 / (r + 2.7)."""

ECHO_TOKENS = 64
ECHO_LAG = 8
ECHO_SHARE = 0.9

Sequences = Callable[[int], tuple[NDArray[np.int32], NDArray[np.int32]]]
"""From a number of samples to tokens (N, T) and labels, (N,) or (N, T)."""


def reviews(data: DataSet) -> Sequences:
    """Return what draws reviews: words by Zipf's law, and the last opinion in a review is its label, 1 for a good one.

    Which opinions come before says nothing, so that the order has to be read. A review without an opinion is bad.
    """
    stream = np.random.RandomState(0)
    shares = 1 / (np.arange(REVIEW_TOKENS) + 1 + ZIPF_SHIFT)
    reached = np.cumsum(shares / shares.sum())

    def draw(samples: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        shape = (samples, *data.image_shape)
        words = np.minimum(np.searchsorted(reached, stream.random_sample(shape)), REVIEW_TOKENS - 1)
        opinions = (words >= OPINIONS[0]) & (words < OPINIONS[1])
        last = words.shape[1] - 1 - opinions[:, ::-1].argmax(axis=1)
        decided = words[np.arange(samples), last]
        good = opinions.any(axis=1) & (decided % 2 == 0)
        return words.astype(np.int32), good.astype(np.int32)

    return draw


def echoes(data: DataSet) -> Sequences:
    """Return what draws sequences in which nine tokens in ten repeat the one 8 places before and the rest are chance.

    The first 8 are chance, too. The labels are the sequence one place on.
    """
    stream = np.random.RandomState(0)

    def draw(samples: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        places = data.image_shape[0] + 1
        tokens = stream.randint(ECHO_TOKENS, size=(samples, places))
        echoed = stream.random_sample((samples, places)) < ECHO_SHARE
        for place in range(ECHO_LAG, places):
            tokens[:, place] = np.where(echoed[:, place], tokens[:, place - ECHO_LAG], tokens[:, place])
        drawn = tokens.astype(np.int32)
        return drawn[:, :-1].copy(), drawn[:, 1:].copy()

    return draw


def echo_entropy(places: int) -> float:
    """Return the least mean loss, in nats, of predicting the labels (N, `places`) of echoes, from their entropy.

    A token that echoes is the one 8 before with probability p = 0.9 + 0.1 / 64, and each other with (1 − p) / 63; those
    that have none before them are any of 64. A model has no more than −Σ p·ln p to tell (Shannon 1948, section 6).
    """
    same = ECHO_SHARE + (1 - ECHO_SHARE) / ECHO_TOKENS
    other = (1 - ECHO_SHARE) / ECHO_TOKENS
    echo = -same * math.log(same) - (ECHO_TOKENS - 1) * other * math.log(other)
    free = min(ECHO_LAG - 1, places)
    return (free * math.log(ECHO_TOKENS) + (places - free) * echo) / places


SEQUENCES: dict[str, Callable[[DataSet], Sequences]] = {"reviews": reviews, "echoes": echoes}
"""By the source of a data set."""
