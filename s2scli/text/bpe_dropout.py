"""BPE-dropout: segmentations drawn by leaving merges out (Provilkov et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from heapq import heappop, heappush
from itertools import islice
from math import log, log1p
from operator import add
from typing import NamedTuple

from s2scli.text.piece_model import PieceModel
from s2scli.text.segmentation import CACHED_WORDS, LONGEST_CACHED, SegmentationSampler

# Rank, place, left and right unit.
_Merge = tuple[float, int, str, str]


class _Plain(NamedTuple):
    """A word's characters, the places of the merges of plain BPE in their order, and its ids then."""

    units: list[str]
    places: list[int]
    ids: tuple[int, ...]


class BpeDropout(SegmentationSampler):
    """Draws a segmentation by Algorithm 1 of Provilkov et al. (2020).

    At each step each merge that is possible is dropped with probability p by itself, and the best of those that are
    left, the leftmost of equal ones, is made; where none is left, the word is done. p = 0 is plain BPE, p = 1 leaves
    single characters.

    How many merges, ordered from the best, are dropped before one is not has a geometric distribution, so a step
    takes one draw; and so has the number of steps before the first at which the best is dropped. Until there a word
    follows its plain segmentation, which is known for words that come again.
    """

    def __init__(self, model: PieceModel, in_vocabulary: Sequence[bool], dropout: float) -> None:
        super().__init__(model, in_vocabulary)
        self._dropout = dropout
        self._log_dropout = log(dropout) if 0 < dropout < 1 else 0.0
        self._log_keep = log1p(-dropout) if 0 < dropout < 1 else 0.0
        self._ranks = {piece: -self._scores[token] for piece, token in self._ids.items()}
        self._cached_plain = lru_cache(CACHED_WORDS)(self._plain)

    def sample_word(self, word: str, draws: Iterator[float]) -> Sequence[int]:
        """The ids of a segmentation, drawn merge by merge."""
        if len(word) > LONGEST_CACHED:
            units = self._units(word)
            return self._allowed(self._sample_long(units, draws), units)
        plain = self._cached_plain(word)
        if not plain.places or not self._dropout:
            return plain.ids
        if self._dropout == 1:
            return self._allowed(plain.units, plain.units)
        undisturbed = int(log1p(-next(draws)) / self._log_keep)
        if undisturbed >= len(plain.places):
            return plain.ids
        units = plain.units.copy()
        for place in plain.places[:undisturbed]:
            units[place : place + 2] = [units[place] + units[place + 1]]
        # The best is dropped here, and perhaps more.
        dropped = 1 + self._num_dropped(next(draws), len(units))
        while dropped < len(merges := self._merges(units)):
            place = merges[dropped][1]
            units[place : place + 2] = [units[place] + units[place + 1]]
            dropped = self._num_dropped(next(draws), len(units))
        return self._allowed(units, plain.units)

    def _num_dropped(self, draw: float, most: int) -> int:
        """How many merges are dropped before one is not: P(n or more) = p^n."""
        if draw >= self._dropout:
            return 0
        if self._dropout == 1:
            return most
        # The draw is below p here; one of zero stands for the smallest number that is drawn.
        return min(most, int(log(draw or 2.0**-53) / self._log_dropout))

    def _plain(self, word: str) -> _Plain:
        """How plain BPE splits a word."""
        characters = self._units(word)
        units, places = characters.copy(), []
        while merges := self._merges(units):
            place = merges[0][1]
            places.append(place)
            units[place : place + 2] = [units[place] + units[place + 1]]
        return _Plain(characters, places, self._ids_of_units(units))

    def _merges(self, units: list[str]) -> list[tuple[float, int]]:
        """Rank and place of each merge that is possible, from the best."""
        rank_of = self._ranks.get
        merges = [
            (rank, place)
            for place, piece in enumerate(map(add, units, islice(units, 1, None)))
            if (rank := rank_of(piece)) is not None
        ]
        if self._pattern is not None:
            merges = [
                (rank, place)
                for rank, place in merges
                if self._rank(units[place], units[place + 1]) is not None
            ]
        merges.sort()
        return merges

    def _rank(self, left: str, right: str) -> float | None:
        """Orders merges, the best first; None where two units do not make a piece."""
        if left in self._user_defined or right in self._user_defined:
            return None
        return self._ranks.get(left + right)

    def _ids_of_units(self, units: Sequence[str]) -> tuple[int, ...]:
        return tuple(token for unit in units for token in self._ids_of(unit))

    def _allowed(self, units: Sequence[str], characters: Sequence[str]) -> Sequence[int]:
        """The ids of a split word, or those of plain BPE where they have fewer unknown ones."""
        get = self._ids.get
        ids = [get(unit, -1) for unit in units]
        if -1 not in ids and self._are_known(ids):
            return ids
        drawn = self._ids_of_units(units)
        plain = self._ids_of_units(self._sample_long(characters, None))
        return plain if self._num_unknown(plain) < self._num_unknown(drawn) else drawn

    def _sample_long(self, units: Sequence[str], draws: Iterator[float] | None) -> list[str]:
        """The same in a time that grows with the length of a word only; without draws no merge is dropped.

        Merges wait in a heap, by rank and place; a unit that was merged into the one before it is empty.
        """
        parts = [*units, ""]
        after = list(range(1, len(parts) + 1))
        before = list(range(-1, len(parts) - 1))
        heap: list[_Merge] = []

        def offer(place: int) -> None:
            left, right = parts[place], parts[after[place]]
            rank = self._rank(left, right) if left and right else None
            if rank is not None:
                heappush(heap, (rank, place, left, right))

        def holds(merge: _Merge) -> bool:
            _, place, left, right = merge
            return parts[place] == left and parts[after[place]] == right

        for place in range(len(units) - 1):
            offer(place)
        while True:
            while heap and not holds(heap[0]):
                heappop(heap)
            if not heap:
                break
            dropped = self._num_dropped(next(draws), len(heap)) if draws else 0
            chosen = _take(heap, dropped, holds)
            if chosen is None:
                break
            place = chosen[1]
            merged = after[place]
            parts[place], parts[merged] = parts[place] + parts[merged], ""
            after[place] = after[merged]
            before[after[place]] = place
            offer(place)
            if before[place] >= 0:
                offer(before[place])
        return [part for part in parts if part]

    def _num_unknown(self, ids: Sequence[int]) -> int:
        return sum(not self._in_vocabulary[token] for token in ids)


def _take(heap: list[_Merge], dropped: int, holds: Callable[[_Merge], bool]) -> _Merge | None:
    """Take the best merge but for some that are dropped, which stay for the next step."""
    aside: list[_Merge] = []
    chosen = None
    while heap and chosen is None:
        merge = heappop(heap)
        if not holds(merge):
            continue
        if len(aside) < dropped:
            aside.append(merge)
        else:
            chosen = merge
    for merge in aside:
        heappush(heap, merge)
    return chosen
