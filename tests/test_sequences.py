"""Made-up sequences keep their rules exactly, and the least loss of echoes is what an exact reckoning gives."""

import math
from dataclasses import replace

import numpy as np
import pytest

from workloads import make_workload
from workloads.datasets import made_up
from workloads.sequences import (
    ECHO_LAG,
    ECHO_SHARE,
    ECHO_TOKENS,
    OPINIONS,
    REVIEW_TOKENS,
    SEQUENCES,
    ZIPF_SHIFT,
    echo_entropy,
)
from workloads.spec import DataSet


def data_of(name: str, places: int | None = None) -> DataSet:
    data = make_workload(name, {}).data
    return replace(data, image_shape=(places,)) if places else data


def drawn(name: str, samples: int, places: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    data = data_of(name, places)
    return SEQUENCES[data.source](data)(samples)


@pytest.mark.parametrize("places", [None, 1, 5])
def test_the_last_opinion_of_a_review_is_its_label(places: int | None) -> None:
    tokens, labels = drawn("imdb-lstm", 2_000, places)
    assert (tokens.shape, tokens.dtype, labels.shape, labels.dtype) == ((2_000, places or 80), np.int32, (2_000,), "i4")
    for review, label in zip(tokens.tolist(), labels.tolist(), strict=True):
        opinions = [word for word in review if OPINIONS[0] <= word < OPINIONS[1]]
        assert label == (1 if opinions and opinions[-1] % 2 == 0 else 0)


def test_words_follow_zipfs_law_and_reviews_are_about_half_good() -> None:
    tokens, labels = drawn("imdb-lstm", 10_000)
    assert tokens.min() == 0
    assert REVIEW_TOKENS // 2 < tokens.max() < REVIEW_TOKENS
    frequencies = np.bincount(tokens.ravel(), minlength=REVIEW_TOKENS) / tokens.size
    total = sum(1 / (rank + ZIPF_SHIFT) for rank in range(1, REVIEW_TOKENS + 1))
    for word in (0, 1, 15, 100):
        assert frequencies[word] == pytest.approx(1 / (word + 1 + ZIPF_SHIFT) / total, rel=0.05)
    assert labels.mean() == pytest.approx(0.5, abs=0.05)


def test_earlier_opinions_say_nothing_of_a_label() -> None:
    """So that a net that only counts opinions is wrong about where the last one goes against the others."""
    tokens, labels = drawn("imdb-lstm", 10_000)
    opinions = (tokens >= OPINIONS[0]) & (tokens < OPINIONS[1])
    several = opinions.sum(axis=1) > 1
    first = tokens[np.arange(len(tokens)), opinions.argmax(axis=1)]
    assert np.mean((first[several] % 2 == 0) == labels[several]) == pytest.approx(0.5, abs=0.03)


def test_labels_of_echoes_are_the_sequence_one_place_on() -> None:
    tokens, labels = drawn("gpt-nano", 100)
    assert (tokens.shape, tokens.dtype, labels.shape, labels.dtype) == ((100, 64), np.int32, (100, 64), np.int32)
    assert np.array_equal(tokens[:, 1:], labels[:, :-1])
    assert (tokens.min(), tokens.max()) == (0, ECHO_TOKENS - 1)


def test_echoes_repeat_what_was_eight_places_before_and_the_rest_is_chance() -> None:
    tokens, labels = drawn("gpt-nano", 4_000)
    whole = np.concatenate([tokens, labels[:, -1:]], axis=1)
    repeated = whole[:, ECHO_LAG:] == whole[:, :-ECHO_LAG]
    assert repeated.mean() == pytest.approx(ECHO_SHARE + (1 - ECHO_SHARE) / ECHO_TOKENS, abs=0.002)
    assert np.ptp(repeated.mean(axis=0)) < 0.05
    for lag in range(1, ECHO_LAG):
        assert np.mean(whole[:, lag:] == whole[:, :-lag]) == pytest.approx(1 / ECHO_TOKENS, abs=0.003)
    for tokens_of_chance in (whole[:, :ECHO_LAG], whole[:, ECHO_LAG:][~repeated]):
        shares = np.bincount(tokens_of_chance.ravel(), minlength=ECHO_TOKENS) / tokens_of_chance.size
        assert shares == pytest.approx(1 / ECHO_TOKENS, abs=0.006)


def true_losses(whole: np.ndarray) -> np.ndarray:
    """Return −ln of the probability of each token (N, T) but the first, given those before it, by the rule itself."""
    places = whole.shape[1]
    losses = np.full((len(whole), places - 1), math.log(ECHO_TOKENS))
    for place in range(ECHO_LAG, places):
        repeated = whole[:, place] == whole[:, place - ECHO_LAG]
        losses[:, place - 1] = -np.log(ECHO_SHARE * repeated + (1 - ECHO_SHARE) / ECHO_TOKENS)
    return losses


@pytest.mark.parametrize("places", [1, 7, 8, 9, 64])
def test_the_least_loss_of_echoes_is_what_the_rule_itself_loses(places: int) -> None:
    tokens, labels = drawn("gpt-nano", 20_000, places)
    losses = true_losses(np.concatenate([tokens, labels[:, -1:]], axis=1)).mean(axis=1)
    error = losses.std() / math.sqrt(len(losses))
    assert echo_entropy(places) == pytest.approx(losses.mean(), abs=4 * error + 1e-12)
    assert places >= ECHO_LAG or echo_entropy(places) == pytest.approx(math.log(ECHO_TOKENS))


@pytest.mark.parametrize("places", [1, 7, 8, 9, 64])
def test_the_least_loss_of_echoes_is_the_mean_entropy_of_the_label_at_each_place(places: int) -> None:
    chance = np.full(ECHO_TOKENS, 1 / ECHO_TOKENS)
    echo = ECHO_SHARE * np.eye(ECHO_TOKENS)[5] + (1 - ECHO_SHARE) * chance
    entropies = [-sum(shares * np.log(shares)) for shares in (chance, echo)]
    by_place = [entropies[place + 1 >= ECHO_LAG] for place in range(places)]
    assert echo_entropy(places) == pytest.approx(sum(by_place) / places, rel=1e-12)


def test_sequences_are_the_same_in_every_process_and_split_into_parts_of_their_own() -> None:
    data = replace(data_of("gpt-nano"), train_samples=5, validation_samples=2, test_samples=3)
    one, again = made_up(data), made_up(data)
    assert {name: array.shape for name, array in one.items()} == {
        "train_images": (7, 64),
        "train_labels": (7, 64),
        "test_images": (3, 64),
        "test_labels": (3, 64),
    }
    assert all(np.array_equal(array, again[name]) for name, array in one.items())
    assert (one["train_images"][:3, :ECHO_LAG] != one["test_images"][:, :ECHO_LAG]).any(axis=1).all()
