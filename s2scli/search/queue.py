"""The sentences to search for: they come in batches, and those that take longest are set aside and go on together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from math import ceil
from typing import Protocol, Self, TypeVar

from s2scli.configs.search import SearchConfig
from s2scli.console import uncounted
from s2scli.data.batch import Tokens
from s2scli.models.base import Decodable
from s2scli.search.request import BatchLimits, Request, ScoredOutput

# A batch is left when so little of it is open; a step for a few sentences takes nearly as long as for many.
_LEFT = 1 / 4


@dataclass(frozen=True)
class SentenceBatch:
    """Some of the sentences; rows: their places among all."""

    rows: list[int]
    source: Tokens
    request: Request


OfGroup = Callable[[Decodable, SentenceBatch, SearchConfig], list[list[ScoredOutput]]]


class SentenceQueue:
    """All sentences, in their order; those of similar lengths are best next to each other.

    room: for how many of them to search at a time. done: is told how many have been searched for, as they are.
    """

    def __init__(
        self, source: Tokens, request: Request, room: BatchLimits, done: Callable[[int], object] = uncounted
    ) -> None:
        self._source, self._request, self.room, self._done = source, request, room, done
        self._lengths = source.lengths.tolist()
        self._begun = self._reported = 0
        # What is excluded is followed hypothesis by hypothesis, within one batch.
        self.can_join = not any(request.excluded)

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def is_empty(self) -> bool:
        """Whether all have been taken."""
        return self._begun == len(self._lengths)

    def take(self) -> SentenceBatch | None:
        """The next sentences, as many as there is room for; None when there are none."""
        if self.is_empty:
            return None
        start = end = self._begun
        longest = 0
        while end < len(self._lengths):
            longest = max(longest, self._lengths[end])
            if end > start and not self.room.holds(end + 1 - start, longest):
                break
            end += 1
        self._begun = end
        rows = list(range(start, end))
        return SentenceBatch(rows, self._source.rows(slice(start, end)), self._request.select(rows))

    def report(self, num_open: int) -> None:
        """Say how many are done, when so many of those taken are not."""
        number = self._begun - num_open - self._reported
        self._reported += number
        if number:
            self._done(number)


class Stepwise(Protocol):
    """A search for some sentences that goes step by step."""

    # How many of the sentences are not done.
    num_open: int

    @property
    def longest_source(self) -> int:
        """The tokens of the longest source among these."""
        ...

    def step(self) -> object:
        """Extend all hypotheses by a token."""
        ...

    def join(self, other: Self) -> None:
        """Go on with the sentences of another search too, which must not be used again."""
        ...


S = TypeVar("S", bound=Stepwise)


def search_all(begin: Callable[[SentenceBatch], S], waiting: SentenceQueue) -> None:
    """Search for all sentences; `begin` begins a search for some.

    What is open when most of a batch is done is set aside, until there is enough of it for a batch.
    """
    aside: S | None = None
    while True:
        group = waiting.take()
        search: S | None = aside
        if group is not None:
            search = begin(group)
        else:
            aside = None
        if search is None:
            return
        size = search.num_open
        while search is not None and search.num_open:
            more = waiting.can_join and not (waiting.is_empty and aside is None)
            if more and search.num_open <= size * _LEFT:
                search, aside = _set_aside(search, aside, waiting)
                size = search.num_open if search is not None else 0
            else:
                search.step()
        waiting.report(aside.num_open if aside is not None else 0)


def _set_aside(search: S, aside: S | None, waiting: SentenceQueue) -> tuple[S | None, S | None]:
    """What to go on with, if not with new sentences, and what is set aside then."""
    room = waiting.room
    if aside is not None:
        if not room.holds(aside.num_open + search.num_open, max(aside.longest_source, search.longest_source)):
            return aside, search
        aside.join(search)
        search = aside
    is_full = not room.holds(ceil(search.num_open / (1 - _LEFT)), search.longest_source)
    return (search, None) if is_full or waiting.is_empty else (None, search)


def by_batches(run: OfGroup) -> Callable[[Decodable, SentenceQueue, SearchConfig], list[list[ScoredOutput]]]:
    """A search for all sentences from one for a group of them."""

    @wraps(run)
    def search(model: Decodable, waiting: SentenceQueue, config: SearchConfig) -> list[list[ScoredOutput]]:
        outputs: list[list[ScoredOutput]] = []
        while group := waiting.take():
            outputs += run(model, group, config)
        waiting.report(0)
        return outputs

    return search
