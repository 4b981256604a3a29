"""The symbols a model knows, their ids and their counts; fairseq's dictionary files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from s2scli.console import counted
from s2scli.errors import DataError
from s2scli.io import read_lines
from s2scli.schema import setting

# What the unknown symbol is called in every vocabulary.
UNKNOWN_NAME = "<unk>"
# What documents call special symbols.
_ENTRY = "special_symbols"
# The most ids that a vocabulary may set apart for special symbols.
_MOST_SPECIAL = 16


@dataclass(frozen=True, kw_only=True)
class SpecialSymbols:
    """The ids of a vocabulary's special symbols, which come before all ordinary ones.

    start: what the decoder reads first; it may be the end symbol, as in fairseq, or padding, as in T5. end: what ends
    a sequence. padding: what fills the rows of a batch up. unknown: what stands for text without a symbol of its own.
    Ids below the largest of these that are none of them stand for nothing.

    Raises DataError where the unknown symbol is another one too.
    """

    CLOSED = True

    start: int = setting(..., "what the decoder reads first", at_least=0, at_most=_MOST_SPECIAL - 1)
    end: int = setting(..., "what ends a sequence", at_least=0, at_most=_MOST_SPECIAL - 1)
    padding: int = setting(..., "what fills the rows of a batch up", at_least=0, at_most=_MOST_SPECIAL - 1)
    unknown: int = setting(
        ..., "what stands for text without a symbol of its own", at_least=0, at_most=_MOST_SPECIAL - 1
    )

    def __post_init__(self) -> None:
        if self.unknown in (self.start, self.end, self.padding):
            raise DataError(f"the unknown symbol, {self.unknown}, is the start, the end or padding too")

    @property
    def count(self) -> int:
        """How many ids come before the first ordinary symbol."""
        return max(self.start, self.end, self.padding, self.unknown) + 1

    @property
    def never_predicted(self) -> tuple[int, ...]:
        """The ids, ascending, that no output holds: all special ones but the end and the unknown symbol."""
        return tuple(token for token in range(self.count) if token not in (self.end, self.unknown))

    @cached_property
    def never_shown(self) -> frozenset[int]:
        """The ids that decoding to text skips: all special ones but the unknown symbol."""
        return frozenset(range(self.count)) - {self.unknown}

    @property
    def zero_row(self) -> int | None:
        """The id whose embedding stays zero: padding; None where that is read too, as the start or the end."""
        return None if self.padding in (self.start, self.end) else self.padding

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the special ids in their order: `<pad>`, `</s>`, `<unk>`, and `<s>` for any other."""
        names = {self.padding: "<pad>", self.end: "</s>", self.unknown: UNKNOWN_NAME}
        return tuple(names.get(token, "<s>") for token in range(self.count))


# The special symbols of vocabularies that say nothing else: `<s>`, which no model reads, `<pad>`, `</s>` and `<unk>`.
FAIRSEQ_SYMBOLS = SpecialSymbols(start=2, end=2, padding=1, unknown=3)


def special_symbols_of(values: Mapping[str, Any]) -> SpecialSymbols:
    """The special symbols that a checked document says, those of fairseq where it says none.

    Raises DataError where the unknown symbol is another one too.
    """
    return SpecialSymbols(**values[_ENTRY]) if _ENTRY in values else FAIRSEQ_SYMBOLS


def entry_of(special: SpecialSymbols) -> dict[str, Any]:
    """What a document says of special symbols: one entry, or nothing of those of fairseq."""
    return {} if special == FAIRSEQ_SYMBOLS else {_ENTRY: asdict(special)}


class Vocabulary:
    """Symbols with ids: first the special ones, then the ordinary ones.

    special: the ids of the special ones, by default 0 to 3 as in fairseq. `symbols` and `counts` hold the ordinary
    symbols, which may be spelled as a special one is: looking a symbol up finds ordinary ones only, so that a typed
    `</s>` is text.
    """

    def __init__(
        self, symbols: Sequence[str], counts: Sequence[int], special: SpecialSymbols = FAIRSEQ_SYMBOLS
    ) -> None:
        if len(symbols) != len(counts):
            raise ValueError(f"{counted(len(symbols), 'symbol')}, {counted(len(counts), 'count')}")
        self.special = special
        self.symbols = (*special.names, *symbols)
        self.counts = (*[0] * special.count, *counts)
        self._ids = {symbol: number for number, symbol in enumerate(symbols, start=special.count)}
        if len(self._ids) != len(symbols):
            twice = next(symbol for symbol, count in Counter(symbols).items() if count > 1)
            raise DataError(f"the symbol {twice!r} is in the vocabulary twice")

    def __len__(self) -> int:
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.symbols, self.counts, self.special) == (
            other.symbols,
            other.counts,
            other.special,
        )

    def __hash__(self) -> int:
        return hash(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    def with_counts(self, counts: Sequence[int]) -> Vocabulary:
        """The same symbols, of which the ordinary ones occur so often."""
        return Vocabulary(self.ordinary_symbols, counts, self.special)

    @property
    def ordinary_symbols(self) -> tuple[str, ...]:
        """The symbols without the special ones."""
        return self.symbols[self.special.count :]

    @property
    def ordinary_counts(self) -> tuple[int, ...]:
        """How often each ordinary symbol is in the training text; 0 where it was not counted."""
        return self.counts[self.special.count :]

    @property
    def fingerprint(self) -> str:
        """A short hash of the symbols in their order and of which are special; equal where ids mean the same."""
        # Of fairseq's special symbols nothing is said, as in documents.
        special = [f"{role} {token}" for role, token in entry_of(self.special).get(_ENTRY, {}).items()]
        return hashlib.sha256("\n".join([*self.symbols, *special]).encode()).hexdigest()[:16]

    def lookup(self, symbol: str) -> int:
        """The id of an ordinary symbol, that of the unknown symbol where there is none."""
        return self._ids.get(symbol, self.special.unknown)

    def to_dict_txt(self) -> str:
        """The vocabulary as fairseq's dict.txt, 'symbol count' a line, without the special symbols."""
        pairs = zip(self.ordinary_symbols, self.ordinary_counts, strict=True)
        return "".join(f"{symbol} {count}\n" for symbol, count in pairs)


def read_dict_txt(path: Path) -> Vocabulary:
    """Read fairseq's dict.txt, whose special symbols are fairseq's; a symbol may hold spaces.

    Raises DataError, naming the line, for a line without a count or a symbol that is there twice.
    """
    counts: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        symbol, _, count = line.removesuffix(" #fairseq:overwrite").rpartition(" ")
        if not symbol or not count.isdecimal():
            raise DataError(f"{path}:{number}: {line!r} is not a symbol, a space and a count")
        if symbol in counts:
            raise DataError(f"{path}:{number}: the symbol {symbol!r} is there twice; remove one of the lines")
        counts[symbol] = int(count)
    return Vocabulary(tuple(counts), tuple(counts.values()))


def select_symbols(
    counts: Mapping[str, int], *, threshold: int = -1, num_words: int = -1, user_symbols: Sequence[str] = ()
) -> Vocabulary:
    """Choose the symbols of a vocabulary as fairseq does; its special symbols are fairseq's.

    User symbols come first and always stay. The others follow from the most to the least frequent, those of
    equal count in code point order; fewer than `threshold` occurrences leave a symbol out, and so does
    `num_words`, the size of the vocabulary with special and user symbols, where it is above 0.
    """
    others = sorted((-count, symbol) for symbol, count in counts.items() if symbol not in user_symbols)
    kept = [symbol for count, symbol in others if -count >= threshold]
    if num_words > 0:
        kept = kept[: max(0, num_words - FAIRSEQ_SYMBOLS.count - len(user_symbols))]
    symbols = (*user_symbols, *kept)
    return Vocabulary(symbols, tuple(counts.get(symbol, 0) for symbol in symbols))
