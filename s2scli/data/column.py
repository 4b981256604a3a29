"""The files of one column of one shard: memory-mapped, and checked where they are read.

To look through all of them when a dataset is opened would take as long as the dataset is large; so what an example's
ends and values say is compared with what there is whenever it is asked for, and never used unchecked.
"""

from __future__ import annotations

import mmap
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from s2scli.console import counted
from s2scli.data.layout import ColumnLayout
from s2scli.data.meta import AGAIN, CHANGED, END_DTYPE
from s2scli.errors import DataError

Ids = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
Values = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


class Column:
    """One column of one shard; its files are mapped when first used.

    Its values are ids, or frames of features. longest: the most of them that an example has. DataError, with the file,
    where what is read contradicts that or the layout, or the files each other.
    """

    def __init__(self, stem: Path, layout: ColumnLayout, *, longest: int) -> None:
        self._stem = stem
        self._layout = layout
        self._longest = longest
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
    def _values(self) -> npt.NDArray[Any]:
        """The values of all examples: ids [total], or frames [total, F]."""
        layout = self._layout
        mapped = self._map(layout.values, layout.dtype)
        if layout.vocabulary_size:
            return mapped
        if len(mapped) % layout.width:
            raise DataError(f"{self._file(layout.values)}: has no whole number of frames; {CHANGED}")
        return mapped.reshape(-1, layout.width)

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
    def num_values(self) -> int:
        """The number of ids, or of frames, of all examples."""
        return len(self._values)

    def spans(self, rows: Indices) -> tuple[Indices, Indices]:
        """Where the values of some examples begin and end among all."""
        self._check_whole("ends", self._layout.values)
        try:
            ends = self._ends[rows]
            starts = np.where(rows > 0, self._ends[rows - 1], 0)
        except IndexError:
            raise self._contradicts(
                "ends", f"has {counted(len(self._ends), 'entry')}, fewer than examples"
            ) from None
        if len(rows):
            lengths = ends - starts
            wrong = (lengths < 0) | (lengths > self._longest) | (starts < 0) | (ends > len(self._values))
            if wrong.any():
                first = int(wrong.argmax())
                raise self._contradicts(
                    "ends",
                    f"example {rows[first] + 1:,} goes from {starts[first]} to {ends[first]}, of {len(self._values)} "
                    f"{self._layout.values}, and the longest has {self._longest}",
                )
        return starts, ends

    def lengths(self, rows: Indices) -> Indices:
        """The number of values of each of some examples; [num_rows]."""
        starts, ends = self.spans(rows)
        return ends - starts

    def flat(self, rows: Indices) -> tuple[Values, Indices]:
        """The values of some examples, one after the other, and how many each has."""
        starts, ends = self.spans(rows)
        lengths = ends - starts
        values: Values = self._values[ranges(starts, lengths)]
        self._check(values)
        return values, lengths

    def values(self, rows: Indices) -> list[Values]:
        """The values of each of some examples."""
        flat, lengths = self.flat(rows)
        ends = np.cumsum(lengths).tolist()
        return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def at(self, places: Indices) -> Values:
        """The values at some places among all."""
        self._check_whole(self._layout.values)
        values: Values = self._values[places]
        self._check(values)
        return values

    def slice(self, start: int, stop: int) -> Values:
        """Some of the values of all examples, one after the other."""
        self._check_whole(self._layout.values)
        values: Values = self._values[start:stop]
        self._check(values)
        return values

    def _check(self, values: npt.NDArray[Any]) -> None:
        size = self._layout.vocabulary_size
        if not size:
            if not np.isfinite(values).all():
                raise self._contradicts(self._layout.values, "holds what is no finite number")
        elif len(values) and (largest := int(values.max())) >= size:
            raise self._contradicts(
                "ids", f"holds the id {largest}, and the vocabulary has {counted(size, 'symbol')}"
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
