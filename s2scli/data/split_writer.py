"""Writing the corpora of a split in shards, and counting how often each token occurs in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from s2scli.data.layout import ColumnLayout
from s2scli.data.shard_writer import ColumnChunk, ShardWriter, count_tokens


class CorpusWriter:
    """Writes a corpus of a split in shards of `shard_size` examples (0: one shard); counts how often each id occurs.

    root: the dataset folder; stem: where the shards are in it, as train/main for train/main-00000 and those after it.
    columns: how each is stored. state: what `state` has returned in a process that was killed, after which this one
    continues.
    """

    def __init__(
        self,
        root: Path,
        stem: str,
        columns: Mapping[str, ColumnLayout],
        shard_size: int,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._root, self._stem, self._shard_size = root, stem, shard_size
        self._columns = columns
        self.token_counts = {
            name: np.zeros(column.vocabulary_size, np.int64)
            for name, column in columns.items()
            if column.vocabulary_size
        }
        self.shards: list[dict[str, Any]] = list(state["shards"]) if state else []
        self._current = self._open(state["current"] if state else None)
        if state:
            self._count_written()

    def _count_written(self) -> None:
        """Count the ids that are in the shards already."""
        for path in (*(shard["path"] for shard in self.shards), self._current.path):
            for column, counts in self.token_counts.items():
                count_tokens(self._root / path / f"{column}.ids", self._columns[column].dtype, counts)

    def _open(self, state: Mapping[str, Any] | None = None) -> ShardWriter:
        path = f"{self._stem}-{len(self.shards):05}"
        return ShardWriter(self._root, path, self._columns, state)

    @property
    def num_examples(self) -> int:
        """The examples so far."""
        finished: int = sum(shard["num_examples"] for shard in self.shards)
        return finished + self._current.num_examples

    def append(self, chunk: Mapping[str, ColumnChunk]) -> None:
        """Add examples, the same number in each column."""
        for column, counts in self.token_counts.items():
            counts += np.bincount(chunk[column].values, minlength=len(counts))
        number = len(next(iter(chunk.values())).lengths)
        while self._shard_size and self._current.num_examples + number > self._shard_size:
            fitting = self._shard_size - self._current.num_examples
            cut = {column: part.cut(fitting) for column, part in chunk.items()}
            self._current.append({column: parts[0] for column, parts in cut.items()})
            self.shards.append(self._current.close())
            self._current = self._open()
            chunk, number = {column: parts[1] for column, parts in cut.items()}, number - fitting
        self._current.append(chunk)

    def state(self) -> dict[str, Any]:
        """What another writer needs to continue from here, as JSON values."""
        return {"shards": self.shards, "current": self._current.state()}

    def close(self) -> list[dict[str, Any]]:
        """Finish the last shard; returns what meta.json says of all of them."""
        self.shards.append(self._current.close())
        return self.shards

    def abandon(self) -> None:
        """Close the files as they are."""
        self._current.abandon()


class SplitWriter:
    """Writes the corpora of one split; shards of `shard_size` examples, 0: one for each corpus."""

    def __init__(
        self,
        root: Path,
        split: str,
        corpora: Sequence[str],
        columns: Mapping[str, ColumnLayout],
        shard_size: int,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._corpora = {
            name: CorpusWriter(root, f"{split}/{name}", columns, shard_size, state[name] if state else None)
            for name in corpora
        }

    @property
    def num_examples(self) -> int:
        """The examples so far."""
        return sum(corpus.num_examples for corpus in self._corpora.values())

    @property
    def token_counts(self) -> dict[str, npt.NDArray[np.int64]]:
        """How often each id is in a column so far; [vocabulary]."""
        counts = [corpus.token_counts for corpus in self._corpora.values()]
        return {column: np.sum([count[column] for count in counts], axis=0) for column in counts[0]}

    def append(self, corpus: str, chunk: Mapping[str, ColumnChunk]) -> None:
        """Add examples to a corpus, the same number in each column."""
        self._corpora[corpus].append(chunk)

    def state(self) -> dict[str, Any]:
        """What another writer needs to continue from here, as JSON values."""
        return {name: corpus.state() for name, corpus in self._corpora.items()}

    def close(self) -> list[dict[str, Any]]:
        """Finish the corpora; returns what meta.json says of them."""
        return [{"name": name, "shards": corpus.close()} for name, corpus in self._corpora.items()]

    def abandon(self) -> None:
        """Close the files as they are."""
        for corpus in self._corpora.values():
            corpus.abandon()
