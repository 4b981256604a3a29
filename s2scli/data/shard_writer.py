"""Writing the files of one shard: ids and text one after the other, and where each example ends in them."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from s2scli.console import counted
from s2scli.data.layout import ColumnLayout
from s2scli.data.meta import AGAIN, END_DTYPE
from s2scli.errors import DataError
from s2scli.files import open_own
from s2scli.io import explain_write_errors


@dataclass(frozen=True)
class ColumnChunk:
    """Some examples of one column: ids or frames, and UTF-8 text, one after the other, and the length of each."""

    values: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]
    text: bytes
    text_lengths: npt.NDArray[np.int64]

    def cut(self, number: int) -> tuple[ColumnChunk, ColumnChunk]:
        """The first so many examples, and the others."""
        values, text = int(self.lengths[:number].sum()), int(self.text_lengths[:number].sum())
        return (
            ColumnChunk(
                self.values[:values], self.lengths[:number], self.text[:text], self.text_lengths[:number]
            ),
            ColumnChunk(
                self.values[values:], self.lengths[number:], self.text[text:], self.text_lengths[number:]
            ),
        )


def lengths_of(items: Sequence[Sized]) -> npt.NDArray[np.int64]:
    """The length of each item."""
    return np.array([len(item) for item in items], np.int64)


class ChecksummedFile:
    """A file that is written from its beginning to its end, with its size in bytes and its SHA-256.

    size: the bytes that an earlier process has written, after which this one continues. OSError where the file has
    fewer.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self._hash = hashlib.sha256()
        self.size = size
        self._stream: BinaryIO = open_own(path, "r+b" if size else "wb")
        left = size
        while left:
            data = self._stream.read(min(left, 1 << 20))
            if not data:
                raise OSError(errno.EIO, "shorter than it was")
            self._hash.update(data)
            left -= len(data)
        self._stream.truncate()

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._stream.write(data)
        self._hash.update(data)
        self.size += len(data)

    def sync(self) -> int:
        """Write what is buffered to the disk; returns the size in bytes."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return self.size

    def close(self) -> dict[str, Any]:
        """Write what is buffered to the disk; returns what meta.json says of the file."""
        with self._stream:
            self.sync()
        return {"bytes": self.size, "sha256": self._hash.hexdigest()}

    def abandon(self) -> None:
        """Close the file as it is; closing twice does no harm."""
        self._stream.close()


class ShardWriter:
    """Writes the examples of one shard, chunk after chunk.

    root: the dataset folder; path: the shard's folder within it. columns: how each is stored. state: what `state` has
    returned in a process that was killed, after which this one continues.
    """

    def __init__(
        self,
        root: Path,
        path: str,
        columns: Mapping[str, ColumnLayout],
        state: Mapping[str, Any] | None = None,
    ) -> None:
        state = state or {
            "num_examples": 0,
            "longest": dict.fromkeys(columns, 0),
            "last_ends": {},
            "sizes": {},
        }
        self.num_examples: int = state["num_examples"]
        self.path = path
        self._columns = columns
        self._longest: dict[str, int] = dict(state["longest"])
        self._last_ends: dict[str, int] = dict(state["last_ends"])
        self._folder = root / path
        self._files: dict[str, ChecksummedFile] = {}
        with explain_write_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            for column, layout in columns.items():
                for ending in layout.endings:
                    name = f"{column}.{ending}"
                    self._files[name] = ChecksummedFile(self._folder / name, state["sizes"].get(name, 0))

    def append(self, chunk: Mapping[str, ColumnChunk]) -> None:
        """Add examples, the same number in each column."""
        with explain_write_errors(self._folder):
            for column, part in chunk.items():
                layout = self._columns[column]
                self._files[f"{column}.{layout.values}"].write(part.values.astype(layout.dtype).tobytes())
                self._files[f"{column}.text"].write(part.text)
                self._write_ends(f"{column}.ends", part.lengths)
                self._write_ends(f"{column}.text_ends", part.text_lengths)
                self._longest[column] = max(self._longest[column], int(part.lengths.max(initial=0)))
        self.num_examples += len(part.lengths)

    def _write_ends(self, name: str, lengths: npt.NDArray[np.int64]) -> None:
        ends = np.cumsum(lengths) + self._last_ends.get(name, 0)
        if len(ends):
            self._last_ends[name] = int(ends[-1])
        self._files[name].write(ends.astype(END_DTYPE).tobytes())

    def state(self) -> dict[str, Any]:
        """What another writer needs to continue from here, as JSON values; all that was written is on the disk."""
        with explain_write_errors(self._folder):
            sizes = {name: file.sync() for name, file in self._files.items()}
        return {
            "num_examples": self.num_examples,
            "longest": self._longest,
            "last_ends": self._last_ends,
            "sizes": sizes,
        }

    def close(self) -> dict[str, Any]:
        """Finish the files; returns what meta.json says of the shard."""
        with explain_write_errors(self._folder):
            files = {name: file.close() for name, file in self._files.items()}
        return {
            "path": self.path,
            "num_examples": self.num_examples,
            "longest": self._longest,
            "files": files,
        }

    def abandon(self) -> None:
        """Close the files as they are; closing twice does no harm."""
        for file in self._files.values():
            file.abandon()


def count_tokens(file: Path, dtype: np.dtype[Any], counts: npt.NDArray[np.int64]) -> None:
    """Add how often each id is in a file to the counts [vocabulary]; DataError for an id beyond the vocabulary."""
    ids = np.memmap(file, dtype, mode="r") if file.stat().st_size else np.zeros(0, dtype)
    for start in range(0, len(ids), 1 << 24):
        found = np.bincount(ids[start : start + (1 << 24)], minlength=len(counts))
        if len(found) > len(counts):
            raise DataError(
                f"{file}: holds an id beyond its vocabulary of {counted(len(counts), 'symbol')}; {AGAIN}"
            )
        counts += found
