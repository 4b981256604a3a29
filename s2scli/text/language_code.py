"""Subwords of models that know several languages: every line begins with the code of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from s2scli.text.first_symbol import FirstSymbol
from s2scli.text.normalization import Normalization
from s2scli.text.subword import GivenSentencePieceTokenizer, SentencePieceDocument
from s2scli.text.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class LanguageCodeDocument(SentencePieceDocument):
    """A document that says which symbol every line begins with."""

    first_symbol: str


class LanguageCodeTokenizer(FirstSymbol, GivenSentencePieceTokenizer):
    """Splits as a given model of SentencePiece does, and puts the code of a language before each line.

    The code is a symbol of the vocabulary, as `eng_Latn` of NLLB's, `__en__` of M2M-100's and `en_XX` of mBART's.
    """

    kind = "sentencepiece with a language code"
    Document = LanguageCodeDocument

    def __init__(
        self,
        model: bytes,
        vocabulary: Vocabulary,
        normalization: Normalization | None = None,
        user_symbols: Sequence[str] = (),
        *,
        language_code: str,
    ) -> None:
        super().__init__(model, vocabulary, normalization, user_symbols)
        self.begin_with(language_code)

    @classmethod
    def from_document(cls, values: Mapping[str, Any]) -> Self:
        """Make a tokenizer from a document that fits its `Document`; DataError where the model is broken."""
        plain = GivenSentencePieceTokenizer.from_document(values)
        parts = plain.model, plain.vocabulary, plain.normalization, plain.user_symbols
        return cls(*parts, language_code=values["first_symbol"])

    def document(self) -> dict[str, Any]:
        """What makes the tokenizer, as JSON values."""
        return super().document() | {"first_symbol": self.first_symbol}

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each of some lines, with the code before them."""
        found = super().encode_all(texts)
        # With user symbols the lines are encoded one by one, by parts.
        return found if self._symbol_pattern is not None else [[*self._before, *ids] for ids in found]

    def token_bytes(self) -> list[bytes]:
        """What each id adds to a text, in UTF-8; nothing for special ones and the code."""
        return self.without_text(super().token_bytes())
