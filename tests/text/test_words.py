"""Which word of a line each token is part of."""

from __future__ import annotations

import pytest
from fairseq_symbols import UNK
from learned_tokenizers import LINES, learn

from s2scli.text.normalization import Normalization
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer
from s2scli.text.words import (
    characters_of_tokens,
    copied_words,
    places_of_words,
    strip_punctuation,
    words_of_line,
)

WORDS = WordTokenizer(Vocabulary(["a", "sun"], [2, 1]), Normalization(lowercase=True), ("<ENT>",))
KINDS = [
    ("sentencepiece", "unigram"),
    ("sentencepiece", "bpe"),
    ("character", "unigram"),
    ("word", "unigram"),
]


def spelled(tokenizer: Tokenizer, text: str) -> list[str]:
    """The text of the tokens that each word is said to have, put together."""
    ids = tokenizer.encode(text)
    words = words_of_line(tokenizer, text, ids)
    assert list(words.texts) == text.split()
    groups: list[list[int]] = [[] for _ in words.texts]
    for token, word in zip(ids, words.of_token, strict=True):
        if word >= 0:
            groups[word].append(token)
    return [tokenizer.decode(group).strip() for group in groups]


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_of_a_word_spell_it(kind: tuple[str, str]) -> None:
    tokenizer = learn(*kind)
    for text in (*LINES, "a sun", " a   sun and ", "<ENT> a sand<ENT>bed sun"):
        if kind[0] == "word" and "<ENT>bed" in text:
            continue  # joined by spaces, which is what this tokenizer makes of it
        assert spelled(tokenizer, text) == text.split(), text


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_characters_are_in_their_word(kind: tuple[str, str]) -> None:
    tokenizer = learn(*kind)
    text = "a ☃☄ sun☃ bed"
    ids = tokenizer.encode(text)
    assert UNK in ids
    words = words_of_line(tokenizer, text, ids)
    assert list(words.texts) == ["a", "☃☄", "sun☃", "bed"]
    of_unknown = {word for token, word in zip(ids, words.of_token, strict=True) if token == UNK}
    assert of_unknown == {1, 2}
    assert list(words.of_token) == sorted(words.of_token)


def test_what_a_cut_line_has_left() -> None:
    tokenizer = learn("character")
    ids = tokenizer.encode("a sun and")
    assert list(words_of_line(tokenizer, "a sun and", ids[:6]).of_token) == [0, 1, 1, 1, 1, 2]
    # After its first token, as a line of context is cut after its tag.
    assert list(words_of_line(tokenizer, "a sun and", [ids[0], *ids[-4:]]).of_token) == [0, 2, 2, 2, 2]
    with pytest.raises(ValueError, match="not those of the line"):
        words_of_line(tokenizer, "a sun and", [ids[2], ids[1]])


def test_bytes_are_in_the_word_of_their_character() -> None:
    tokenizer = learn("sentencepiece", byte_fallback=True, vocab_size=330)
    text = "a ☃🐘 sun"
    ids = tokenizer.encode(text)
    assert UNK not in ids
    words = words_of_line(tokenizer, text, ids)
    pieces = tokenizer.pieces(ids)
    assert {word for piece, word in zip(pieces, words.of_token, strict=True) if piece.startswith("<0x")} == {
        1
    }
    owners = characters_of_tokens(tokenizer, ids, text)
    assert len(owners) == len("a☃🐘sun")
    assert pieces[owners[1]] == "<0xE2>"
    assert pieces[owners[2]] == "<0xF0>"


def test_normalization_that_takes_words_away() -> None:
    tokenizer = WordTokenizer(Vocabulary(["sun", "bed"], [1, 1]), Normalization(stopwords=("the",)))
    words = words_of_line(tokenizer, "the sun the bed", tokenizer.encode("the sun the bed"))
    assert [words.texts[word] for word in words.of_token] == ["sun", "bed"]


@pytest.mark.parametrize(
    "text", ["Well, it's a test.", 'He said: "No way!"', "etc. and so on etc.", "a-b (c) d…"]
)
def test_moses_puts_punctuation_into_the_word_that_it_is_written_in(text: str) -> None:
    tokenizer = learn("moses", lines=(text, *LINES))
    ids = tokenizer.encode(text)
    decoded = tokenizer.decode(ids)
    owners = characters_of_tokens(tokenizer, ids, decoded)
    assert len(owners) == len("".join(decoded.split()))
    assert owners == sorted(owners)
    if decoded == text:
        words = words_of_line(tokenizer, text, ids)
        assert list(words.texts) == text.split()
        assert [
            "".join(
                piece for piece, of in zip(tokenizer.pieces(ids), words.of_token, strict=True) if of == word
            )
            for word in range(len(words.texts))
        ] == text.split()


def test_what_can_be_copied() -> None:
    text = "A Foo <ENT> SUN"
    copied = copied_words(WORDS, text, WORDS.encode(text))
    assert (list(copied.texts), list(copied.of_token)) == (["A", "Foo", "<ENT>", "SUN"], [0, 1, 2, 3])
    # Inside of a word a user symbol is a token of its own, so that there is no raw word for each token.
    copied = copied_words(WORDS, "A Foo<ENT>", WORDS.encode("A Foo<ENT>"))
    assert list(copied.texts) == ["a", "foo", "<ENT>"]
    pieces = learn("sentencepiece")
    text = "a (☃☄), sun"
    copied = copied_words(pieces, text, pieces.encode(text))
    assert list(copied.texts) == ["a", "☃☄", "sun"]


def test_parts_of_a_text() -> None:
    assert places_of_words("a bc d ef", ["a b", "c", " d e", "f "]) == [[0, 1], [1], [2, 3], [3]]
    assert places_of_words("", ["", " "]) == [[], []]


@pytest.mark.parametrize(
    ("word", "core"), [("(foo),", "foo"), ("don't", "don't"), ("...", "..."), ("«a»", "a"), ("", "")]
)
def test_punctuation_around_a_word(word: str, core: str) -> None:
    assert strip_punctuation(word) == core
