"""How many n-grams texts share, of thousands of segments at a time.

The same numbers as from a dictionary of n-grams a segment, in a fraction of the time: n-grams are whole numbers, those
of all segments are sorted together, and equal ones stand beside each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
# Bits of a whole number that is not negative.
_BITS = 63


class Symbols:
    """Several texts for each segment, as numbers that stand for their characters or words.

    numbers: those of all texts, one after the other. lengths: of each text, [streams, segments].
    """

    def __init__(self, numbers: Numbers, lengths: Numbers) -> None:
        self.lengths = lengths
        self._numbers = numbers
        streams, segments = lengths.shape
        every = lengths.ravel()
        self._owners = np.repeat(np.tile(np.arange(segments), streams), every)
        # Symbols from each place to the end of its text, itself counted.
        self._left = np.repeat(np.cumsum(every), every) - np.arange(len(numbers))
        self._starts = np.concatenate([[0], np.cumsum(lengths.sum(axis=1))])

    def orders(self, highest: int) -> Iterator[list[tuple[Numbers, Numbers]]]:
        """For the orders 1, 2, … the n-grams of each stream: numbers that are ordered and different, and their counts.

        A number stands for an n-gram and its segment; the latter is `number % segments`.
        """
        segments = self.lengths.shape[1]
        symbols = int(self._numbers.max(initial=0)) + 1
        ids, different = self._numbers, symbols
        for order in range(1, highest + 1):
            if order > 1:
                if different * symbols * segments >= 1 << _BITS:
                    values, ids = np.unique(ids, return_inverse=True)
                    different = len(values)
                # The n-grams that a symbol is the first of; those that go beyond a text's end are left out below.
                ids = ids[:-1] * symbols + self._numbers[order - 1 :]
                different *= symbols
            whole = self._left[: len(ids)] >= order
            numbers = ids * segments + self._owners[: len(ids)]
            yield [
                _runs(numbers[start:end][whole[start:end]])
                for start, end in zip(self._starts[:-1], self._starts[1:], strict=True)
            ]


def of_characters(streams: Sequence[Sequence[str]]) -> Symbols:
    """The characters of streams of texts, each with a text a segment."""
    lengths = np.array([[len(text) for text in stream] for stream in streams], np.int64)
    joined = "".join(text for stream in streams for text in stream)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    there = np.zeros(int(codes.max(initial=0)) + 1, bool)
    there[codes] = True
    return Symbols((np.cumsum(there) - 1)[codes], lengths)


def of_words(streams: Sequence[Sequence[Sequence[str]]]) -> Symbols:
    """The words of streams of texts, each with a sequence of words a segment."""
    lengths = np.array([[len(words) for words in stream] for stream in streams], np.int64)
    known: defaultdict[str, int] = defaultdict()
    known.default_factory = known.__len__
    numbers: Any = (known[word] for stream in streams for words in stream for word in words)
    return Symbols(np.fromiter(numbers, np.int64, int(lengths.sum())), lengths)


def clipped(output: tuple[Numbers, Numbers], references: Sequence[tuple[Numbers, Numbers]]) -> Numbers:
    """How often each n-gram of the outputs is in the reference that has it most, but not more often than in the output.

    All in the form of `Symbols.orders`.
    """
    numbers, counts = output
    most = np.zeros_like(counts)
    for known, known_counts in references:
        if len(known):
            places = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
            most = np.maximum(most, np.where(known[places] == numbers, known_counts[places], 0))
    return np.minimum(counts, most)


def by_segment(numbers: Numbers, counts: Numbers, segments: int) -> Numbers:
    """Sums of counts by segment: [segments]."""
    return np.bincount(numbers % segments, counts, segments).astype(np.int64)


def _runs(numbers: Numbers) -> tuple[Numbers, Numbers]:
    """The different numbers in order, and how often each comes."""
    numbers.sort()
    firsts = np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]])[: len(numbers)])
    return numbers[firsts], np.diff(firsts, append=len(numbers))
