"""BPE-dropout: segmentations drawn by leaving merges out (Provilkov et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from heapq import heappop, heappush
from math import log

from s2scli.text.piece_model import PieceModel
from s2scli.text.segmentation import CACHED_WORDS, LONGEST_CACHED, SegmentationSampler

# Ways to split words that are kept, over all words.
_KEPT_STATES = 2**17

# Rank, place, left and right unit.
_Merge = tuple[float, int, str, str]


class _State:
    """A word as split at some step: its units, the places of merges, the best first, and what each leads to.

    ids: the model's, once they were asked for.
    """

    __slots__ = ("ids", "merges", "next", "units")

    def __init__(self, units: tuple[str, ...], merges: list[int]) -> None:
        self.units = units
        self.merges = merges
        self.next: dict[int, _State] = {}
        self.ids: tuple[int, ...] = ()


class BpeDropout(SegmentationSampler):
    """Draws a segmentation by Algorithm 1 of Provilkov et al. (2020).

    At each step each merge that is possible is dropped with probability p by itself, and the best of those that are
    left, the leftmost of equal ones, is made; where none is left, the word is done. p = 0 is plain BPE, p = 1 leaves
    single characters.

    How many of the merges, ordered from the best, are dropped before one is not has a geometric distribution, so a
    step takes one draw. States of short words, which come again, are kept with what merging leads to.
    """

    def __init__(self, model: PieceModel, in_vocabulary: Sequence[bool], dropout: float) -> None:
        super().__init__(model, in_vocabulary)
        self._dropout = dropout
        self._log_dropout = log(dropout) if 0 < dropout < 1 else 0.0
        self._num_states = 0
        self._cached_start = lru_cache(CACHED_WORDS)(self._start)

    def sample_word(self, word: str, draws: Iterator[float]) -> Sequence[int]:
        """The ids of a segmentation, drawn merge by merge."""
        if len(word) > LONGEST_CACHED:
            units = self._units(word)
            return self._allowed(self._sample_long(units, draws), units)
        state = start = self._cached_start(word)
        while state.merges:
            dropped = self._num_dropped(next(draws), len(state.merges))
            if dropped == len(state.merges):
                break
            state = state.next.get(dropped) or self._merge(state, dropped)
        if not state.ids:
            state.ids = self._allowed(state.units, start.units)
        return state.ids

    def _num_dropped(self, draw: float, most: int) -> int:
        """How many merges are dropped before one is not: P(n or more) = p^n."""
        if draw >= self._dropout:
            return 0
        if self._dropout == 1:
            return most
        # The draw is below p here; one of zero stands for the smallest number that is drawn.
        return min(most, int(log(draw or 2.0**-53) / self._log_dropout))

    def _start(self, word: str) -> _State:
        return self._state(tuple(self._units(word)))

    def _state(self, units: tuple[str, ...]) -> _State:
        found = []
        for place in range(len(units) - 1):
            rank = self._rank(units[place], units[place + 1])
            if rank is not None:
                found.append((rank, place))
        return _State(units, [place for _, place in sorted(found)])

    def _rank(self, left: str, right: str) -> float | None:
        """Orders merges, the best first; None where two units do not make a piece."""
        token = self._ids.get(left + right)
        if token is None or left in self._user_defined or right in self._user_defined:
            return None
        return -self._scores[token]

    def _merge(self, state: _State, number: int) -> _State:
        """What a state becomes by a merge, one of its own by number."""
        place, units = state.merges[number], state.units
        merged = self._state((*units[:place], units[place] + units[place + 1], *units[place + 2 :]))
        if self._num_states >= _KEPT_STATES:
            self._cached_start.cache_clear()
            self._num_states = 0
        state.next[number] = merged
        self._num_states += 1
        return merged

    def _allowed(self, units: Sequence[str], characters: Sequence[str]) -> tuple[int, ...]:
        """The ids of a split word, or those without dropout where they have fewer unknown ones."""
        ids = tuple(token for unit in units for token in self._ids_of(unit))
        if self._are_known(ids):
            return ids
        best = self._sample_long(characters, None)
        plain = tuple(token for unit in best for token in self._ids_of(unit))
        return plain if self._num_unknown(plain) < self._num_unknown(ids) else ids

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
