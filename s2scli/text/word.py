"""Words, or ready-made pieces of words, between white space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from s2scli.schema import setting
from s2scli.text.normalization import Normalization
from s2scli.text.pieces import NONE, PIECES, join_pieces, text_of_piece
from s2scli.text.tokenizer import LearningSettings, SplittingTokenizer, TokenizerDocument, common_parts
from s2scli.text.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class WordDocument(TokenizerDocument):
    """A document that may say in what pieces of words lines come."""

    pieces: str | None = setting(None, "kind of pieces", choices=PIECES)


class WordTokenizer(SplittingTokenizer):
    """Splits at white space and joins with one space; a user symbol inside a word is cut out of it.

    pieces: where the text comes in pieces of words, their kind (see text/pieces.py), by which `decode` joins them to
    words; None: nobody has said, which is as good as `none`.
    """

    kind = "word"
    Document = WordDocument
    separator = " "

    def __init__(
        self,
        vocabulary: Vocabulary,
        normalization: Normalization | None = None,
        user_symbols: Iterable[str] = (),
        pieces: str | None = None,
    ) -> None:
        super().__init__(vocabulary, normalization, user_symbols)
        self.told_pieces = pieces
        self.piece_kind = pieces or NONE

    @classmethod
    def _blank(cls, settings: LearningSettings, normalization: Normalization) -> Self:
        return cls(Vocabulary((), ()), normalization, settings.user_symbols, settings.pieces)

    @classmethod
    def from_document(cls, values: Mapping[str, Any]) -> Self:
        """Make a tokenizer from a document that fits its `Document`."""
        return cls(*common_parts(values), values.get("pieces"))

    def document(self) -> dict[str, Any]:
        """What makes the tokenizer, as JSON values; those of text in whole words are as they always were."""
        pieces = {} if self.told_pieces is None else {"pieces": self.told_pieces}
        return super().document() | pieces

    def of_pieces(self, kind: str) -> Self:
        """The same tokenizer for text that comes in such pieces."""
        return type(self)(self.vocabulary, self.normalization, self.user_symbols, kind)

    def split(self, text: str) -> list[str]:
        """The words of a text."""
        return text.split()

    def decode(self, ids: Sequence[int]) -> str:
        """Join ids to whole words; an unknown token shows as <unk>, the other special symbols are skipped."""
        return join_pieces(super().decode(ids), self.piece_kind)

    def token_bytes(self) -> list[bytes]:
        """What each id adds to a text, in UTF-8; nothing for special ones."""
        symbols = (*self.vocabulary.ordinary_symbols, *self._own_words)
        return [b""] * self.special.count + [
            text_of_piece(symbol, self.piece_kind).encode() for symbol in symbols
        ]
