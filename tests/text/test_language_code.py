"""Lines that begin with a symbol which is no text, as the code of their language."""

from __future__ import annotations

import pytest
from foreign_models import sentencepiece_model, text_lines
from sentencepiece import SentencePieceProcessor

from s2scli.errors import DataError
from s2scli.text.language_code import LanguageCodeTokenizer
from s2scli.text.subword import GivenSentencePieceTokenizer
from s2scli.text.tokenizer import load_tokenizer
from s2scli.text.vocabulary import Vocabulary

MODEL = sentencepiece_model()
NUMBERS = SentencePieceProcessor(model_proto=MODEL)
SYMBOLS = [*(NUMBERS.id_to_piece(number) for number in range(3, len(NUMBERS))), "en_XX", "ro_RO"]
VOCABULARY = Vocabulary(SYMBOLS, [0] * len(SYMBOLS))
PLAIN = GivenSentencePieceTokenizer(MODEL, VOCABULARY)
LINES = [*text_lines(1)[:5], "", " a  b ", "en_XX a"]


@pytest.fixture(params=[(), ("<sep>",)], ids=["plain", "with user symbols"])
def tokenizer(request: pytest.FixtureRequest) -> LanguageCodeTokenizer:
    symbols = [*SYMBOLS, *request.param]
    vocabulary = Vocabulary(symbols, [0] * len(symbols))
    return LanguageCodeTokenizer(MODEL, vocabulary, user_symbols=request.param, language_code="ro_RO")


def test_every_line_begins_with_the_code_and_text_is_without_it(tokenizer: LanguageCodeTokenizer) -> None:
    code = VOCABULARY.lookup("ro_RO")
    for line, ids in zip(LINES, tokenizer.encode_all(LINES), strict=True):
        assert ids == tokenizer.encode(line) == [code, *PLAIN.encode(line)]
        assert tokenizer.decode(ids) == tokenizer.decode([2, *ids, 2]) == PLAIN.decode(PLAIN.encode(line))
    assert tokenizer.token_bytes()[code] == b""


def test_text_that_looks_like_a_code_is_text(tokenizer: LanguageCodeTokenizer) -> None:
    assert VOCABULARY.lookup("en_XX") not in tokenizer.encode("en_XX a")
    code = VOCABULARY.lookup("ro_RO")
    assert code not in tokenizer.encode("ro_RO a")[1:]


def test_phrases_within_a_line_have_no_code(tokenizer: LanguageCodeTokenizer) -> None:
    for line in text_lines(2)[:3]:
        assert tokenizer.encode_phrase(line) == PLAIN.encode_phrase(line)


def test_the_document_reads_back(tokenizer: LanguageCodeTokenizer) -> None:
    again = load_tokenizer(tokenizer.to_bytes())
    assert isinstance(again, LanguageCodeTokenizer)
    assert again.to_bytes() == tokenizer.to_bytes()
    assert again.first_symbol == "ro_RO"
    assert again.encode_all(LINES) == tokenizer.encode_all(LINES)


def test_a_code_that_the_vocabulary_lacks_is_refused() -> None:
    with pytest.raises(DataError, match="has no symbol 'de_DE'"):
        LanguageCodeTokenizer(MODEL, VOCABULARY, language_code="de_DE")
    document = LanguageCodeTokenizer(MODEL, VOCABULARY, language_code="ro_RO").to_bytes()
    with pytest.raises(DataError, match="has no symbol 'de_DE'"):
        load_tokenizer(document.replace(b'"first_symbol":"ro_RO"', b'"first_symbol":"de_DE"'))
