"""Noise in text of one language: what is hidden is as much as was asked for, and can be put back."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2scli.components import NOISES
from s2scli.configs.noise import BartNoiseConfig, MassNoiseConfig, NoiseConfig, T5NoiseConfig
from s2scli.data.denoising import MaskedText
from s2scli.data.transforms import Example, Transform
from s2scli.errors import UsageError
from s2scli.text.normalization import Normalization
from s2scli.text.tokenizer import LearningSettings
from s2scli.text.word import WordTokenizer

WORDS = [f"w{number}" for number in range(60)]
NOISY = [name for name in NOISES if name != "none"]


def tokenizer(*symbols: str) -> WordTokenizer:
    """Words as tokens, full stops being some of them, with user symbols."""
    texts = [[word] for word in (*WORDS, ".", "!", "。")]
    learning = LearningSettings(name="words", user_symbols=symbols)
    found = WordTokenizer.learn(lambda: iter(texts), learning, Normalization())
    assert isinstance(found, WordTokenizer)
    return found


def transform(config: NoiseConfig) -> tuple[Transform, WordTokenizer]:
    words = tokenizer(*config.symbols, "<2aa>")
    tag = words.vocabulary.lookup("<2aa>")
    found: Transform = config.builder(config, MaskedText(words, config, frozenset({tag})))
    return found, words


def noisy(config: NoiseConfig, text: str, seed: int) -> tuple[str, str]:
    """The source and the target that a line becomes, as text."""
    apply, words = transform(config)
    lookup, symbols = words.vocabulary.lookup, words.vocabulary.symbols
    ids = [lookup(word) for word in text.split()]
    found = apply(Example(ids, ids), np.random.default_rng(seed))
    source, target = (" ".join(symbols[token] for token in side) for side in found)
    return source, target


def put_back(source: str, target: str) -> str:
    """A line from what span corruption has made of it: each sentinel of the source is what the target says it is."""
    said: dict[str, list[str]] = {}
    for word in target.split():
        if word.startswith("<extra_id_"):
            said[word] = []
        else:
            said[[*said][-1]].append(word)
    return " ".join(" ".join(said.get(word, [word])) for word in source.split())


LINES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=40).map(" ".join)
SEEDS = st.integers(0, 10**6)


@given(text=LINES, seed=SEEDS, mask=st.floats(0.01, 0.99), mean=st.floats(1, 6))
@settings(deadline=None, max_examples=60)
def test_a_corrupted_line_and_its_target_are_the_line(text: str, seed: int, mask: float, mean: float) -> None:
    config = T5NoiseConfig(mask=mask, mean_noise_span_length=mean)
    source, target = noisy(config, text, seed)
    assert put_back(source, target) == text
    sentinels = [word for word in source.split() if word in config.symbols]
    assert sentinels == list(config.symbols[: len(sentinels)])
    total = len(text.split())
    hidden = total - (len(source.split()) - len(sentinels))
    assert hidden == (min(max(round(mask * total), 1), total - 1) if total > 1 else 1)


@pytest.mark.parametrize(
    ("text", "mask", "mean", "expected"),
    [
        ("w1 w2", 0.5, 3, ("w1 <extra_id_0>", "<extra_id_0> w2")),
        ("w1 w2 w3 w4", 0.5, 1, ("w1 <extra_id_0> w3 <extra_id_1>", "<extra_id_0> w2 <extra_id_1> w4")),
        ("w7", 0.15, 3, ("<extra_id_0>", "<extra_id_0> w7")),
        ("<2aa> w1 w2", 0.15, 3, ("<2aa> w1 <extra_id_0>", "<extra_id_0> w2")),
    ],
)
def test_span_corruption_as_it_is_written_out(
    text: str, mask: float, mean: float, expected: tuple[str, str]
) -> None:
    """Lines of which there is one way only to hide so much."""
    assert noisy(T5NoiseConfig(mask=mask, mean_noise_span_length=mean), text, 3) == expected


def test_fifteen_of_a_hundred_tokens_are_hidden_in_spans_of_three() -> None:
    source, target = noisy(T5NoiseConfig(), " ".join(WORDS[:50] * 2), 1)
    assert sum(word.startswith("w") for word in target.split()) == 15
    assert sum(word.startswith("<extra") for word in source.split()) == 5


@given(text=LINES, seed=SEEDS, mask=st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=60)
def test_a_fragment_is_hidden_token_by_token(text: str, seed: int, mask: float) -> None:
    source, target = noisy(MassNoiseConfig(mask=mask), text, seed)
    words, hidden = source.split(), target.split()
    places = [at for at, word in enumerate(words) if word == "<mask>"]
    assert len(hidden) == len(places) == max(round(mask * len(words)), 1)
    assert all(after == before + 1 for before, after in pairwise(places))
    for at, word in zip(places, hidden, strict=True):
        words[at] = word
    assert " ".join(words) == text


def test_any_fragment_may_be_hidden() -> None:
    starts = [noisy(MassNoiseConfig(), "w1 w2 w3 w4", seed)[0].split().index("<mask>") for seed in range(90)]
    counts = np.bincount(starts)
    assert len(counts) == 3
    # Four standard deviations of a binomial of 90 draws with probability a third.
    assert all(abs(count - 30) < 4 * math.sqrt(90 * 2 / 9) for count in counts)


@given(text=LINES, seed=SEEDS, mask=st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=60)
def test_infilling_hides_as_many_words_as_asked_for(text: str, seed: int, mask: float) -> None:
    source, target = noisy(BartNoiseConfig(mask=mask), text, seed)
    assert target == text
    total, staying = len(text.split()), [word for word in source.split() if word != "<mask>"]
    assert total - len(staying) == math.ceil(mask * total)
    # What stays keeps its order, and whatever is missing before a word has a mask in its place.
    left = iter(text.split())
    assert all(word in left for word in staying)
    assert "<mask>" in source


def test_each_span_is_one_mask_of_a_length_from_the_poisson_distribution() -> None:
    """Words that differ tell how many a mask hides; adjacent masks share theirs, so their mean is what is compared."""
    line = " ".join(WORDS[:50])
    masks = hidden = 0
    for seed in range(400):
        source, _ = noisy(BartNoiseConfig(mask=0.6, poisson_lambda=2.0), line, seed)
        masks += source.split().count("<mask>")
        hidden += 50 - sum(word != "<mask>" for word in source.split())
    assert hidden == 400 * 30
    # The mean number of spans until 30 words are hidden, drawn here by itself; the last span is cut to fit.
    draw = np.random.default_rng(0)
    sums = draw.poisson(2.0, size=(20_000, 80)).cumsum(axis=1)
    numbers = (sums < 30).sum(axis=1) + 1
    spread = numbers.std() / math.sqrt(400)
    assert abs(masks / 400 - numbers.mean()) < 4 * spread


def test_a_span_of_no_word_puts_a_mask_between_words() -> None:
    sources = [
        noisy(BartNoiseConfig(mask=0.05, poisson_lambda=1.0), "w1 w2 w3", seed)[0] for seed in range(60)
    ]
    numbers = [source.split().count("<mask>") for source in sources]
    # One word is hidden; spans before the one that hides it have no word, each with probability e^-1 of those.
    assert all(len(source.split()) == 2 + number for source, number in zip(sources, numbers, strict=True))
    assert {1, 2} <= set(numbers)


def test_sentences_change_places_whole() -> None:
    text = "w1 w2 . w3 . w4 w5 ! w6 。 w7"
    parts = {"w1 w2 .", "w3 .", "w4 w5 !", "w6 。", "w7"}
    seen = set()
    for seed in range(60):
        # One word of eleven is hidden, so that all others tell the order.
        config = BartNoiseConfig(mask=0.01)
        noisy_words = noisy(config, text, seed)[0].split()
        source = " ".join(word for word in noisy_words if word != "<mask>")
        kept = [part for part in parts if part in source]
        assert len(kept) >= len(parts) - 1
        seen.add(tuple(sorted(kept, key=source.index)))
    assert len(seen) > 20
    unmoved, _ = noisy(BartNoiseConfig(mask=0.01, permute_sentences=0.0), text, 1)
    left = iter(text.split())
    assert all(word in left for word in unmoved.split() if word != "<mask>")


@pytest.mark.parametrize("name", NOISY)
def test_a_tag_stays_and_is_no_part_of_the_line(name: str) -> None:
    config = NOISES[name](name=name)
    for seed in range(20):
        source, target = noisy(config, "<2aa> w1 w2 w3 w4 w5 w6 w7", seed)
        assert source.startswith("<2aa> ")
        assert source.count("<2aa>") == 1
        assert not config.makes_target or "<2aa>" not in target


@pytest.mark.parametrize("name", NOISY)
def test_a_line_without_words_stays(name: str) -> None:
    assert noisy(NOISES[name](name=name), "<2aa>", 1)[0] == "<2aa>"


@pytest.mark.parametrize("name", NOISY)
def test_a_vocabulary_without_the_symbols_is_refused(name: str) -> None:
    config = NOISES[name](name=name)
    with pytest.raises(UsageError, match=f"make the dataset with s2s preprocess --denoise {name}"):
        MaskedText(tokenizer(), config, frozenset())
