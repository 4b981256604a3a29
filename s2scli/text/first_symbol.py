"""Lines that begin with a symbol which is no text, as the code of their language."""

from __future__ import annotations

from collections.abc import Sequence

from s2scli.errors import DataError
from s2scli.text.tokenizer import EncodePart, Tokenizer


class FirstSymbol(Tokenizer):
    """What tokenizers have in common that put a symbol before each line: of a language, or of the beginning.

    first_symbol: one of the vocabulary, as `eng_Latn`, or None. No text is split into it, and text made of ids is
    without it; an output thus begins with it, whatever else is asked for.
    """

    _first: int | None = None

    def begin_with(self, symbol: str | None) -> None:
        """Put a symbol before each line; DataError where the vocabulary has none such."""
        if symbol is not None and symbol not in self.vocabulary:
            raise DataError(f"the vocabulary has no symbol {symbol!r}, which lines begin with")
        self._first = None if symbol is None else self.vocabulary.lookup(symbol)

    @property
    def first_symbol(self) -> str | None:
        """The symbol that every line begins with."""
        return None if self._first is None else self.vocabulary.symbols[self._first]

    @property
    def _before(self) -> list[int]:
        return [] if self._first is None else [self._first]

    def encode_parts(self, parts: Sequence[str], encode_part: EncodePart | None = None) -> list[int]:
        """The first symbol, and the ids of a line that `Normalization.split` has normalized."""
        return [*self._before, *super().encode_parts(parts, encode_part)]

    def encode_phrase(self, phrase: str) -> list[int]:
        """The ids of a phrase as they stand within a line, where nothing is put before them."""
        return super().encode_phrase(phrase)[len(self._before) :]

    def needed_beside(self, ids: Sequence[int]) -> set[int]:
        """The ids that a smaller vocabulary needs beside some, the first symbol among them."""
        return {*super().needed_beside(ids), *self._before}

    def shown(self, ids: Sequence[int]) -> Sequence[int]:
        """The ids that text is made of, without special ones that are never shown, and without the first symbol."""
        visible = [token for token in ids if token not in self.special.never_shown]
        return visible[1:] if self._before and visible[:1] == self._before else visible

    def _visible_pieces(self, ids: Sequence[int]) -> list[str]:
        return self.pieces(self.shown(ids))

    def without_text(self, found: list[bytes]) -> list[bytes]:
        """What each id adds to a text, nothing for the first symbol."""
        if self._first is not None:
            found[self._first] = b""
        return found
