"""Vocabularies of other toolkits: which symbol each of their ids is, and in what order of them special ones come first.

Ours has all special symbols before the ordinary ones. Where theirs has not, rows of embeddings are put into our order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from s2scli.console import counted
from s2scli.errors import CheckpointError
from s2scli.foreign.weights import SAME, Layout, Ordered, Same
from s2scli.text.vocabulary import SpecialSymbols, Vocabulary

# Fairseq's symbols, before the pieces.
_FIRST = {0: "<s>", 1: "<pad>", 2: "</s>", 3: "<unk>"}

# Embeddings without a symbol: some models have a few, so that their number is a multiple of 64 or 128.
_MOST_UNUSED = 256


@dataclass(frozen=True, kw_only=True)
class SpecialIds:
    """Their ids of the symbols that are special; others: further ones that stand for no text, as `<s>`."""

    start: int
    end: int
    padding: int
    unknown: int
    others: tuple[int, ...] = ()


@dataclass(frozen=True)
class OrderedVocabulary:
    """A vocabulary of ours, and for each of our ids theirs."""

    vocabulary: Vocabulary
    order: tuple[int, ...]

    @property
    def is_same(self) -> bool:
        """Whether the ids are theirs."""
        return self.order == tuple(range(len(self.order)))

    def rows(self, copies: int = 1) -> Layout:
        """How a tensor with a row for each symbol is laid out, that has so many names."""
        if self.is_same:
            return SAME if copies == 1 else Same(copies)
        return Ordered(self.order, copies)


def ordered_vocabulary(
    symbols: Mapping[int, str], size: int, special: SpecialIds, path: Path, *, is_padded: bool = False
) -> OrderedVocabulary:
    """The vocabulary of so many ids.

    symbols: by their ids, special ones among them under any name; path: where they are from, for messages. is_padded:
    whether there may be some ids without a symbol, which then stand for nothing that text could hold. Raises
    CheckpointError for ids beyond the size, or missing.
    """
    ids = dict.fromkeys((*special.others, special.padding, special.end, special.unknown, special.start))
    if beyond := [number for number in (*symbols, *ids) if not 0 <= number < size]:
        raise CheckpointError(
            f"{path}: has ids up to {max(beyond):,}, and the model embeddings of {counted(size, 'symbol')}: they are "
            "not of one model"
        )
    known = len(symbols.keys() | ids.keys())
    if size - known > (_MOST_UNUSED if is_padded else 0):
        raise CheckpointError(
            f"{path}: has {counted(known, 'symbol')}, and the model embeddings of {size:,}: they are not of one model"
        )
    first = sorted(ids)
    order = (*first, *(number for number in range(size) if number not in ids))
    ours = {number: index for index, number in enumerate(order)}
    taken: set[str] = set()
    ordinary = [
        _distinct(symbols.get(number, f"<unused {number}>"), number, taken) for number in order[len(first) :]
    ]
    found = SpecialSymbols(
        start=ours[special.start],
        end=ours[special.end],
        padding=ours[special.padding],
        unknown=ours[special.unknown],
    )
    if found.count != len(first):
        raise CheckpointError(
            f"{path}: has special symbols, {first}, whose last is none that a model reads or writes"
        )
    return OrderedVocabulary(Vocabulary(ordinary, [0] * len(ordinary), found), order)


def unread_start(symbols: Mapping[int, str], unknown: int) -> tuple[int, ...]:
    """The id of a `<s>` that stands among the special symbols, of which that of the unknown one is the last."""
    return tuple(number for number, symbol in symbols.items() if symbol == "<s>" and number < unknown)


def _distinct(symbol: str, number: int, taken: set[str]) -> str:
    """A symbol that no id has yet: of those that are there twice, text finds the first."""
    symbol = symbol if symbol not in taken else f"<unused {number}>"
    taken.add(symbol)
    return symbol


def pieces_of(model: bytes) -> list[str]:
    """The pieces of a SentencePiece model by its ids."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [processor.id_to_piece(number) for number in range(len(processor))]


def numbered(symbols: Sequence[str], first: int = 0) -> dict[int, str]:
    """Symbols by their ids, from the first on."""
    return dict(enumerate(symbols, start=first))


def fairseq_symbols(pieces: Sequence[str]) -> dict[int, str]:
    """Symbols by their ids as in fairseq: its special ones, and the pieces of a model of SentencePiece without its own.

    Those are `<unk>`, `<s>` and `</s>`, the first three.
    """
    return _FIRST | dict(enumerate(pieces[3:], start=len(_FIRST)))
