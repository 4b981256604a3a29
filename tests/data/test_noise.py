"""Noise on words: as often as asked for, no farther than asked for, and never nothing left."""

from __future__ import annotations

import numpy as np
import pytest
from fairseq_symbols import UNK
from hypothesis import given, settings
from hypothesis import strategies as st

from s2scli.data.noise import WordNoise

# Ids below 20 start a word.
STARTS = np.arange(40) < 20


def noise(*, dropout: float = 0.0, mask: float = 0.0, shuffle: int = 0) -> WordNoise:
    return WordNoise(STARTS, UNK, dropout=dropout, mask=mask, shuffle=shuffle)


def generator(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def words_of(ids: list[int]) -> list[tuple[int, ...]]:
    words: list[list[int]] = []
    for token in ids:
        if STARTS[token] or not words:
            words.append([])
        words[-1].append(token)
    return [tuple(word) for word in words]


SENTENCES = st.lists(st.integers(4, 39), min_size=1, max_size=30)


@given(ids=SENTENCES, seed=st.integers(0, 10**6), shuffle=st.integers(1, 4))
@settings(deadline=None)
def test_words_move_whole_and_not_too_far(ids: list[int], seed: int, shuffle: int) -> None:
    """Distinct words, so that each can be found again."""
    ids = [4, *(token for token in dict.fromkeys(ids) if token != 4)]
    before = words_of(ids)
    after = words_of(noise(shuffle=shuffle).apply(np.array(ids), generator(seed)))
    assert sorted(before) == sorted(after)
    assert all(abs(before.index(word) - place) <= shuffle for place, word in enumerate(after))


def test_words_move_as_far_as_they_may() -> None:
    ids = np.arange(4, 20)
    moved = [noise(shuffle=3).apply(ids, generator(seed)) for seed in range(300)]
    distances = {abs(token - 4 - place) for tokens in moved for place, token in enumerate(tokens)}
    assert distances == {0, 1, 2, 3}


@given(ids=SENTENCES, seed=st.integers(0, 10**6), dropout=st.floats(0.01, 0.999))
@settings(deadline=None)
def test_something_always_stays(ids: list[int], seed: int, dropout: float) -> None:
    after = noise(dropout=dropout).apply(np.array(ids), generator(seed))
    assert after
    # What is left are whole words in their order.
    rest = iter(words_of(ids))
    assert all(word in rest for word in words_of(after))


@pytest.mark.parametrize("kind", ["dropout", "mask"])
def test_shares_are_as_asked_for(kind: str) -> None:
    ids = np.tile([5, 25, 26, 6, 7, 27], 2000)
    after = noise(**{kind: 0.3}).apply(ids, generator())
    count = 6000 - sum(token < 20 for token in after) if kind == "dropout" else after.count(UNK)
    assert count == pytest.approx(0.3 * 6000, abs=5 * np.sqrt(0.21 * 6000))


def test_a_masked_word_is_one_unknown_token() -> None:
    assert noise(mask=1.0).apply(np.array([5, 25, 26, 6, 7, 27]), generator()) == [UNK] * 3
    # What comes before the first start of a word is a word too.
    assert noise(mask=1.0).apply(np.array([25, 26, 6]), generator()) == [UNK] * 2


def test_kinds_of_noise_do_not_change_each_other() -> None:
    """The words that are deleted are the same ones, moved or not."""
    ids = np.arange(4, 20)
    deleted = noise(dropout=0.3).apply(ids, generator())
    both = noise(dropout=0.3, shuffle=2).apply(ids, generator())
    assert both != deleted
    assert sorted(both) == deleted
