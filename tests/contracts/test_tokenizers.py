"""Every tokenizer: text comes back from its ids, ordinary text never gives special symbols, documents read back."""

from __future__ import annotations

import base64
import json

import pytest
from fairseq_symbols import NUM_SPECIAL, UNK
from hypothesis import example, given, settings
from hypothesis import strategies as st
from learned_tokenizers import ALPHABET, LINES, LOSSLESS, USER_SYMBOLS, VARIANTS, learn

from s2scli.errors import DataError, UsageError
from s2scli.text.normalization import Normalization
from s2scli.text.tokenizer import check_user_symbols, load_tokenizer


@pytest.mark.parametrize(("kind", "model"), LOSSLESS)
@given(text=st.text(ALPHABET))
@example(text=" a  b ")
@example(text="\u25811\u25825\u2582\u2582")
@example(text="<ENT> a<ENT2>  <ENT>")
@example(text=" <ENT>a")
@example(text="</s><unk><s><pad>")
@settings(max_examples=60, deadline=None)
def test_covered_text_comes_back(kind: str, model: str, text: str) -> None:
    tokenizer = learn(kind, model)
    ids = tokenizer.encode(text)
    assert UNK not in ids
    assert tokenizer.decode(ids) == text


@given(text=st.text(ALPHABET))
def test_words_come_back_with_single_spaces(text: str) -> None:
    lines = (text, *LINES)
    tokenizer = learn("word", lines=lines, user_symbols=(), vocab_size=None)
    assert tokenizer.decode(tokenizer.encode(text)) == " ".join(text.split())


@pytest.mark.parametrize(("kind", "model"), VARIANTS)
@given(text=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\n")))
@example(text="</s>")
@example(text="<s> <pad> </s> <unk>")
@example(text="\u2585<s>")
@settings(max_examples=60, deadline=None)
def test_text_never_gives_a_special_id(kind: str, model: str, text: str) -> None:
    tokenizer = learn(kind, model)
    ids = tokenizer.encode(text)
    assert all(UNK <= token < len(tokenizer) for token in ids)
    assert (not ids) == (not (text.split() if kind == "word" else text))


@pytest.mark.parametrize(("kind", "model"), VARIANTS)
def test_special_ids_in_decode(kind: str, model: str) -> None:
    tokenizer = learn(kind, model)
    ids = tokenizer.encode("a bed")
    assert tokenizer.decode([0, *ids, 2, 1, 1]) == tokenizer.decode(ids)
    assert tokenizer.decode([UNK]) == "<unk>"
    assert "<unk>" in tokenizer.decode([*ids, UNK])
    assert "⁇" not in tokenizer.decode([*ids, UNK])
    assert tokenizer.pieces([0, 1, 2, 3]) == ["<s>", "<pad>", "</s>", "<unk>"]
    assert len(tokenizer.pieces(ids)) == len(ids)


@pytest.mark.parametrize(("kind", "model"), VARIANTS)
def test_the_document_reads_back(kind: str, model: str) -> None:
    normalization = Normalization(lowercase=True, stopwords=("the",), unicode_normalization="NFC")
    tokenizer = learn(kind, model, normalization)
    again = load_tokenizer(tokenizer.to_bytes())
    assert again.to_bytes() == tokenizer.to_bytes()
    assert again.fingerprint == tokenizer.fingerprint
    assert (again.kind, again.user_symbols) == (kind, USER_SYMBOLS)
    assert again.normalization == normalization
    assert again.vocabulary == tokenizer.vocabulary
    for line in LINES:
        assert again.encode(line) == tokenizer.encode(line)
        assert again.decode(again.encode(line)) == tokenizer.decode(tokenizer.encode(line))


@pytest.mark.parametrize(("kind", "model"), VARIANTS)
def test_learning_twice_gives_the_same_bytes(kind: str, model: str) -> None:
    first, second = (learn.__wrapped__(kind, model).to_bytes() for _ in range(2))
    assert first == second
    assert first != learn.__wrapped__(kind, model, lines=tuple(LINES[:3])).to_bytes()


@pytest.mark.parametrize(("kind", "model"), VARIANTS)
def test_user_symbols_are_one_token_and_survive_normalization(kind: str, model: str) -> None:
    tokenizer = learn(kind, model, Normalization(lowercase=True, strip_punctuation=True))
    ids = tokenizer.encode("A <ENT> SUN<ENT2>!")
    first, second = (tokenizer.vocabulary.lookup(symbol) for symbol in USER_SYMBOLS)
    assert min(first, second) >= NUM_SPECIAL
    assert (ids.count(first), ids.count(second)) == (1, 1)
    assert tokenizer.decode(ids).replace(" ", "") == "a<ENT>sun<ENT2>"


@pytest.mark.parametrize(("kind", "model"), LOSSLESS)
def test_chinese_without_spaces(kind: str, model: str) -> None:
    tokenizer = learn(kind, model)
    ids = tokenizer.encode("没有中文")
    assert 1 < len(ids) <= 5
    assert tokenizer.decode(ids) == "没有中文"


@pytest.mark.parametrize("model", ["unigram", "bpe"])
@pytest.mark.parametrize(
    "lines", [("a",), (" ",), ("ab ab", "b"), ("中文",), ("</s>",) * 9, ("\u2585x", "\u2581")]
)
def test_a_tiny_corpus_lowers_the_vocabulary_with_a_notice(
    model: str, lines: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    tokenizer = learn.__wrapped__(
        "sentencepiece", model, lines=lines, vocab_size=500, name="source vocabulary"
    )
    assert len(tokenizer) < 50
    for line in lines:
        assert tokenizer.decode(tokenizer.encode(line)) == line
    streams = capfd.readouterr()
    assert streams.out == ""
    assert streams.err.startswith(f"source vocabulary: {len(tokenizer)} symbols instead of 500")
    assert streams.err.count("\n") == 1  # nothing of SentencePiece's own log


@pytest.mark.parametrize("limit", ["vocab_size", "num_words"])
def test_symbols_that_stay_beyond_the_size_are_said(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tuple(f"<{number}>" for number in range(9))
    limits = {"vocab_size": None, limit: 8}
    tokenizer = learn.__wrapped__("word", user_symbols=kept, name="source vocabulary", **limits)
    assert len(tokenizer) == 13
    assert capsys.readouterr().err.startswith(
        "source vocabulary: 13 symbols instead of 8; special symbols and"
    )


@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_a_long_line_is_learned_from(model: str) -> None:
    tokenizer = learn("sentencepiece", model, lines=("x" * 20000 + " ж", "y"), user_symbols=())
    assert UNK not in tokenizer.encode("ж")


def test_too_small_a_vocabulary_says_what_is_needed() -> None:
    with pytest.raises(UsageError, match=r"--vocab-size 10 is too small: .* need (\d+) symbols"):
        learn("sentencepiece", vocab_size=10)


def test_blank_text_teaches_nothing() -> None:
    with pytest.raises(DataError, match="the training text is blank"):
        learn("sentencepiece", lines=("", ""))


def test_a_special_word_of_the_corpus_gets_an_ordinary_id() -> None:
    tokenizer = learn("word", lines=("x </s> y",), user_symbols=())
    ids = tokenizer.encode("x </s> <pad>")
    assert ids[1] >= NUM_SPECIAL
    assert ids[2] == UNK
    assert tokenizer.decode(ids) == "x </s> <unk>"


@pytest.mark.parametrize("symbol", ["", "a b", " x", "</s>", "<pad>"])
def test_what_cannot_be_a_user_symbol(symbol: str) -> None:
    with pytest.raises(UsageError, match="cannot be a symbol to keep whole"):
        check_user_symbols(["<ok>", symbol])


def test_user_symbols_are_taken_once() -> None:
    assert check_user_symbols(["b", "a", "b"]) == ("b", "a")


def broken_documents() -> dict[str, bytes]:
    word = json.loads(learn("word").to_bytes())
    subword = json.loads(learn("sentencepiece").to_bytes())
    changed = {
        "another format": word | {"format": "else"},
        "version": word | {"version": 99},
        "kind": word | {"kind": "words"},
        "no symbols": {key: value for key, value in word.items() if key != "symbols"},
        "counts": word | {"counts": [1]},
        "symbol twice": word | {"symbols": ["a", "a"], "counts": [1, 1]},
        "number as symbol": word | {"symbols": [1], "counts": [1]},
        "unicode form": word | {"normalization": word["normalization"] | {"unicode_normalization": "X"}},
        "not base64": subword | {"model": "§"},
        "not a model": subword | {"model": base64.b64encode(b"junk").decode()},
        "a list": [],
    }
    return {name: json.dumps(document).encode() for name, document in changed.items()} | {
        "not JSON": b"{",
        "not UTF-8": b"\xff\xfe",
        "empty": b"",
    }


@pytest.mark.parametrize("name", broken_documents())
def test_a_broken_document_is_one_clear_error(name: str) -> None:
    with pytest.raises(DataError, match="cannot read the tokenizer"):
        load_tokenizer(broken_documents()[name])


def test_an_unknown_kind_has_a_hint() -> None:
    with pytest.raises(DataError, match="did you mean word"):
        load_tokenizer(broken_documents()["kind"])


ANYTHING = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\n"))


@pytest.mark.parametrize("model", ["unigram", "bpe"])
@given(text=ANYTHING)
@example(text="\u2581\u2582\u2585 ☃ <0xE2> <ENT>é👍")
@settings(max_examples=100, deadline=None)
def test_with_bytes_nothing_is_unknown_and_everything_comes_back(model: str, text: str) -> None:
    for limits in ({}, {"threshold": 3}):
        tokenizer = learn("sentencepiece", model, byte_fallback=True, vocab_size=400, **limits)
        ids = tokenizer.encode(text)
        assert UNK not in ids
        assert tokenizer.decode(ids) == text
        assert load_tokenizer(tokenizer.to_bytes()).encode(text) == ids


def test_bytes_that_are_no_text_are_shown_as_broken() -> None:
    tokenizer = learn("sentencepiece", byte_fallback=True, vocab_size=400)
    lookup = tokenizer.vocabulary.lookup
    assert tokenizer.decode([lookup("<0xE2>"), lookup("<0x98>"), lookup("<0x83>")]) == "☃"
    assert tokenizer.decode([lookup("<0xE2>"), lookup("s"), lookup("<0x83>")]) == "\ufffds\ufffd"
