"""The symbols a model knows, their ids and their counts; fairseq's dictionary files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from s2scli.console import counted
from s2scli.errors import DataError
from s2scli.io import read_lines

BOS, PAD, EOS, UNK = range(4)
SPECIAL_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")
NUM_SPECIAL = len(SPECIAL_SYMBOLS)


class Vocabulary:
    """Symbols with ids: the special ones 0 to 3, as in fairseq, then the ordinary ones.

    `symbols` and `counts` hold the ordinary symbols, which may be spelled as a special one is: looking a
    symbol up finds ordinary ones only, so that a typed `</s>` is text.
    """

    def __init__(self, symbols: Sequence[str], counts: Sequence[int]) -> None:
        if len(symbols) != len(counts):
            raise ValueError(f"{counted(len(symbols), 'symbol')}, {counted(len(counts), 'count')}")
        self.symbols = (*SPECIAL_SYMBOLS, *symbols)
        self.counts = (*(0 for _ in SPECIAL_SYMBOLS), *counts)
        self._ids = {symbol: number for number, symbol in enumerate(symbols, start=NUM_SPECIAL)}
        if len(self._ids) != len(symbols):
            twice = next(symbol for symbol, count in Counter(symbols).items() if count > 1)
            raise DataError(f"the symbol {twice!r} is in the vocabulary twice")

    def __len__(self) -> int:
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.symbols, self.counts) == (other.symbols, other.counts)

    def __hash__(self) -> int:
        return hash(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    @property
    def ordinary_symbols(self) -> tuple[str, ...]:
        """The symbols without the special ones."""
        return self.symbols[NUM_SPECIAL:]

    @property
    def ordinary_counts(self) -> tuple[int, ...]:
        """How often each ordinary symbol is in the training text; 0 where it was not counted."""
        return self.counts[NUM_SPECIAL:]

    @property
    def fingerprint(self) -> str:
        """A short hash of the symbols in their order; equal where ids mean the same."""
        return hashlib.sha256("\n".join(self.symbols).encode()).hexdigest()[:16]

    def lookup(self, symbol: str) -> int:
        """The id of an ordinary symbol, UNK where there is none."""
        return self._ids.get(symbol, UNK)

    def to_dict_txt(self) -> str:
        """The vocabulary as fairseq's dict.txt, 'symbol count' a line, without the special symbols."""
        pairs = zip(self.ordinary_symbols, self.ordinary_counts, strict=True)
        return "".join(f"{symbol} {count}\n" for symbol, count in pairs)


def read_dict_txt(path: Path) -> Vocabulary:
    """Read fairseq's dict.txt; a symbol may hold spaces.

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
    """Choose the symbols of a vocabulary as fairseq does.

    User symbols come first and always stay. The others follow from the most to the least frequent, those of
    equal count in code point order; fewer than `threshold` occurrences leave a symbol out, and so does
    `num_words`, the size of the vocabulary with special and user symbols, where it is above 0.
    """
    others = sorted((-count, symbol) for symbol, count in counts.items() if symbol not in user_symbols)
    kept = [symbol for count, symbol in others if -count >= threshold]
    if num_words > 0:
        kept = kept[: max(0, num_words - NUM_SPECIAL - len(user_symbols))]
    symbols = (*user_symbols, *kept)
    return Vocabulary(symbols, tuple(counts.get(symbol, 0) for symbol in symbols))
