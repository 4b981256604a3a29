"""Which target tokens a source token is translated by, learnt from sentence pairs; for vocabulary shortlists.

Memory does not grow with the corpus: an even selection of its pairs is learnt from, the same one each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from s2scli.console import progress
from s2scli.data.column import Indices, ranges
from s2scli.data.shortlist_table import ShortlistTable
from s2scli.data.split import Split

ITERATIONS = 5

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LexiconLimits:
    """How much is learnt from, and how much at once.

    cooccurrences: pairs of a source and a target position, NULL counted, of all sentence pairs, such as 280,000 of 15
    tokens a side, or 72,000 of 30; each takes 4 bytes, each pair of different tokens some 40 more. of_a_pair: those of
    one sentence pair, a thousand tokens on both sides; longer ones are left out. pairs: of more sentence pairs not even
    the lengths are read. chunk: co-occurrences that are worked on at a time.
    """

    cooccurrences: int = 1 << 26
    of_a_pair: int = 1 << 20
    pairs: int = 1 << 22
    chunk: int = 1 << 21


DEFAULT_LIMITS = LexiconLimits()


class Lexicon(NamedTuple):
    """Probabilities t(target | source) of the tokens that occur together, ordered by source, then target; each [P].

    The NULL word, which stands in every source, has the id that follows the last of the source vocabulary.
    """

    sources: Indices
    targets: Indices
    probabilities: Floats


class _Flat(NamedTuple):
    """The ids of some sentences one after the other, and how many are each one's."""

    ids: Indices
    lengths: Indices


class Cooccurrences(NamedTuple):
    """The co-occurrences of some sentence pairs, target position by target position.

    tokens: where those that occur together here are in the lexicon; indices: which of these each co-occurrence is;
    sources: how many co-occurrences a target position has.
    """

    tokens: npt.NDArray[np.int32]
    indices: npt.NDArray[np.int32]
    sources: npt.NDArray[np.int32]


def learn_shortlist(split: Split, sizes: Mapping[str, int], num_translations: int) -> ShortlistTable:
    """The most probable translations of each source token, and the target tokens by their frequency.

    sizes: of the vocabularies, by side.
    """
    lexicon = learn_lexicon(split, sizes)
    num_special = split.special("target").count
    counts, size = np.zeros(sizes["target"], np.int64), DEFAULT_LIMITS.chunk
    for _, _, columns in split.shards():
        column = columns["target"]
        for start in range(0, column.num_values, size):
            counts += np.bincount(column.slice(start, start + size), minlength=len(counts))
    frequent = num_special + np.argsort(-counts[num_special:], kind="stable")
    return ShortlistTable(
        best_translations(lexicon, sizes["source"], num_translations, num_special),
        np.concatenate([frequent, np.arange(num_special)]).astype(np.int32),
    )


def best_translations(
    lexicon: Lexicon, source_size: int, number: int, num_special: int
) -> npt.NDArray[np.int32]:
    """The most probable target tokens of each source token, the best first; [source_size, number], -1 where none.

    Those of equal probability are in the order of their ids. Special symbols, the first num_special ids of the target
    vocabulary, are not among them.
    """
    wanted = (lexicon.targets >= num_special) & (lexicon.sources < source_size)
    sources, targets, probabilities = (values[wanted] for values in lexicon)
    order = np.lexsort((targets, -probabilities, sources))
    sources, targets = sources[order], targets[order]
    ranks = np.arange(len(sources)) - np.searchsorted(sources, sources)
    table = np.full((source_size, number), -1, np.int32)
    kept = ranks < number
    table[sources[kept], ranks[kept]] = targets[kept]
    return table


def learn_lexicon(
    split: Split,
    sizes: Mapping[str, int],
    iterations: int = ITERATIONS,
    limits: LexiconLimits = DEFAULT_LIMITS,
) -> Lexicon:
    """The lexicon of the sentence pairs of a split, or of an even selection of them; see `estimate`."""
    return estimate(*count_together(_parts(split, sizes, limits), sizes), sizes, iterations)


def lexicon_of(
    sources: Sequence[Indices],
    targets: Sequence[Indices],
    sizes: Mapping[str, int],
    iterations: int = ITERATIONS,
    limits: LexiconLimits = DEFAULT_LIMITS,
) -> Lexicon:
    """The lexicon of sentences that are in memory, as ids; see `estimate`."""
    lengths = [np.array([len(item) for item in side], np.int64) for side in (sources, targets)]

    def parts() -> Iterator[tuple[_Flat, _Flat]]:
        for rows in _chosen(np.arange(len(sources)), lengths, limits):
            source, target = (
                _Flat(np.concatenate([side[row] for row in rows]), numbers[rows])
                for side, numbers in zip((sources, targets), lengths, strict=True)
            )
            yield _with_null(source, sizes["source"]), target

    return estimate(*count_together(parts(), sizes), sizes, iterations)


def estimate(
    keys: Indices, chunks: Sequence[Cooccurrences], sizes: Mapping[str, int], iterations: int
) -> Lexicon:
    """IBM model 1 (Brown et al. 1993, section 4.1) of the targets given the sources, by EM from equal probabilities.

    A target token f at one position comes from each position i of its source, NULL among them, with probability
    t(f | e_i) / Σ_k t(f | e_k); the sums of that over all pairs, normalized for each e, are the next t. keys and chunks
    as `count_together` gives them.
    """
    sources, targets = np.divmod(keys, sizes["target"])
    probabilities = np.ones(len(keys))
    steps = progress(range(iterations), description="translations", total=iterations, unit="iterations")
    for _ in steps:
        counts = np.zeros(len(keys))
        for chunk in chunks:
            shares = probabilities[chunk.tokens][chunk.indices]
            starts = np.cumsum(chunk.sources) - chunk.sources
            shares /= np.repeat(np.add.reduceat(shares, starts), chunk.sources)
            counts[chunk.tokens] += np.bincount(chunk.indices, shares)
        totals = np.bincount(sources, counts, minlength=sizes["source"] + 1)
        probabilities = counts / totals[sources]
    return Lexicon(sources, targets, probabilities)


def count_together(
    pairs: Iterable[tuple[_Flat, _Flat]], sizes: Mapping[str, int]
) -> tuple[Indices, list[Cooccurrences]]:
    """Which tokens occur together, source · target vocabulary + target in order [P], and where.

    pairs: some sentences of both sides at a time, NULL before each source.
    """
    parts: list[Indices] = []
    found: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]] = []
    for source, target in pairs:
        keys, repeats = _cooccurrences(source, target, sizes["target"])
        own, inverse = np.unique(keys, return_inverse=True)
        parts.append(own)
        found.append((inverse.astype(np.int32), repeats))
    keys = np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
    chunks = [
        Cooccurrences(np.searchsorted(keys, own).astype(np.int32), inverse, repeats)
        for own, (inverse, repeats) in zip(parts, found, strict=True)
    ]
    return keys, chunks


def _parts(split: Split, sizes: Mapping[str, int], limits: LexiconLimits) -> Iterator[tuple[_Flat, _Flat]]:
    """The sentences of a split that are learnt from, some at a time."""
    for rows in selection(split, limits):
        yield _with_null(_gather(split, "source", rows), sizes["source"]), _gather(split, "target", rows)


def selection(split: Split, limits: LexiconLimits = DEFAULT_LIMITS) -> Iterator[Indices]:
    """The sentence pairs to learn from, some at a time; a function of their lengths alone, however they are stored."""
    size = limits.chunk
    share = min(1.0, limits.pairs / max(1, len(split)))
    blocks = (np.arange(start, min(start + size, len(split))) for start in range(0, len(split), size))
    rows = np.concatenate([np.zeros(0, np.int64), *(block[_spread(block) < share] for block in blocks)])
    yield from _chosen(rows, [split.lengths(side, rows) for side in ("source", "target")], limits, share)


def _chosen(
    rows: Indices, lengths: Sequence[Indices], limits: LexiconLimits, share: float = 1.0
) -> Iterator[Indices]:
    """An even selection of rows within the limits, some at a time.

    lengths: of their sources and targets. share: of all rows, those that are given.
    """
    size, most = limits.chunk, limits.cooccurrences
    sizes = (lengths[0] + 1) * lengths[1]
    rows, sizes = (values[(sizes > 0) & (sizes <= limits.of_a_pair)] for values in (rows, sizes))
    drawn = _spread(rows)
    while (total := int(sizes[drawn < share].sum())) > most:
        share *= 0.999 * most / total
    rows, sizes = rows[drawn < share], sizes[drawn < share]
    ends = np.cumsum(sizes)
    start = 0
    while start < len(rows):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + size, side="right")))
        yield rows[start:stop]
        start = stop


def _spread(rows: Indices) -> Floats:
    """Numbers from 0 to 1 that are even over any stretch of rows, whatever repeats in the order of the pairs.

    They are the multiples of the golden ratio modulo 1. Every fourth pair of Multi30k, say, is a short one.
    """
    return np.asarray(rows * ((1 + 5**0.5) / 2) % 1, np.float64)


def _gather(split: Split, column: str, rows: Indices) -> _Flat:
    """The ids of some examples, in order."""
    parts: list[npt.NDArray[Any]] = []
    for start, number, columns in split.shards():
        low, high = np.searchsorted(rows, (start, start + number))
        local = rows[low:high] - start
        if len(local):
            parts.append(columns[column].flat(local)[0])
    return _Flat(np.concatenate(parts).astype(np.int64), split.lengths(column, rows))


def _with_null(source: _Flat, null: int) -> _Flat:
    """The sentences with the NULL word before each."""
    ids, lengths = source
    return _Flat(np.insert(ids, np.cumsum(lengths) - lengths, null), lengths + 1)


def _cooccurrences(source: _Flat, target: _Flat, target_size: int) -> tuple[Indices, npt.NDArray[np.int32]]:
    """Every source position with every target position of its pair, as keys, and how many each of the latter has."""
    starts = np.cumsum(source.lengths) - source.lengths
    repeats = np.repeat(source.lengths, target.lengths)
    positions = ranges(np.repeat(starts, target.lengths), repeats)
    return source.ids[positions] * target_size + np.repeat(target.ids, repeats), repeats.astype(np.int32)
