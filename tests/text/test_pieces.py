"""Pieces of words, as subword-nmt and SentencePiece write them, and the words that they are of."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import pytest
from fairseq_symbols import UNK

from s2scli.errors import DataError
from s2scli.text.excluded import ExcludedPhrases, TokenTexts
from s2scli.text.pieces import join_pieces, recognize, words_of_pieces
from s2scli.text.tokenizer import load_tokenizer
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer
from s2scli.text.words import copied_words

MULTI30K = Path(__file__).resolve().parents[3] / "shared/data/multi30k_bpe"
KINDS = ("subword-nmt", "sentencepiece")


def cut(words: list[str], kind: str, seed: int) -> list[str]:
    """Words in pieces of one to three characters, marked as the kind has it."""
    draw, pieces = random.Random(seed), []
    for word in words:
        own, rest = [], word
        while rest:
            size = draw.randint(1, 3)
            own.append(rest[:size])
            rest = rest[size:]
        if kind == "subword-nmt":
            pieces += [f"{piece}@@" for piece in own[:-1]] + own[-1:]
        else:
            pieces += [f"\u2581{own[0]}", *own[1:]]
    return pieces


@pytest.mark.parametrize("kind", KINDS)
def test_words_that_were_cut_are_joined_again(kind: str) -> None:
    for seed in range(50):
        words = random.Random(seed).choices(["straße", "a", "the", "@", "x@y", "wörter", "12.5"], k=7)
        pieces = cut(words, kind, seed)
        assert join_pieces(" ".join(pieces), kind) == " ".join(words)
        of_word: list[list[str]] = [[] for _ in words]
        for piece, word in zip(pieces, words_of_pieces(pieces, kind), strict=True):
            of_word[word].append(piece)
        assert [join_pieces(" ".join(own), kind) for own in of_word] == words


def test_pieces_are_joined_as_fairseq_joins_them() -> None:
    """fairseq/data/data_utils.py: post_process; a line that breaks off within a word keeps what it has."""
    assert join_pieces("die st@@ ra@@ sse .", "subword-nmt") == "die strasse ."
    assert join_pieces("die st@@", "subword-nmt") == "die st"
    assert join_pieces("st@@ <unk> x", "subword-nmt") == "st<unk> x"
    assert join_pieces("\u2581die \u2581st ra sse .", "sentencepiece") == "die strasse."
    assert join_pieces("st@@ ra@@ \u2581x", "none") == "st@@ ra@@ \u2581x"
    assert [join_pieces("", kind) for kind in KINDS] == ["", ""]


def test_text_shows_that_it_is_in_pieces() -> None:
    words = ["a@b.c", "@@", "mail", "to", "x"] * 3 + ["word"] * 200
    assert recognize([" ".join(words)])[0] == "none"
    for kind in KINDS:
        assert recognize([" ".join(cut(["straße", "the", "a"], kind, 1))])[0] == kind
    assert recognize([]) == ("none", 0.0)


@pytest.mark.skipif(not MULTI30K.is_dir(), reason=f"needs {MULTI30K}, which is not part of this repository")
@pytest.mark.parametrize(("language", "share"), [("en", 0.05), ("de", 0.1)])
def test_a_real_corpus_with_ten_thousand_merges_shows_it(language: str, share: float) -> None:
    with (MULTI30K / f"train.{language}").open(encoding="utf-8") as stream:
        kind, found = recognize(islice(stream, 10_000))
    assert kind == "subword-nmt"
    assert found == pytest.approx(share, abs=0.01)


PIECES = ["st@@", "ra@@", "sse", "und", "an@@"]
TOKENIZER = WordTokenizer(Vocabulary(PIECES, [1] * len(PIECES)), pieces="subword-nmt")


def test_a_tokenizer_of_pieces_writes_words_and_reads_back() -> None:
    ids = TOKENIZER.encode("st@@ ra@@ sse und an@@ sse")
    assert UNK not in ids
    assert TOKENIZER.decode(ids) == "strasse und ansse"
    assert TOKENIZER.pieces(ids)[:3] == ["st@@", "ra@@", "sse"]
    again = load_tokenizer(TOKENIZER.to_bytes())
    assert again.decode(ids) == "strasse und ansse"
    assert again.fingerprint == TOKENIZER.fingerprint
    broken = TOKENIZER.to_bytes().replace(b'"subword-nmt"', b'"bpe"')
    with pytest.raises(DataError, match="pieces = 'bpe' is not valid"):
        load_tokenizer(broken)


def test_a_tokenizer_that_was_not_told_is_as_it_always_was() -> None:
    """So that the datasets and checkpoints that there are have the fingerprints that they had."""
    old = WordTokenizer(Vocabulary(PIECES, [1] * len(PIECES)))
    assert b"pieces" not in old.to_bytes()
    assert load_tokenizer(old.to_bytes()).decode(old.encode("st@@ ra@@ sse")) == "st@@ ra@@ sse"


def test_excluded_words_are_found_in_their_pieces() -> None:
    texts = TokenTexts(TOKENIZER)
    excluded = ExcludedPhrases(texts, [texts.of_phrase("strasse")])
    assert excluded.occurs_in(TOKENIZER.encode("und st@@ ra@@ sse"))
    assert not excluded.occurs_in(TOKENIZER.encode("an@@ st@@ ra@@ sse"))
    assert not excluded.occurs_in(TOKENIZER.encode("st@@ sse und"))


def test_what_stands_in_for_an_unknown_piece_is_a_whole_word() -> None:
    line = "und mü@@ ller sse"
    ids = TOKENIZER.encode(line)
    words = copied_words(TOKENIZER, line, ids)
    assert [words.texts[word] for word in words.of_token] == ["und", "müller", "müller", "sse"]
