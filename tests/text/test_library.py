"""Tokenizers of the library `tokenizers`."""

from __future__ import annotations

import sys

import pytest
from foreign_models import text_lines

from s2scli.errors import DataError, UsageError
from s2scli.text.library import LibraryTokenizer
from s2scli.text.tokenizer import load_tokenizer
from s2scli.text.vocabulary import SpecialSymbols, Vocabulary

SPECIAL = SpecialSymbols(padding=0, end=1, start=1, unknown=2)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UsageError, match=r"pip install 's2scli\[tokenizers\]'"):
        LibraryTokenizer("{}", Vocabulary((), (), SPECIAL))


def test_byte_level_pieces_are_split_joined_and_read_back() -> None:
    library = pytest.importorskip("tokenizers", reason="the extra tokenizers is not installed")
    learnt = library.ByteLevelBPETokenizer()
    learnt.train_from_iterator([*text_lines(1), "Stück für Stück"], vocab_size=330, show_progress=False)
    symbols = sorted(learnt.get_vocab(), reverse=True)
    vocabulary = Vocabulary(["<s>", *symbols], [0] * (1 + len(symbols)), SPECIAL)
    tokenizer = LibraryTokenizer(learnt.to_str(), vocabulary, first_symbol="<s>")
    again = load_tokenizer(tokenizer.to_bytes())
    for line in (*text_lines(2)[:4], "Stück, 中文", ""):
        ids = tokenizer.encode(line)
        assert tokenizer.pieces(ids) == ["<s>", *learnt.encode(line).tokens]
        assert tokenizer.decode([*ids, 1]) == line
        assert b"".join(tokenizer.token_bytes()[token] for token in ids).decode() == line
        assert again.encode(line) == ids
    assert tokenizer.decode([3, 2]) == "<unk>"
    with pytest.raises(DataError, match="no description of a tokenizer"):
        LibraryTokenizer('{"model": 3}', vocabulary)


def test_pieces_of_word_piece_are_joined_to_words() -> None:
    library = pytest.importorskip("tokenizers", reason="the extra tokenizers is not installed")
    learnt = library.BertWordPieceTokenizer()
    learnt.train_from_iterator(text_lines(1), vocab_size=120, show_progress=False)
    # Lengths of others' batches, which descriptions may have, say nothing of lines here.
    learnt.enable_truncation(3)
    learnt.enable_padding(length=20)
    symbols = [symbol for symbol in sorted(learnt.get_vocab()) if symbol != "[UNK]"]
    vocabulary = Vocabulary(symbols, [0] * len(symbols), SPECIAL)
    tokenizer = LibraryTokenizer(learnt.to_str(), vocabulary, first_symbol="[CLS]")
    assert tokenizer.pieces(tokenizer.encode("[CLS]")) == ["[CLS]", "<unk>"]
    learnt.no_truncation()
    learnt.no_padding()
    for line in text_lines(2)[:4]:
        ids = tokenizer.encode(line)
        assert tokenizer.pieces(ids) == ["[CLS]", *learnt.encode(line).tokens]
        assert tokenizer.decode([*ids, 1]) == line
        assert b"".join(tokenizer.token_bytes()[token] for token in ids).decode() == f" {line}"
