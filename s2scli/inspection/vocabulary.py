"""Vocabularies, described: their kind and size, what is frequent, what never occurs, and what two have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from s2scli.inspection.lengths import Counts
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import SpecialSymbols

_NUM_FREQUENT = 20


@dataclass(frozen=True, kw_only=True)
class SymbolCount:
    """A symbol and how often it occurs."""

    symbol: str
    count: int


@dataclass(frozen=True, kw_only=True)
class VocabularyReport:
    """The vocabulary and tokenizer of one side.

    size: symbols, special ones included. special: the ids of the special ones. fingerprint: of the symbols in their
    order; tokenizer_fingerprint: of all that makes the tokenizer. Of the split that was examined, None and empty for a
    checkpoint: num_unused, ordinary symbols that never occur; frequent, the ordinary symbols that occur most, the first
    ids first among equals.
    """

    tokenizer: str
    size: int
    special: SpecialSymbols
    fingerprint: str
    tokenizer_fingerprint: str
    user_symbols: tuple[str, ...]
    normalization: dict[str, Any]
    num_unused: int | None = None
    frequent: list[SymbolCount] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class OverlapReport:
    """What the vocabularies of two sides have in common.

    identical: whether they are the same symbols in the same order, as with --joined-dictionary. num_shared: ordinary
    symbols in both. num_unused: where they are identical and a split was examined, symbols that occur on neither side.
    """

    identical: bool
    num_shared: int
    num_unused: int | None


def describe_vocabulary(tokenizer: Tokenizer, counts: Counts | None = None) -> VocabularyReport:
    """Describe a tokenizer and its vocabulary; counts: how often each id occurs, [V]."""
    report = VocabularyReport(
        tokenizer=tokenizer.kind,
        size=len(tokenizer),
        special=tokenizer.special,
        fingerprint=tokenizer.vocabulary.fingerprint,
        tokenizer_fingerprint=tokenizer.fingerprint,
        user_symbols=tokenizer.user_symbols,
        normalization=asdict(tokenizer.normalization),
    )
    if counts is None:
        return report
    ordinary, symbols = counts[tokenizer.special.count :], tokenizer.vocabulary.ordinary_symbols
    order = np.argsort(-ordinary, kind="stable")[:_NUM_FREQUENT]
    frequent = [SymbolCount(symbol=symbols[row], count=int(ordinary[row])) for row in order if ordinary[row]]
    return VocabularyReport(
        **(vars(report) | {"num_unused": int((ordinary == 0).sum()), "frequent": frequent})
    )


def describe_overlap(
    sides: Mapping[str, Tokenizer], counts: Mapping[str, Counts] | None = None
) -> OverlapReport:
    """Compare the vocabularies of two sides; counts: how often each id occurs on a side, [V]."""
    one, other = (tokenizer.vocabulary for tokenizer in sides.values())
    identical = one.fingerprint == other.fingerprint
    unused = None
    if identical and counts is not None:
        both = sum(counts[side][one.special.count :] for side in sides)
        unused = int(np.count_nonzero(both == 0))
    return OverlapReport(
        identical=identical,
        num_shared=len(set(one.ordinary_symbols) & set(other.ordinary_symbols)),
        num_unused=unused,
    )
