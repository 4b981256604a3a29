"""Which symbols of one vocabulary are symbols of another, and how the other spells those that it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import SpecialSymbols


@dataclass(frozen=True)
class SymbolMatch:
    """Where the symbols of a vocabulary are in another one, by their ids.

    same: own id → the id of the same symbol there, special symbols by what they are for. spelled: own id → the ids of
    the pieces that the other tokenizer splits the symbol's text into, none of them unknown. size: how many symbols the
    own vocabulary has, num_special: how many of them, the first ones, are special. What is in neither is new.
    """

    same: dict[int, int]
    spelled: dict[int, tuple[int, ...]]
    size: int
    num_special: int

    @property
    def num_ordinary(self) -> int:
        """How many symbols are not special."""
        return self.size - self.num_special

    @property
    def num_shared(self) -> int:
        """How many ordinary symbols both vocabularies have."""
        return sum(1 for number in self.same if number >= self.num_special)


def match_symbols(own: Tokenizer, other: Tokenizer) -> SymbolMatch:
    """Look for the symbols of one tokenizer's vocabulary in that of another, whatever kinds the two are of.

    Symbols are the same where they add the same to a text: the word `cat` is the piece `▁cat` of SentencePiece.
    """
    same = dict(_special(own.special, other.special))
    spelled: dict[int, tuple[int, ...]] = {}
    own_bytes, other_bytes = own.token_bytes(), other.token_bytes()
    by_bytes = {data: number for number, data in reversed([*enumerate(other_bytes)]) if data}
    for number, symbol in enumerate(own.vocabulary.ordinary_symbols, start=own.special.count):
        there = other.vocabulary.lookup(symbol)
        # What adds nothing to a text, as the code of a language, is told by its name.
        if symbol in other.vocabulary and (
            own_bytes[number] == other_bytes[there] or not (own_bytes[number] and other_bytes[there])
        ):
            same[number] = there
        elif own_bytes[number] in by_bytes:
            same[number] = by_bytes[own_bytes[number]]
        elif pieces := _pieces(own_bytes[number], other):
            spelled[number] = pieces
    return SymbolMatch(same, spelled, len(own), own.special.count)


def _special(own: SpecialSymbols, other: SpecialSymbols) -> Iterator[tuple[int, int]]:
    """Each special id that stands for something, with the id that does the same in the other vocabulary."""
    found = {
        getattr(own, role): getattr(other, role)
        # The last of the roles that one id has is the one that counts.
        for role in ("start", "padding", "unknown", "end")
    }
    yield from found.items()


def _pieces(text: bytes, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids of the pieces that a tokenizer splits a symbol's text into; nothing where it knows not all of them."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return ()
    if not decoded.strip():
        return ()
    ids = tokenizer.encode_phrase(decoded) if decoded[0] == " " else tokenizer.encode_inside(decoded)
    return () if tokenizer.special.unknown in ids else tuple(ids)
