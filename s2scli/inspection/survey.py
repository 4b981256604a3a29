"""One pass over a split, a slice of it at a time: its lengths, its tokens, and which examples stand out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from s2scli.data.column import Column
from s2scli.data.split import Split
from s2scli.inspection.lengths import Counts

# What is in memory at once: examples, each some numbers of 8 bytes, and ids, of 8 bytes while they are counted.
PAIRS_A_SLICE = 1_000_000
IDS_A_SLICE = 4_000_000
RANKINGS = ("longest", "ratio", "unknown")

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ranked:
    """An example that stands out: its index in the split, and the figure that it stands out by."""

    index: int
    value: float


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a pass over a split has found; the first two by column.

    lengths: how many examples there are of each length, in tokens or frames, [longest + 1]. tokens: of text,
    occurrences of each id, [V]. ranked: by ranking, the examples that stand out most, the first of equals first. The
    longest by the tokens or frames of the longer side; ratio by longer over shorter side, one without tokens counting
    as one; unknown by both sides.
    """

    lengths: dict[str, Counts]
    tokens: dict[str, Counts]
    ranked: dict[str, tuple[Ranked, ...]]


@dataclass(frozen=True)
class _Slice:
    """Some examples of one shard: `first` is the index of the first in the split; bounds in the ids, [examples + 1]."""

    first: int
    columns: Mapping[str, Column]
    bounds: Mapping[str, Numbers]


def survey(split: Split, sizes: Mapping[str, int], *, num_ranked: int = 0) -> Survey:
    """Go once through a split; sizes: of each column's vocabulary; num_ranked: examples in each ranking.

    Holds a slice of the split in memory. Raises DataError where the files contradict each other or the vocabulary.
    """
    lengths = {column: np.zeros(1, np.int64) for column in split.sides}
    tokens = {column: np.zeros(sizes[column], np.int64) for column in split.text_columns}
    ranked: dict[str, tuple[Ranked, ...]] = dict.fromkeys(RANKINGS, ())
    for part in _slices(split):
        part_lengths = {column: np.diff(bounds) for column, bounds in part.bounds.items()}
        unknown = np.zeros(len(next(iter(part_lengths.values()), ())), np.int64)
        for column, numbers in part_lengths.items():
            lengths[column] = _add(lengths[column], np.bincount(numbers))
        for column in tokens:
            counts, found = _count_ids(part, column, sizes[column], split.special(column).unknown)
            tokens[column] += counts
            unknown += found
        if num_ranked:
            for ranking, values in _rankings(list(part_lengths.values()), unknown).items():
                ranked[ranking] = _best(ranked[ranking], values, part.first, num_ranked)
    return Survey(lengths=lengths, tokens=tokens, ranked=ranked)


def _slices(split: Split) -> Iterator[_Slice]:
    for first, num_examples, all_columns in split.shards():
        columns = {name: all_columns[name] for name in split.sides}
        for start in range(0, num_examples, PAIRS_A_SLICE):
            stop = min(start + PAIRS_A_SLICE, num_examples)
            bounds = {name: _bounds(column, start, stop) for name, column in columns.items()}
            yield _Slice(first + start, columns, bounds)


def _bounds(column: Column, start: int, stop: int) -> Numbers:
    """Where examples begin and end in the ids; [stop - start + 1]."""
    starts, ends = column.spans(np.arange(start, stop))
    return np.concatenate([starts[:1], ends])


def _add(one: Counts, other: Counts) -> Counts:
    """The sum of two histograms, of which one may be shorter."""
    total = np.zeros(max(len(one), len(other)), np.int64)
    total[: len(one)] += one
    total[: len(other)] += other
    return total


def _count_ids(part: _Slice, column: str, size: int, unknown: int) -> tuple[Counts, Numbers]:
    """How often each id occurs, [V], and how many unknown tokens each example has, [examples].

    unknown: the id of these.
    """
    bounds = part.bounds[column]
    counts = np.zeros(size, np.int64)
    num_unknown = np.zeros(len(bounds) - 1, np.int64)
    for start in range(int(bounds[0]), int(bounds[-1]), IDS_A_SLICE):
        ids = part.columns[column].slice(start, min(start + IDS_A_SLICE, int(bounds[-1])))
        found = np.bincount(ids, minlength=size)
        counts += found
        if found[unknown]:
            places = start + np.flatnonzero(ids == unknown)
            examples = np.searchsorted(bounds, places, side="right") - 1
            num_unknown += np.bincount(examples, minlength=len(num_unknown))
    return counts, num_unknown


def _rankings(lengths: list[Numbers], unknown: Numbers) -> dict[str, npt.NDArray[Any]]:
    """What each example is ranked by; where it is 0 the example does not stand out."""
    longer = np.maximum.reduce(lengths)
    found: dict[str, npt.NDArray[Any]] = {"longest": longer, "unknown": unknown}
    if len(lengths) > 1:
        shorter = np.minimum.reduce(lengths)
        found["ratio"] = np.where(longer > shorter, longer / np.maximum(shorter, 1), 0)
    return found


def _best(
    before: tuple[Ranked, ...], values: npt.NDArray[Any], first: int, number: int
) -> tuple[Ranked, ...]:
    """The best of those so far and of a slice."""
    number_here = min(number, len(values))
    least = np.partition(values, len(values) - number_here)[len(values) - number_here]
    # More may have the least value than there is room for: the first ones stay, whatever partition does.
    above = np.flatnonzero(values > least)
    equal = np.flatnonzero(values == least)[: number_here - len(above)]
    here = [Ranked(first + int(row), float(values[row])) for row in (*above, *equal) if values[row] > 0]
    return tuple(sorted((*before, *here), key=lambda item: (-item.value, item.index))[:number])
