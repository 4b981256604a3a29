"""Batches of training data, read where they are needed or ahead of time in the background."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from s2scli.data.batch import Batch
from s2scli.data.column import Indices
from s2scli.data.prefetch import prefetch
from s2scli.data.sentences import PaddedPairs, Sentences, read_in_worker
from s2scli.workers import Workers

Job = Sequence[Indices]
"""The pairs of each of some batches."""


class Loader:
    """Loads the batches of a split.

    pin: read ahead in a thread, into memory that a GPU can copy from. workers: processes that read ahead, started with
    `sentences.start_worker`; what they read does not depend on how many there are.
    """

    def __init__(self, sentences: Sentences, *, pin: bool = False, workers: Workers | None = None) -> None:
        self._sentences = sentences
        self._pin = pin
        self._workers = workers

    @property
    def samples(self) -> bool:
        """Whether sentences are other than in the dataset, so that only what is loaded tells how long they are."""
        return self._sentences.samples

    def load(self, indices: Indices, epoch: int) -> Batch:
        """Read and pad the pairs of a batch, as they are in an epoch."""
        return Batch.of(self._sentences.read(indices, epoch))

    def stream(self, jobs: Iterable[Job], epoch: int) -> Iterator[list[Batch]]:
        """The batches of job after job, as they are in an epoch."""
        read: Iterator[list[PaddedPairs]]
        if self._workers is not None:
            read = self._workers.map(read_in_worker, ((job, epoch) for job in jobs))
        else:
            read = map(partial(_read_all, self._sentences, epoch), jobs)
        return prefetch(read, _pinned) if self._pin else map(_batches, read)

    def close(self) -> None:
        """End what reads in the background."""
        if self._workers is not None:
            self._workers.close()


def _read_all(sentences: Sentences, epoch: int, job: Job) -> list[PaddedPairs]:
    return [sentences.read(indices, epoch) for indices in job]


def _batches(read: list[PaddedPairs]) -> list[Batch]:
    return [Batch.of(pairs) for pairs in read]


def _pinned(read: list[PaddedPairs]) -> list[Batch]:
    return [Batch.of(pairs).pin() for pairs in read]
