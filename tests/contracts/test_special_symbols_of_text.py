"""Tokenizers with other special symbols: their documents, and the ids that text has."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from learned_tokenizers import LINES, VARIANTS, learn
from other_symbols import (
    RELABELLED,
    T5_LIKE,
    with_symbols,
)

from s2scli.data.copying import Copying
from s2scli.errors import DataError
from s2scli.text.excluded import TokenTexts
from s2scli.text.subword import SentencePieceTokenizer
from s2scli.text.tokenizer import load_tokenizer
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, SpecialSymbols, Vocabulary
from s2scli.text.word import WordTokenizer
from s2scli.text.words import copied_words, words_of_line

# Text with words and characters that the tokenizers have not learnt.
TEXTS = [*LINES, "a sun Ω and Ωsun xyz"]


def words(symbols: SpecialSymbols, *known: str) -> WordTokenizer:
    return WordTokenizer(Vocabulary(known, [1] * len(known), symbols))


def test_documents_of_fairseqs_symbols_are_what_they_always_were() -> None:
    tokenizer = words(FAIRSEQ_SYMBOLS, "a", "b").replace(vocabulary=Vocabulary(["a", "b"], [2, 1]))
    assert (tokenizer.fingerprint, tokenizer.vocabulary.fingerprint) == (
        "764fd2e81c9c6664",
        "d3ce97b62d52be02",
    )
    assert "special_symbols" not in tokenizer.document()


@pytest.mark.parametrize(("kind", "model"), VARIANTS)
def test_a_document_says_other_symbols(kind: str, model: str) -> None:
    tokenizer = learn(kind, model)
    other = with_symbols(tokenizer, T5_LIKE)
    document = json.loads(other.to_bytes())
    assert document["special_symbols"] == {"start": 0, "end": 1, "padding": 0, "unknown": 2}
    # A program that does not know the entry must not read it.
    assert (document["version"], tokenizer.document()["version"]) == (2, 1)
    again = load_tokenizer(other.to_bytes())
    assert (again.vocabulary, again.fingerprint) == (other.vocabulary, other.fingerprint)
    assert again.special == T5_LIKE
    assert len({item.fingerprint for item in (tokenizer, other, with_symbols(tokenizer, RELABELLED))}) == 3


def test_vocabularies_are_told_apart_by_what_starts_an_output() -> None:
    """Where all symbols have the same names."""
    one, other = (Vocabulary(["a"], [1], replace(FAIRSEQ_SYMBOLS, start=start)) for start in (2, 0))
    assert one.symbols == other.symbols
    assert one != other
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"start": 0, "end": 1, "padding": 0}, "special_symbols.unknown is missing"),
        ({**asdict(T5_LIKE), "mask": 3}, "special_symbols.mask is not known"),
        (
            {**asdict(T5_LIKE), "end": 16},
            "special_symbols.end = 16 is not valid; wanted: a whole number: ≥ 0 and ≤ 15",
        ),
        ({**asdict(T5_LIKE), "start": "0"}, "special_symbols.start = '0' is not valid"),
        ({**asdict(T5_LIKE), "unknown": 1}, "the unknown symbol, 1, is"),
        (None, "special_symbols = .* is not valid; wanted: an object"),
    ],
)
def test_a_broken_entry_is_refused(entry: object, message: str) -> None:
    document = words(T5_LIKE, "a").document() | {"special_symbols": entry}
    with pytest.raises(DataError, match=f"cannot read the tokenizer: {message}"):
        load_tokenizer(json.dumps(document).encode())


@pytest.mark.parametrize(("kind", "model"), VARIANTS)
def test_text_has_the_ids_that_its_symbols_have(kind: str, model: str) -> None:
    """All ordinary ids, and the unknown symbol's, are one less than with fairseq's; what is read from them is equal."""
    tokenizer = learn(kind, model)
    other = with_symbols(tokenizer, T5_LIKE)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        less = [token - 1 for token in ids]
        assert other.encode(text) == less
        assert other.encode_phrase(text) == [token - 1 for token in tokenizer.encode_phrase(text)]
        assert other.pieces(less) == tokenizer.pieces(ids)
        assert other.decode([0, *less, 1, 0, 0]) == tokenizer.decode(ids)
        assert words_of_line(other, text, less) == words_of_line(tokenizer, text, ids)
        assert copied_words(other, text, less) == copied_words(tokenizer, text, ids)
        assert TokenTexts(other).of_phrase(text) == TokenTexts(tokenizer).of_phrase(text)
    assert other.pieces([0, 1, 2]) == ["<pad>", "</s>", "<unk>"]
    assert other.token_bytes() == tokenizer.token_bytes()[1:]
    if isinstance(other, SentencePieceTokenizer) and isinstance(tokenizer, SentencePieceTokenizer):
        assert other.model_ids_in_vocabulary() == tokenizer.model_ids_in_vocabulary()


def test_what_is_copied_between_vocabularies_of_different_special_symbols() -> None:
    source, target = words(FAIRSEQ_SYMBOLS, "a", "b", "c"), words(T5_LIKE, "c", "d")
    copying = Copying(source, target)
    text, reference = "a d x c x", "x c y a"
    ids, read = source.encode(text), target.encode(reference)
    assert (ids, read) == ([4, 3, 3, 6, 3], [2, 3, 2, 2])
    # Of five symbols of the target; "a" and "x" are numbered from 5 on.
    assert copying.pair((ids, text), (read, reference)) == ([5, 4, 6, 3, 6], [6, 3, 2, 5])
