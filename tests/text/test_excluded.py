"""Excluded phrases and glossary terms in text, against a search for them in the text itself."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

import pytest
from fairseq_symbols import EOS, NUM_SPECIAL, UNK
from hypothesis import given, settings
from hypothesis import strategies as st

from s2scli.errors import DataError
from s2scli.text.character import CharacterTokenizer
from s2scli.text.excluded import ExcludedPhrases, TokenTexts
from s2scli.text.glossary import Glossary, read_glossary
from s2scli.text.normalization import Normalization
from s2scli.text.subword import SentencePieceTokenizer
from s2scli.text.tokenizer import LearningSettings, Tokenizer
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer
from s2scli.text.word_boundaries import are_joined

TEXT = [
    "the dogs and a dog, the hot dog; a dogged under-dog (dog) hotdog",
    "he hears the other: he, she, they. über Über 猫 小猫很好 dog猫",
] * 4


def learned(**values: object) -> Tokenizer:
    return SentencePieceTokenizer.learn(
        lambda: ([line] for line in TEXT),
        LearningSettings(**values),  # type: ignore[arg-type]
        Normalization(),
    )


def vocabulary_of(tokens: list[str]) -> Vocabulary:
    return Vocabulary(tokens, [1] * len(tokens))


TOKENIZERS: dict[str, Tokenizer] = {
    "unigram": learned(vocab_size=75),
    "bpe": learned(vocab_size=75, sentencepiece_model="bpe"),
    "bytes": learned(vocab_size=320, byte_fallback=True, character_coverage=0.98),
    "word": WordTokenizer(vocabulary_of(sorted({word for line in TEXT for word in line.split()}))),
    "character": CharacterTokenizer(vocabulary_of(sorted(set("".join(TEXT))))),
}
PHRASES = ["dog", "hot dog", "he", "the other", "über", "猫", "(dog", "dogs and a dog"]


def is_in(phrase: str, text: str) -> bool:
    """Whether a phrase is in a text as whole words, by a regular expression; 猫 needs no ends of words."""
    before = r"(?<![^\W猫小很好])" if phrase[0] not in "猫(" else ""
    after = r"(?![^\W猫小很好])" if phrase[-1] != "猫" else ""
    return re.search(before + re.escape(phrase) + after, text) is not None


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_no_text_of_allowed_tokens_holds_a_phrase(kind: str) -> None:
    """Random walks over what is not banned, which without the ban hold phrases often."""
    tokenizer = TOKENIZERS[kind]
    texts = TokenTexts(tokenizer)
    draw = random.Random(5)
    held_without = 0
    for _ in range(1500):
        phrases = draw.sample(PHRASES, 3)
        excluded = ExcludedPhrases(texts, map(texts.of_phrase, phrases))
        # Half of the steps go on with a phrase, in some segmentation of it.
        wanted = draw.choice(phrases)
        ids: list[int] = []
        free: list[int] = []
        for _ in range(12):
            free.append(step(draw, tokenizer, texts, free, wanted, set()))
            banned = {*excluded.always, *excluded.banned(excluded.state_of(ids))}
            ids.append(step(draw, tokenizer, texts, ids, wanted, banned))
        text = tokenizer.decode(ids)
        assert not any(is_in(phrase, text) for phrase in phrases), (phrases, tokenizer.pieces(ids))
        assert not excluded.occurs_in(ids)
        held_without += any(is_in(phrase, tokenizer.decode(free)) for phrase in phrases)
    assert held_without > 150


@cache
def fitting(texts: TokenTexts, rests: tuple[str, ...]) -> list[int]:
    """The tokens with which one of the texts begins, or that are one of them as a word of its own."""
    return [
        token
        for token in range(NUM_SPECIAL, len(texts.of))
        if any(rest.startswith(texts.of[token]) or texts.of[token] == f" {rest}" for rest in rests)
    ]


def step(
    draw: random.Random,
    tokenizer: Tokenizer,
    texts: TokenTexts,
    ids: list[int],
    wanted: str,
    banned: set[int],
) -> int:
    allowed = [token for token in range(NUM_SPECIAL, len(tokenizer)) if token not in banned]
    if draw.random() < 0.6:
        said = "".join(texts.of[token] for token in ids)
        goal = texts.of_phrase(wanted)
        rests = tuple(goal[length:] for length in range(len(goal)) if said.endswith(goal[:length]))
        allowed = [token for token in fitting(texts, rests) if token not in banned] or allowed
    return draw.choice(allowed)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_text_that_holds_a_phrase_is_found(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    texts = TokenTexts(tokenizer)
    for line in TEXT[:2]:
        for phrase in PHRASES:
            ids = tokenizer.encode(line)
            found = ExcludedPhrases(texts, [texts.of_phrase(phrase)]).occurs_in(ids)
            # Where a token ends with the phrase, a longer word is excluded too; it is never the other way round.
            assert found or not is_in(phrase, line) or UNK in tokenizer.encode(phrase), (phrase, line)


def test_words_that_only_begin_or_end_with_a_phrase_may_come() -> None:
    words = TOKENIZERS["word"]
    texts = TokenTexts(words)
    excluded = ExcludedPhrases(texts, [texts.of_phrase("dog")])
    assert set(words.pieces(sorted(excluded.always))) == {"dog,", "dog;", "under-dog", "(dog)", "dog猫"}
    assert EOS not in excluded.always


def test_ends_of_words() -> None:
    assert are_joined("a", "b")
    assert are_joined("ü", "1")
    assert are_joined("क", "\u093f")
    assert not are_joined("", "b")
    assert not are_joined("a", " ")
    assert not are_joined("a", "猫")
    assert not are_joined("ม", "า")


TERMS = {"hot dog": "H", "dog": "D", "a": "A", "a b": "AB", "猫": "K", "小猫": "k", "b a": "BA", "(x)": "X"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the hot dog", ["H"]),
        ("a dog, a hot dog", ["A", "D", "H"]),
        ("dogs hotdog", []),
        ("a b a", ["AB", "A"]),
        ("那小猫和猫", ["k", "K"]),
        ("dog猫", ["D", "K"]),
        ("f(x) (x)", ["X"]),
        ("", []),
    ],
)
def test_terms_in_a_text(text: str, found: list[str]) -> None:
    assert Glossary(TERMS).find(text) == found


@settings(max_examples=300, deadline=None)
@given(st.text("ab dog猫", max_size=14))
def test_terms_are_the_longest_from_left_to_right(text: str) -> None:
    pattern = "|".join(
        (r"(?<![^\W猫])" if term[0] not in "猫小" else "")
        + re.escape(term)
        + (r"(?![^\W猫])" if term[-1] != "猫" else "")
        for term in sorted(TERMS, key=len, reverse=True)
        if term != "(x)"
    )
    expected = list(dict.fromkeys(TERMS[match] for match in re.findall(pattern, text)))
    assert Glossary(TERMS).find(text) == expected


def test_terms_are_compared_as_the_model_reads_them() -> None:
    normalize = Normalization(lowercase=True).apply
    assert Glossary({"Hot Dog": "H"}, normalize).find("a HOT dog") == ["H"]
    assert Glossary({"Hot Dog": "H"}).find("a HOT dog") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\nc\n", ":2: 'c' is not a source term, a tab and a target term"),
        ("a\tb\tc\n", ":1: "),
        ("a\tb\n\na\tc\n", ":3: 'a' is 'c' here and 'b' in line 1"),
    ],
)
def test_broken_glossaries(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(f"{path}{message}")):
        read_glossary(path)


@pytest.mark.parametrize(
    ("kind", "phrase", "pieces"),
    [
        ("word", " hot dog ", ["hot", "<unk>"]),
        ("character", "he", [" ", "h", "e"]),
        ("character", "猫", ["猫"]),
        ("unigram", "猫", ["猫"]),
    ],
)
def test_a_phrase_within_a_sentence(kind: str, phrase: str, pieces: list[str]) -> None:
    tokenizer = TOKENIZERS[kind]
    assert tokenizer.pieces(tokenizer.encode_phrase(phrase)) == pieces


@pytest.mark.parametrize("kind", ["unigram", "bpe", "bytes"])
def test_a_phrase_in_pieces_begins_as_words_do(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.encode_phrase("hot dog")
    assert tokenizer.pieces(ids)[0].startswith("▁")
    assert tokenizer.encode("he hot dog")[-len(ids) :] == ids
