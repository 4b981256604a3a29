"""Subwords of SentencePiece models: learned ones limited by a dictionary, and those that a user gives."""

from __future__ import annotations

import io
from functools import cache

import pytest
import sentencepiece
from fairseq_symbols import NUM_SPECIAL, UNK
from hypothesis import example, given, settings
from hypothesis import strategies as st
from learned_tokenizers import ALPHABET, LINES, USER_SYMBOLS, learn

from s2scli.text.tokenizer import load_tokenizer
from s2scli.text.vocabulary import Vocabulary


@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_left_out_subwords_become_unknown(model: str) -> None:
    whole = learn("sentencepiece", model)
    some = learn("sentencepiece", model, threshold=6)
    assert NUM_SPECIAL < len(some) < len(whole)
    assert set(USER_SYMBOLS) < set(some.vocabulary.ordinary_symbols) < set(whole.vocabulary.ordinary_symbols)
    for line in LINES:
        pieces = whole.pieces(whole.encode(line))
        wanted = [piece if piece in some.vocabulary else "<unk>" for piece in pieces]
        assert some.pieces(some.encode(line)) == wanted
    seen = [piece for line in LINES * 5 for piece in whole.pieces(whole.encode(line))]
    frequent = {piece for piece in seen if seen.count(piece) >= 6}
    assert set(some.vocabulary.ordinary_symbols) - set(USER_SYMBOLS) == frequent - set(USER_SYMBOLS)


@cache
def foreign_model(**settings: object) -> bytes:
    """A model as spm_train makes it by default, with normalization of its own."""
    writer = io.BytesIO()
    values: dict = {"vocab_size": 39} | settings
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 5), model_writer=writer, minloglevel=2, **values
    )
    return writer.getvalue()


SPECIAL_IDS = [
    {},
    {"pad_id": 3},
    {"bos_id": 0, "pad_id": 1, "eos_id": 2, "unk_id": 3},
    {"unk_id": 3, "bos_id": 1, "eos_id": 2, "pad_id": 0, "model_type": "bpe"},
    {"user_defined_symbols": "sun", "vocab_size": 400, "byte_fallback": True, "hard_vocab_limit": False},
]


@pytest.mark.parametrize("special", SPECIAL_IDS)
@given(text=st.text(ALPHABET + "ﬁＡ  Ж"))
@example(text="  ﬁne   Ａ sun ")
@settings(max_examples=40, deadline=None)
def test_a_given_model_splits_and_joins_as_sentencepiece_does(special: dict, text: str) -> None:
    model = foreign_model(**special)
    tokenizer = learn(
        "given sentencepiece", given_model=model, user_symbols=(), vocab_size=None, byte_fallback=False
    )
    own = sentencepiece.SentencePieceProcessor(model_proto=model)
    known = {own.id_to_piece(i) for i in range(len(own)) if not own.is_unknown(i) and not own.is_control(i)}
    assert set(tokenizer.vocabulary.ordinary_symbols) == known
    ids = tokenizer.encode(text)
    pieces = own.encode(text, out_type=str)
    assert tokenizer.pieces(ids) == [piece if piece in known else "<unk>" for piece in pieces]
    assert tokenizer.encode_all([text, text]) == [ids, ids]
    assert load_tokenizer(tokenizer.to_bytes()).encode(text) == ids
    if UNK not in ids:
        assert tokenizer.decode(ids) == own.decode(own.encode(text))


def test_a_given_model_with_tags_and_a_dictionary() -> None:
    model = foreign_model()
    tokenizer = learn("given sentencepiece", given_model=model, user_symbols=("<bt>",))
    plain = learn("given sentencepiece", given_model=model, user_symbols=())
    tagged = tokenizer.pieces(tokenizer.encode("<bt> a sun"))
    assert tagged == ["<bt>", *plain.pieces(plain.encode("a sun"))]
    assert tokenizer.decode(tokenizer.encode("<bt> a sun")) == "<bt> a sun"
    some = plain.vocabulary.ordinary_symbols[::2]
    limited = learn(
        "given sentencepiece",
        given_model=model,
        user_symbols=(),
        dictionary=Vocabulary(some, [1] * len(some)),
    )
    text = " ".join(LINES)
    expected = [piece if piece in some else "<unk>" for piece in plain.pieces(plain.encode(text))]
    assert limited.pieces(limited.encode(text)) == expected
