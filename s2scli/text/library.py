"""Tokenizers of the library `tokenizers`, as tokenizer.json describes them: byte-level BPE, WordPiece and others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from s2scli.errors import DataError, UsageError
from s2scli.text.first_symbol import FirstSymbol
from s2scli.text.normalization import Normalization
from s2scli.text.tokenizer import (
    LearningSettings,
    LearningText,
    TokenizerDocument,
    common_parts,
)
from s2scli.text.vocabulary import UNKNOWN_NAME, Vocabulary

_SPACE = "\u2581"


@dataclass(frozen=True, kw_only=True)
class LibraryDocument(TokenizerDocument):
    """A document with the library's own."""

    library: str
    first_symbol: str | None = None


class LibraryTokenizer(FirstSymbol):
    """Splits and joins as the library does; its symbols are those of the vocabulary, in whatever order.

    description: what tokenizer.json holds. first_symbol: what stands before each line, in place of what the library
    would put around it. Raises UsageError where the library is missing, and DataError for a description that it cannot
    read.
    """

    kind = "tokenizers"
    Document = LibraryDocument

    def __init__(
        self,
        description: str,
        vocabulary: Vocabulary,
        normalization: Normalization | None = None,
        user_symbols: Sequence[str] = (),
        *,
        first_symbol: str | None = None,
    ) -> None:
        super().__init__(vocabulary, normalization, user_symbols)
        self.description = description
        self._library = _load(description)
        self.begin_with(first_symbol)
        size = self._library.get_vocab_size(with_added_tokens=True)
        known = (vocabulary.lookup(self._library.id_to_token(number) or "") for number in range(size))
        # The library splits text into it too; typed, it is text that has no symbol.
        self._ours = [self.special.unknown if number == self._first else number for number in known]

    @property
    def library_ids(self) -> dict[str, int]:
        """The library's id of each symbol that it knows."""
        found: dict[str, int] = self._library.get_vocab(with_added_tokens=True)
        return found

    @classmethod
    def learn(cls, corpus: LearningText, settings: LearningSettings, normalization: Normalization) -> Self:
        """Refuse to: such tokenizers come with models of others."""
        del corpus, settings, normalization
        raise UsageError(
            f"--tokenizer {cls.kind}: comes with a model that s2s import reads, and is not learnt here"
        )

    @classmethod
    def from_document(cls, values: Mapping[str, Any]) -> Self:
        """Make a tokenizer from a document that fits its `Document`; DataError where the library cannot read it."""
        return cls(values["library"], *common_parts(values), first_symbol=values.get("first_symbol"))

    def document(self) -> dict[str, Any]:
        """What makes the tokenizer, as JSON values."""
        first = {} if self.first_symbol is None else {"first_symbol": self.first_symbol}
        return super().document() | {"library": self.description} | first

    def _encode_part(self, text: str, *, first: bool) -> list[int]:  # noqa: ARG002 (the library sees no lines)
        return [self._ours[number] for number in self._library.encode(text, add_special_tokens=False).ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Join ids to text; an unknown token shows as <unk>, the other special symbols are skipped."""
        parts: list[str] = []
        known: list[int] = []
        for piece in self._visible_pieces(ids):
            number = None if piece == UNKNOWN_NAME else self._library.token_to_id(piece)
            if number is None:
                parts += [self._joined(known), piece]
                known = []
            else:
                known.append(number)
        return "".join([*parts, self._joined(known)])

    def _joined(self, numbers: list[int]) -> str:
        text: str = self._library.decode(numbers, skip_special_tokens=False) if numbers else ""
        return text

    def token_bytes(self) -> list[bytes]:
        """What each id adds to a text, in UTF-8; nothing for special ones."""
        characters = bytes_of_characters() if '"ByteLevel"' in self.description else {}
        model = json.loads(self.description)["model"]
        # WordPiece marks what goes on with a word.
        goes_on = model.get("continuing_subword_prefix") if model.get("type") == "WordPiece" else None

        def added(symbol: str) -> bytes:
            if characters and all(letter in characters for letter in symbol):
                return bytes(characters[letter] for letter in symbol)
            if goes_on is None:
                return symbol.replace(_SPACE, " ").encode()
            return (symbol.removeprefix(goes_on) if symbol.startswith(goes_on) else f" {symbol}").encode()

        ordinary = [added(symbol) for symbol in self.vocabulary.ordinary_symbols]
        return self.without_text([b""] * self.special.count + ordinary)


def library_symbols(description: str) -> dict[int, str]:
    """The symbols of a tokenizer of the library by its ids; errors as those of LibraryTokenizer."""
    found = _load(description).get_vocab(with_added_tokens=True)
    return {number: symbol for symbol, number in found.items()}


def _load(description: str) -> Any:
    try:
        import tokenizers
    except ImportError:
        raise UsageError(
            "the tokenizer is one of the library tokenizers, which is not installed: pip install 's2scli[tokenizers]'"
        ) from None
    try:
        json.loads(description)
        found = tokenizers.Tokenizer.from_str(description)
        # Descriptions may have lengths of others' batches.
        found.no_truncation()
        found.no_padding()
        return found
    except Exception as error:
        # The library, written in Rust, raises nothing narrower.
        raise DataError(f"no description of a tokenizer: {' '.join(str(error).split())[:80]}") from None


def bytes_of_characters() -> dict[str, int]:
    """The byte that each character of byte-level BPE stands for (Radford et al. 2019).

    Bytes that are visible characters stand for themselves; the others, in order, are the characters from U+0100 on.
    """
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {
        chr(256 + number): byte for number, byte in enumerate(hidden)
    }
