"""One engine for the lines of several clients at once: those that wait are batched together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from s2scli.configs.generate import GenerateConfig
from s2scli.inference.answering import answers
from s2scli.inference.engine import Engine, Line
from s2scli.record import Record


@dataclass(eq=False)
class _Job:
    """Lines of one client.

    waiting: the places of those not begun, in the order to do them. results: records by place, or what went wrong.
    unread: how many are begun and not yet with the client; paused: whether it waits for the client to read.
    """

    lines: Sequence[Line]
    waiting: deque[int]
    results: SimpleQueue[dict[int, Record] | Exception] = field(default_factory=SimpleQueue)
    unread: int = 0
    paused: bool = False


class Pool:
    """Answers lines from any number of threads with one engine, in one thread of its own.

    The clients take turns, a line each, until a batch is full, so that a short request waits for one batch at most.
    """

    def __init__(self, engine: Engine, config: GenerateConfig) -> None:
        self._engine, self._config = engine, config
        self._changed = threading.Condition()
        self._turns: deque[_Job] = deque()
        # What a client has not read takes memory: no more of its lines are begun then.
        self._most_unread = 2 * config.buffer_size
        threading.Thread(target=self._work, daemon=True).start()

    def answer(self, lines: Sequence[Line]) -> Iterator[list[Record]]:
        """The records of some lines, in order, as they get done; the lines that are left are so when this is closed."""
        job = _Job(lines, deque(self._order(lines)))
        with self._changed:
            self._queue(job)
        found: dict[int, Record] = {}
        place = 0
        try:
            while place < len(lines):
                result = job.results.get()
                if isinstance(result, Exception):
                    raise result
                found |= result
                ready = []
                while place in found:
                    ready.append(found.pop(place))
                    place += 1
                if ready:
                    yield ready
                    self._read(job, len(ready))
        finally:
            with self._changed:
                job.waiting.clear()

    def _order(self, lines: Sequence[Line]) -> Iterator[int]:
        """Lines of similar lengths one after the other, within each window."""
        window = self._config.buffer_size
        for start in range(0, len(lines), window):
            places = range(start, min(start + window, len(lines)))
            yield from sorted(places, key=lambda place: len(lines[place].text))

    def _queue(self, job: _Job) -> None:
        """Give a job its turn, if anything is left of it."""
        job.paused = job.unread >= self._most_unread
        if job.waiting and not job.paused:
            self._turns.append(job)
            self._changed.notify()

    def _read(self, job: _Job, number: int) -> None:
        with self._changed:
            job.unread -= number
            if job.paused:
                self._queue(job)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._turns)
                batch = self._take()
            self._answer(batch)

    def _take(self) -> dict[_Job, list[int]]:
        """The places of the lines of the next batch, by job."""
        batch: dict[_Job, list[int]] = {}
        number = 0
        while self._turns and number < self._config.batch_size:
            job = self._turns.popleft()
            if job.waiting:  # or its client has gone
                batch.setdefault(job, []).append(job.waiting.popleft())
                number += 1
                job.unread += 1
                self._queue(job)
        return batch

    def _answer(self, batch: dict[_Job, list[int]]) -> None:
        """Answer a batch; where that fails, the lines of each client alone, so that it fails for one."""
        lines = [job.lines[place] for job, places in batch.items() for place in places]
        try:
            records = iter(list(answers(self._engine, self._config, lines, window=len(lines))))
        except Exception as error:
            if len(batch) == 1:
                next(iter(batch)).results.put(error)
                return
            for job, places in batch.items():
                self._answer({job: places})
            return
        for job, places in batch.items():
            job.results.put({place: next(records) for place in places})
