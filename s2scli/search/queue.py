"""The sentences to search for: they come in batches, and those that take longest are set aside and go on together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

from s2scli.console import uncounted
from s2scli.data.batch import Source
from s2scli.search.base import JoinableSearch, Search, SentenceBatch
from s2scli.search.request import BatchLimits, Request, ScoredOutput

# A batch is left when so little of it is open; a step for a few sentences takes nearly as long as for many.
_LEFT = 1 / 4


class SentenceQueue:
    """Sentences that are taken in batches, in their order; those of similar lengths are best next to each other.

    sentences: the numbers of those in the queue among all of source and request, by default all.
    """

    def __init__(
        self, source: Source, request: Request, limits: BatchLimits, sentences: Sequence[int] | None = None
    ) -> None:
        self._source, self._request, self.limits = source, request, limits
        lengths = source.lengths.tolist()
        self._sentences = list(range(len(lengths)) if sentences is None else sentences)
        self._lengths = [lengths[sentence] for sentence in self._sentences]
        self.num_taken = 0
        # What is excluded is followed hypothesis by hypothesis, within one batch.
        self.can_join = not any(
            request.excluded[sentence] for sentence in self._sentences if request.excluded
        )

    @property
    def is_empty(self) -> bool:
        """Whether all sentences have been taken."""
        return self.num_taken == len(self._sentences)

    def take(self) -> SentenceBatch | None:
        """The next sentences, as many as the limits hold; None when there are none."""
        if self.is_empty:
            return None
        start = end = self.num_taken
        longest = 0
        while end < len(self._sentences):
            longest = max(longest, self._lengths[end])
            if end > start and not self.limits.hold(end + 1 - start, longest):
                break
            end += 1
        self.num_taken = end
        sentences = self._sentences[start:end]
        return SentenceBatch(sentences, self._source.select(sentences), self._request.select(sentences))


class BatchScheduler:
    """Says which search makes the next step, until all sentences of a queue have been searched for.

    What is open when most of a batch is done is set aside, until there is enough of it for a batch.
    begin: begins a search for a batch of sentences. done: is told how many sentences have been searched for, as they
    are. outputs: what has been found for each sentence, by its number.
    """

    def __init__(
        self,
        begin: Callable[[SentenceBatch], Search],
        queue: SentenceQueue,
        done: Callable[[int], object] = uncounted,
    ) -> None:
        self._begin, self._queue, self._done = begin, queue, done
        self._running: Search | None = None
        self._aside: JoinableSearch | None = None
        # How many sentences were open in the running search when it began or was joined by others.
        self._size = 0
        self._num_reported = 0
        self.outputs: dict[int, list[ScoredOutput]] = {}

    def next(self) -> Search | None:
        """The search that makes the next step; None when all is done."""
        while True:
            if self._running is None:
                self._running = self._begun()
                if self._running is None:
                    return None
            elif not self._running.num_open:
                self.outputs |= self._running.outputs()
                self._running = None
                self._report()
            elif (small := self._small(self._running)) is not None:
                self._running = self._set_aside(small)
                if self._running is None:
                    self._report()
            else:
                return self._running

    def _begun(self) -> Search | None:
        """A search for the next sentences, or when all have been taken what was set aside; None when that is done."""
        batch = self._queue.take()
        if batch is not None:
            search: Search | None = self._begin(batch)
        else:
            search, self._aside = self._aside, None
        self._size = search.num_open if search is not None else 0
        return search

    def _small(self, search: Search) -> JoinableSearch | None:
        """The search, if so few of its sentences are open that others go on in its place; else None."""
        if not (isinstance(search, JoinableSearch) and search.can_join and self._queue.can_join):
            return None
        has_others = not self._queue.is_empty or self._aside is not None
        return search if has_others and search.num_open <= self._size * _LEFT else None

    def _set_aside(self, search: JoinableSearch) -> Search | None:
        """What to go on with in place of a small search; None: with new sentences."""
        limits, aside = self._queue.limits, self._aside
        if aside is not None:
            longest = max(aside.longest_source, search.longest_source)
            if not limits.hold(aside.num_open + search.num_open, longest):
                self._aside, self._size = search, aside.num_open
                return aside
            aside.join(search)
            search = aside
        is_full = not limits.hold(ceil(search.num_open / (1 - _LEFT)), search.longest_source)
        if is_full or self._queue.is_empty:
            self._aside, self._size = None, search.num_open
            return search
        self._aside = search
        return None

    def _report(self) -> None:
        """Tell how many more sentences are done: those taken but for those that are set aside."""
        num_open = self._aside.num_open if self._aside is not None else 0
        number = self._queue.num_taken - num_open - self._num_reported
        self._num_reported += number
        if number:
            self._done(number)
