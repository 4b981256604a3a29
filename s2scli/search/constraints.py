"""Phrases that an output must contain, and how far a hypothesis has come with them."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest
from typing import NamedTuple

# A token that no phrase has.
_OTHER = -1
# So many ways to count the tokens of a hypothesis are followed. Phrases that hold one another, "a", "a a", "a a a",
# have very many.
_MOST_READINGS = 64


class _Reading(NamedTuple):
    """One way to count the tokens of a hypothesis.

    unmet: the phrases that are not complete, by their places; begun: the phrase that its last tokens begin, or -1;
    done: how many of that one's tokens are there.
    """

    unmet: tuple[int, ...]
    begun: int = -1
    done: int = 0


class Constraints:
    """The phrases of one line, as an automaton that reads an output token by token.

    An output holds them where each has tokens of its own, which stand together: phrases do not overlap, and one that
    is given twice must come twice. ordered: they come one after the other as they are given. A phrase that is begun
    and broken off must be begun anew. A prefix of an output may be counted in several ways, "a b a" for the phrases
    "a" and "a b" as one or as the other; they are followed, of very many those with the fewest tokens to come, and the
    one with the fewest decides.
    The states are made as they are asked for, and numbered from 0, the state of the empty output.

    before: tokens that count as standing before the output.
    """

    def __init__(
        self, phrases: Sequence[Sequence[int]], *, ordered: bool = False, before: Sequence[int] = ()
    ) -> None:
        self.phrases = tuple(tuple(phrase) for phrase in phrases if phrase)
        self._ordered = ordered
        self._states: list[frozenset[_Reading]] = []
        self._numbers: dict[frozenset[_Reading], int] = {}
        self._next: dict[tuple[int, int], int] = {}
        self._missing: list[int] = []
        self._wanted: list[tuple[int, ...]] = []
        start = self._number(frozenset([_Reading(tuple(range(len(self.phrases))))]))
        for token in before:
            start = self.after(start, token)
        self.start = start

    @property
    def size(self) -> int:
        """The tokens of all phrases."""
        return sum(map(len, self.phrases))

    def missing(self, state: int) -> int:
        """The fewest tokens with which all phrases are met."""
        return self._missing[state]

    def wanted(self, state: int) -> tuple[int, ...]:
        """The tokens that begin an unmet phrase, or go on with one that is begun."""
        return self._wanted[state]

    def after(self, state: int, token: int) -> int:
        """The state after one more token."""
        if token not in self._wanted[state]:
            token = _OTHER
        key = (state, token)
        if key not in self._next:
            read = {later for reading in self._states[state] for later in self._read(reading, token)}
            few = {*nsmallest(_MOST_READINGS, read, key=self._rank)}
            # From one in which no phrase is begun there is always a way on.
            few.add(min((reading for reading in read if reading.begun < 0), key=self._rank))
            self._next[key] = self._number(_without_worse(few))
        return self._next[key]

    def broken(self, state: int) -> int:
        """The state after a token that no phrase wants."""
        return self.after(state, _OTHER)

    def _number(self, readings: frozenset[_Reading]) -> int:
        if readings not in self._numbers:
            self._numbers[readings] = len(self._states)
            self._states.append(readings)
            self._missing.append(min(map(self._to_come, readings)))
            wanted = {token for reading in readings for token in self._next_tokens(reading)}
            self._wanted.append(tuple(sorted(wanted)))
        return self._numbers[readings]

    def _rank(self, reading: _Reading) -> tuple[int, _Reading]:
        return self._to_come(reading), reading

    def _to_come(self, reading: _Reading) -> int:
        return sum(len(self.phrases[phrase]) for phrase in reading.unmet) - reading.done

    def _may_begin(self, reading: _Reading) -> list[int]:
        """The phrases that may come next, of equal ones the first."""
        if self._ordered:
            return list(reading.unmet[:1])
        return list({self.phrases[phrase]: phrase for phrase in reversed(reading.unmet)}.values())

    def _next_tokens(self, reading: _Reading) -> list[int]:
        if reading.begun >= 0:
            return [self.phrases[reading.begun][reading.done]]
        return [self.phrases[phrase][0] for phrase in self._may_begin(reading)]

    def _read(self, reading: _Reading, token: int) -> list[_Reading]:
        """The readings that one becomes by a token; a token may always count for nothing where no phrase is begun."""
        unmet, begun, done = reading
        found = [] if begun >= 0 else [reading]
        candidates = [begun] if begun >= 0 else self._may_begin(reading)
        for phrase in candidates:
            if self.phrases[phrase][done] != token:
                continue
            if done + 1 < len(self.phrases[phrase]):
                found.append(_Reading(unmet, phrase, done + 1))
            else:
                found.append(_Reading(tuple(other for other in unmet if other != phrase)))
        return found


def _without_worse(readings: set[_Reading]) -> frozenset[_Reading]:
    """The readings but those from which nothing can come that cannot come sooner from another."""
    complete = [set(reading.unmet) for reading in readings if reading.begun < 0]

    def is_worse(reading: _Reading) -> bool:
        # A phrase that is begun is met at best.
        at_best = set(reading.unmet) - {reading.begun}
        if reading.begun < 0:
            return any(other < at_best for other in complete)
        return any(other <= at_best for other in complete)

    return frozenset(reading for reading in readings if not is_worse(reading))
