"""One translator's thread for the lines of several clients at once: those that wait are batched together, in turns."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from typing import NamedTuple, TypeVar

from s2scli.configs.generate import GenerateConfig
from s2scli.inference.lines import Line
from s2scli.inference.long_lines import LinePart
from s2scli.inference.translator import Translator
from s2scli.record import Record

Result = TypeVar("Result")

# How often is asked whether a client that waits is still there, in seconds.
_WATCH_SECONDS = 0.25
# How long what is not translating may take between two batches, in seconds.
_SLICE_SECONDS = 0.02


class Question(NamedTuple):
    """A line, the translator that answers it, and the settings of that."""

    line: Line
    translator: Translator
    config: GenerateConfig


class Answer(NamedTuple):
    """A record, and the settings that it was made by."""

    record: Record
    config: GenerateConfig


class _Piece(NamedTuple):
    """Some or all of a line, which is answered at once; position: of the line in its request, length: in tokens."""

    position: int
    part: int
    line: Line
    length: int
    question: Question


@dataclass(frozen=True)
class _Begun:
    """A line that is being answered, and the records of its parts so far."""

    question: Question
    parts: list[LinePart]
    records: dict[int, Record] = field(default_factory=dict)


@dataclass(eq=False)
class _Job:
    """The lines of one client's request, and how far they are answered.

    questions: those not yet read. window: those read, with their positions, in the order in which they are answered.
    pieces: of the line that was begun last. results: answers by position, how many there are in all, or what went
    wrong. is_paused: whether it waits for the client to read what is answered. Only num_taken, is_paused and is_over
    are others' to change than the translator's thread.
    """

    questions: Iterator[Question]
    size: int
    window: deque[tuple[int, Question]] = field(default_factory=deque)
    pieces: deque[_Piece] = field(default_factory=deque)
    begun: dict[int, _Begun] = field(default_factory=dict)
    results: SimpleQueue[dict[int, Answer] | int | Exception] = field(default_factory=SimpleQueue)
    num_read: int = 0
    num_begun: int = 0
    num_taken: int = 0
    is_read: bool = False
    is_paused: bool = False
    is_over: bool = False

    @property
    def num_unread(self) -> int:
        """How many lines are begun and not yet with the client."""
        return self.num_begun - self.num_taken

    def next_piece(self) -> _Piece | None:
        """What is to be done next, which stays until it is taken; None where nothing is left."""
        if not (self.pieces or self.window or self.is_read):
            self._read()
        if not self.pieces and self.window:
            self.num_begun += 1
            self._begin(*self.window.popleft())
        return self.pieces[0] if self.pieces else None

    def _read(self) -> None:
        """Read some lines, those of similar lengths one after the other."""
        chunk = list(enumerate(islice(self.questions, self.size), self.num_read))
        self.num_read += len(chunk)
        self.window.extend(sorted(chunk, key=lambda item: len(item[1].line.text)))
        if len(chunk) < self.size:
            self.is_read = True
            self.results.put(self.num_read)

    def _begin(self, position: int, question: Question) -> None:
        line, translator, _ = question
        parts = translator.parts_of(line)
        self.begun[position] = _Begun(question, parts)
        for number, part in enumerate(parts):
            length = translator.length(part.line) + 1
            self.pieces.append(_Piece(position, number, part.line, length, question))

    def add(self, piece: _Piece, record: Record) -> dict[int, Answer]:
        """Take note of the record of a piece; the answer of its line, if it is whole."""
        begun = self.begun[piece.position]
        begun.records[piece.part] = record
        if len(begun.records) < len(begun.parts):
            return {}
        del self.begun[piece.position]
        records = [begun.records[part] for part in range(len(begun.parts))]
        line, translator, config = begun.question
        return {piece.position: Answer(translator.join_parts(line, begun.parts, records), config)}

    def fail(self, error: Exception) -> None:
        """Let the client know, and do nothing more for it."""
        self.is_over = True
        self.results.put(error)


class Pool:
    """Answers lines from any number of threads, in one thread of its own.

    The clients take turns, a line or a part of one each, until a batch is full, so that a short request waits for one
    batch at most. What else takes long has its turns between the batches: threads of Python would hold each other up.
    """

    def __init__(self, batch_size: int, max_tokens: int, buffer_size: int) -> None:
        self._batch_size, self._max_tokens, self._buffer_size = batch_size, max_tokens, buffer_size
        self._changed = threading.Condition()
        self._turns: deque[_Job] = deque()
        self._checks: deque[tuple[Iterator[object], SimpleQueue[Exception | None]]] = deque()
        # What a client has not read takes memory: no more of its lines are begun then.
        self._most_unread = 2 * buffer_size
        self._is_ending = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="engine")
        self._thread.start()

    def answer(self, questions: Iterable[Question], watch: Callable[[], object]) -> Iterator[list[Answer]]:
        """The answers to some questions, in order, as they get done; those that are left are so when this is closed.

        watch: called now and then, may raise.
        """
        job = _Job(iter(questions), self._buffer_size)
        self._queue(job)
        found: dict[int, Answer] = {}
        position, number = 0, -1
        try:
            while position != number:
                result = _await(job.results, watch)
                if isinstance(result, Exception):
                    raise result
                if isinstance(result, int):
                    number = result
                    continue
                found |= result
                ready = []
                while position in found:
                    ready.append(found.pop(position))
                    position += 1
                if ready:
                    yield ready
                    self._take_note(job, len(ready))
        finally:
            job.is_over = True

    def go_through(self, items: Iterable[object], watch: Callable[[], object]) -> None:
        """Take all of some items, slice by slice, between batches; raises what they do."""
        result: SimpleQueue[Exception | None] = SimpleQueue()
        entry = (iter(items), result)
        with self._changed:
            self._checks.append(entry)
            self._changed.notify()
        try:
            error = _await(result, watch)
        except BaseException:
            with self._changed:
                if entry in self._checks:
                    self._checks.remove(entry)
            raise
        if error is not None:
            raise error

    def end(self, seconds: float) -> bool:
        """Begin no more batches; whether that which had begun has ended in so many seconds."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _queue(self, job: _Job) -> None:
        """Give a job a turn."""
        with self._changed:
            self._turns.append(job)
            self._changed.notify()

    def _must_wait(self, job: _Job) -> bool:
        """Whether a job has no turn until its client reads, which then gives it one."""
        with self._changed:
            job.is_paused = not job.pieces and job.num_unread >= self._most_unread
            return job.is_paused

    def _take_note(self, job: _Job, number: int) -> None:
        """Count what a client has read."""
        with self._changed:
            job.num_taken += number
            if job.is_paused and job.num_unread < self._most_unread:
                job.is_paused = False
                self._turns.append(job)
                self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._turns or self._checks or self._is_ending)
                if self._is_ending:
                    return
                checks, turns = list(self._checks), list(self._turns)
                self._turns.clear()
            for items, result in checks:
                self._go_on(items, result)
            self._answer(self._take(turns))

    def _go_on(self, items: Iterator[object], result: SimpleQueue[Exception | None]) -> None:
        end = time.monotonic() + _SLICE_SECONDS
        error: Exception | None = None
        try:
            for _ in items:
                if time.monotonic() > end:
                    return
        except Exception as problem:
            error = problem
        with self._changed:
            if (items, result) in self._checks:
                self._checks.remove((items, result))
        result.put(error)

    def _take(self, turns: list[_Job]) -> list[tuple[_Job, _Piece]]:
        """The pieces of the next batch, all of one translator, from the jobs whose turn it is; other turns stay."""
        batch: list[tuple[_Job, _Piece]] = []
        waiting, passed = deque(turns), []
        longest = 0
        while waiting and len(batch) < self._batch_size:
            job = waiting.popleft()
            piece = self._next_piece(job)
            if piece is None:
                continue
            longer = max(longest, piece.length)
            is_other = batch and batch[0][1].question.translator is not piece.question.translator
            if is_other or (batch and (len(batch) + 1) * longer > self._max_tokens):
                passed.append(job)
                continue
            longest = longer
            batch.append((job, job.pieces.popleft()))
            if not self._must_wait(job):
                waiting.append(job)
        with self._changed:
            # Who was passed over comes first, and then those whose turn it was to wait.
            self._turns.extendleft(reversed([*passed, *waiting]))
        return batch

    def _next_piece(self, job: _Job) -> _Piece | None:
        if job.is_over:  # or its client has gone
            return None
        try:
            return job.next_piece()
        except Exception as error:
            job.fail(error)
            return None

    def _answer(self, batch: list[tuple[_Job, _Piece]]) -> None:
        """Answer a batch; where that fails, the pieces of each client alone, so that it fails for one."""
        if not batch:
            return
        translator = batch[0][1].question.translator
        try:
            records = translator.records_of_batch([piece.line for _, piece in batch])
        except Exception as error:
            jobs = list(dict.fromkeys(job for job, _ in batch))
            if len(jobs) == 1:
                jobs[0].fail(error)
                return
            for one in jobs:
                self._answer([(job, piece) for job, piece in batch if job is one])
            return
        done: dict[_Job, dict[int, Answer]] = {}
        for (job, piece), record in zip(batch, records, strict=True):
            try:
                done.setdefault(job, {}).update(job.add(piece, record))
            except Exception as error:
                job.fail(error)
        for job, found in done.items():
            if found:
                job.results.put(found)


def _await(results: SimpleQueue[Result], watch: Callable[[], object]) -> Result:
    while True:
        try:
            return results.get(timeout=_WATCH_SECONDS)
        except Empty:
            watch()
