"""Tokenizers as tokenizer.json: the library splits text into the same ids, and joins them to the same text."""

from __future__ import annotations

from typing import Any

import pytest
from foreign_models import sentencepiece_model, text_lines

from s2scli.errors import UsageError
from s2scli.exporting.library_tokenizer import describe, library_order
from s2scli.text.language_code import LanguageCodeTokenizer
from s2scli.text.normalization import Normalization
from s2scli.text.piece_model import read_piece_model, with_space_before
from s2scli.text.subword import GivenSentencePieceTokenizer, SentencePieceTokenizer
from s2scli.text.tokenizer import LearningSettings, Tokenizer
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer

LINES = [
    *text_lines(5, 30),
    "",
    "a",
    "an unknown \u65e5\u672c in between",
    "two  spaces, and  three   of them",
    "caf\u00e9 \u2582 \u2581 \u2585 \u25821",
]


def learnt(kind: type[Tokenizer] = SentencePieceTokenizer, **settings: Any) -> Tokenizer:
    lines = [[line] for line in text_lines(1)]
    return kind.learn(lambda: iter(lines), LearningSettings(**settings), Normalization())


def given(**settings: Any) -> Tokenizer:
    model = sentencepiece_model(1, **settings)
    pieces = read_piece_model(model).pieces
    return GivenSentencePieceTokenizer(model, Vocabulary(pieces[3:], [0] * (len(pieces) - 3)))


KINDS = {
    "unigram": lambda: learnt(vocab_size=90),
    "byte-pair encoding": lambda: learnt(vocab_size=90, sentencepiece_model="bpe"),
    "bytes": lambda: learnt(vocab_size=400, byte_fallback=True),
    "bytes, byte-pair encoding": lambda: learnt(
        vocab_size=400, sentencepiece_model="bpe", byte_fallback=True
    ),
    "given": given,
    "given, byte-pair encoding": lambda: given(model_type="bpe"),
    "words": lambda: learnt(WordTokenizer),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_library_gives_the_same_ids_and_the_same_text(kind: str) -> None:
    library = pytest.importorskip("tokenizers", reason="the extra tokenizers is not installed")
    tokenizer = KINDS[kind]()
    theirs = library.Tokenizer.from_str(describe(tokenizer))
    for line in LINES:
        ids = tokenizer.encode(line)
        assert theirs.encode(line).ids == [*ids, tokenizer.special.end], line
        if tokenizer.special.unknown not in ids:
            assert theirs.decode(ids) == tokenizer.decode(ids)


def test_a_code_stands_before_each_line() -> None:
    library = pytest.importorskip("tokenizers", reason="the extra tokenizers is not installed")
    model = sentencepiece_model(1)
    symbols = [*read_piece_model(model).pieces[3:], "en_XX", "ro_RO"]
    vocabulary = Vocabulary(symbols, [0] * len(symbols))
    tokenizer = LanguageCodeTokenizer(model, vocabulary, language_code="ro_RO")
    theirs = library.Tokenizer.from_str(describe(tokenizer))
    line = LINES[0]
    assert theirs.encode(line).ids == [*tokenizer.encode(line), vocabulary.special.end]
    assert theirs.encode(line).tokens[0] == "ro_RO"
    assert theirs.decode(theirs.encode(line).ids) == line


def test_what_the_library_cannot_do_is_said() -> None:
    learnt_words = learnt(WordTokenizer)
    lower = learnt_words.replace(normalization=Normalization(lowercase=True))
    for tokenizer, message in (
        (lower, "it normalizes text before"),
        (learnt(vocab_size=90, threshold=30), "its vocabulary leaves out pieces of its model, as "),
        (learnt(WordTokenizer, user_symbols=("<x>",)), "it cuts symbols out of words, as '<x>'"),
    ):
        with pytest.raises(UsageError, match=message):
            describe(tokenizer)
    assert library_order(lower) is None


def test_a_model_that_is_given_a_space_before_text_is_the_same_otherwise() -> None:
    """Fields of a protocol buffer that come again replace those before, one by one."""
    tokenizer = learnt(vocab_size=90)
    assert isinstance(tokenizer, SentencePieceTokenizer)
    before, after = read_piece_model(tokenizer.model), read_piece_model(with_space_before(tokenizer.model))
    assert (before.begins_with_space, after.begins_with_space) == (False, True)
    assert (before.pieces, before.scores, before.types) == (after.pieces, after.scores, after.types)
    assert before.has_single_spaces is after.has_single_spaces is False
    given = GivenSentencePieceTokenizer(with_space_before(tokenizer.model), tokenizer.vocabulary)
    for line in text_lines(5, 20):
        assert given.encode(line) == tokenizer.encode(line)
        assert given.decode(given.encode(line)) == line
