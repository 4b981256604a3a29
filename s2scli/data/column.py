"""The files of one column of one shard: memory-mapped, and checked where they are read.

To look through all of them when a dataset is opened would take as long as the dataset is large; so what an example's
ends and ids say is compared with what there is whenever it is asked for, and never used unchecked.
"""

from __future__ import annotations

import mmap
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from s2scli.console import counted
from s2scli.data.meta import AGAIN, CHANGED, END_DTYPE
from s2scli.errors import DataError

Ids = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
Indices = npt.NDArray[np.int64]


class Column:
    """One column of one shard; its files are mapped when first used.

    longest: the most ids that an example has; vocabulary_size: how many ids there are. DataError, with the file, where
    what is read contradicts them, or the files each other.
    """

    def __init__(self, stem: Path, dtype: np.dtype[Any], *, longest: int, vocabulary_size: int) -> None:
        self._stem = stem
        self._dtype = dtype
        self._longest = longest
        self._vocabulary_size = vocabulary_size
        self._mapped: dict[str, mmap.mmap] = {}

    def _file(self, ending: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{ending}")

    def _map(self, ending: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        path = self._file(ending)
        try:
            if path.stat().st_size == 0:  # an empty file cannot be mapped
                return np.zeros(0, dtype)
            with path.open("rb") as stream:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            self._mapped[ending] = mapped
            return np.frombuffer(mapped, dtype)
        except OSError as error:
            raise DataError(f"{path}: cannot read: {error.strerror}; {AGAIN}") from None
        except ValueError:
            raise DataError(f"{path}: has no whole number of entries; {CHANGED}") from None

    def _check_whole(self, *endings: str) -> None:
        """DataError where a file that is mapped has been cut: to read what is gone would end the process at once."""
        for ending in endings:
            mapped = self._mapped.get(ending)
            if mapped is not None and mapped.size() < len(mapped):
                raise self._contradicts(
                    ending, f"was cut from {len(mapped)} bytes to {mapped.size()} while in use"
                )

    @cached_property
    def _ids(self) -> npt.NDArray[Any]:
        return self._map("ids", self._dtype)

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        return self._map("ends", END_DTYPE)

    @cached_property
    def _text(self) -> npt.NDArray[np.uint8]:
        return self._map("text", np.dtype("u1"))

    @cached_property
    def _text_ends(self) -> npt.NDArray[np.int64]:
        return self._map("text_ends", END_DTYPE)

    @property
    def num_ids(self) -> int:
        """The number of ids of all examples."""
        return len(self._ids)

    def spans(self, rows: Indices) -> tuple[Indices, Indices]:
        """Where the ids of some examples begin and end among all."""
        self._check_whole("ends", "ids")
        try:
            ends = self._ends[rows]
            starts = np.where(rows > 0, self._ends[rows - 1], 0)
        except IndexError:
            raise self._contradicts(
                "ends", f"has {counted(len(self._ends), 'entry')}, fewer than examples"
            ) from None
        if len(rows):
            lengths = ends - starts
            wrong = (lengths < 0) | (lengths > self._longest) | (starts < 0) | (ends > len(self._ids))
            if wrong.any():
                first = int(wrong.argmax())
                raise self._contradicts(
                    "ends",
                    f"example {rows[first] + 1:,} goes from {starts[first]} to {ends[first]}, of {len(self._ids)} "
                    f"ids, and the longest has {self._longest}",
                )
        return starts, ends

    def lengths(self, rows: Indices) -> Indices:
        """The number of ids of each of some examples; [num_rows]."""
        starts, ends = self.spans(rows)
        return ends - starts

    def flat(self, rows: Indices) -> tuple[Ids, Indices]:
        """The ids of some examples, one after the other, and how many each has."""
        starts, ends = self.spans(rows)
        lengths = ends - starts
        ids: Ids = self._ids[ranges(starts, lengths)]
        self._check(ids)
        return ids, lengths

    def ids(self, rows: Indices) -> list[Ids]:
        """The ids of each of some examples."""
        flat, lengths = self.flat(rows)
        ends = np.cumsum(lengths).tolist()
        return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def at(self, places: Indices) -> Ids:
        """The ids at some places among all."""
        self._check_whole("ids")
        ids: Ids = self._ids[places]
        self._check(ids)
        return ids

    def slice(self, start: int, stop: int) -> Ids:
        """Some of the ids of all examples, one after the other."""
        self._check_whole("ids")
        ids: Ids = self._ids[start:stop]
        self._check(ids)
        return ids

    def _check(self, ids: npt.NDArray[Any]) -> None:
        if len(ids) and (largest := int(ids.max())) >= self._vocabulary_size:
            raise self._contradicts(
                "ids",
                f"holds the id {largest}, and the vocabulary has {counted(self._vocabulary_size, 'symbol')}",
            )

    def text(self, row: int) -> str:
        """The raw text of one example."""
        self._check_whole("text", "text_ends")
        ends, size = self._text_ends, len(self._text)
        start, end = (int(ends[row - 1]) if row else 0), int(ends[row])
        if not 0 <= start <= end <= size:
            raise self._contradicts(
                "text_ends", f"example {row + 1:,} goes from {start} to {end}, of {counted(size, 'byte')}"
            )
        try:
            return self._text[start:end].tobytes().decode("utf-8")
        except UnicodeDecodeError:
            raise self._contradicts("text", f"the text of example {row + 1:,} is not UTF-8") from None

    def mismatch(self, row: int) -> DataError:
        """An error that says that the ids of an example are not those of its text."""
        return self._contradicts("ids", f"the ids of example {row + 1:,} are not those of its text")

    def _contradicts(self, ending: str, problem: str) -> DataError:
        return DataError(f"{self._file(ending)}: {problem}; {CHANGED}")


def ranges(starts: Indices, lengths: Indices) -> Indices:
    """The numbers from each start on, as many as its length says: [3, 7], [2, 1] → [3, 4, 7]."""
    offsets = starts - (np.cumsum(lengths) - lengths)
    return np.repeat(offsets, lengths) + np.arange(lengths.sum())
