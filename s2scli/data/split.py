"""The examples of one split of a dataset folder, over all its corpora and shards, as a model reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from s2scli.data.column import Column, Ids, Indices, Values
from s2scli.data.copying import Copying
from s2scli.data.layout import ColumnLayout
from s2scli.errors import DataError, did_you_mean
from s2scli.features.fbank import FeatureArray
from s2scli.features.form import FeatureForm
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, SpecialSymbols, special_symbols_of


class Cut(NamedTuple):
    """The most tokens that examples of a column are to have, and how longer ones are cut to that."""

    longest: int
    cut: Callable[[Any, int], Any]


@dataclass(frozen=True, kw_only=True)
class SplitView:
    """How the examples of a split are read.

    columns: those that are read; None: all. cuts: by column, what is too long. right_to_left: whether the ids of a
    target begin with its last one. copying: what writes pairs in the vocabulary of a model that copies words of the
    source; None: the model does not.
    """

    columns: Sequence[str] | None = None
    cuts: Mapping[str, Cut] = field(default_factory=dict)
    right_to_left: bool = False
    copying: Copying | None = None


AS_STORED = SplitView()


class Split:
    """The examples of one split, over all its corpora and shards.

    root: the dataset folder; meta: what its meta.json says; view: how the examples are read.
    """

    def __init__(self, root: Path, name: str, meta: Mapping[str, Any], view: SplitView = AS_STORED) -> None:
        self.view = view
        self._cuts = view.cuts
        self.name = name
        self.meta = meta["splits"][name]
        facts = {column: meta["columns"][column] for column in view.columns or meta["columns"]}
        self._special = {
            column: special_symbols_of(meta["tokenizers"][fact["tokenizer"]])
            for column, fact in facts.items()
            if fact["kind"] != "features"
        }
        self._forms = {
            column: FeatureForm.from_meta(fact["features"])
            for column, fact in facts.items()
            if fact["kind"] == "features"
        }
        self.columns: tuple[str, ...] = tuple(facts)
        self.text_columns = tuple(column for column in facts if facts[column]["kind"] == "text")
        self.sides = tuple(column for column in facts if facts[column]["kind"] != "tag")
        shards = [shard for corpus in self.meta["corpora"] for shard in corpus["shards"]]
        self._shards = [
            {
                column: Column(
                    root / shard["path"] / column,
                    ColumnLayout.of(fact, meta["tokenizers"]),
                    longest=shard["longest"][column],
                )
                for column, fact in facts.items()
            }
            for shard in shards
        ]
        self._shard_ends = np.cumsum([0, *(shard["num_examples"] for shard in shards)])
        self._longest = {
            column: max((int(shard["longest"][column]) for shard in shards), default=0) for column in facts
        }

    def __len__(self) -> int:
        return int(self._shard_ends[-1])

    def special(self, column: str) -> SpecialSymbols:
        """The special symbols of a column's vocabulary; fairseq's where the column is not read."""
        return self._special.get(column, FAIRSEQ_SYMBOLS)

    def features(self, column: str) -> FeatureForm | None:
        """What the frames of a column are made of; None where it has none."""
        return self._forms.get(column)

    @property
    def corpora(self) -> tuple[tuple[str, int], ...]:
        """The name of each corpus and how many examples it has, in the order of the examples."""
        return tuple(
            (corpus["name"], sum(shard["num_examples"] for shard in corpus["shards"]))
            for corpus in self.meta["corpora"]
        )

    def shards(self) -> Iterator[tuple[int, int, dict[str, Column]]]:
        """The index of the first example of each shard, the number of its examples, and its columns."""
        for number, columns in enumerate(self._shards):
            first, end = int(self._shard_ends[number]), int(self._shard_ends[number + 1])
            yield first, end - first, columns

    def _locate(self, column: str, index: int) -> tuple[Column, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)} in {self.name}")
        self._check(column)
        shard = int(np.searchsorted(self._shard_ends, index, side="right")) - 1
        return self._shards[shard][column], index - int(self._shard_ends[shard])

    def _check(self, column: str) -> None:
        if column not in self.columns:
            raise DataError(f"the dataset has no column {column!r}{did_you_mean(column, self.columns)}")

    def lengths(self, column: str, rows: Indices | None = None) -> npt.NDArray[np.int64]:
        """The tokens or frames of each example, or of some without reading others; end symbols not counted."""
        self._check(column)
        if rows is None:
            rows = np.arange(len(self))
        shards = np.searchsorted(self._shard_ends, rows, side="right") - 1
        lengths = np.zeros(len(rows), np.int64)
        for shard in np.unique(shards):
            chosen = shards == shard
            lengths[chosen] = self._shards[shard][column].lengths(rows[chosen] - self._shard_ends[shard])
        return np.minimum(lengths, self._cuts[column].longest) if column in self._cuts else lengths

    def longest(self, column: str) -> int:
        """The most tokens or frames that an example has, without its end symbol; reads no example."""
        self._check(column)
        longest = self._longest[column]
        return min(longest, self._cuts[column].longest) if column in self._cuts else longest

    def count_cut(self, column: str) -> tuple[int, int]:
        """How many examples are cut, and how many tokens they lose; reads lengths only where there are any."""
        if column not in self._cuts or self._longest[column] <= (limit := self._cuts[column].longest):
            return 0, 0
        number = tokens = 0
        for _, number_here, columns in self.shards():
            lost = columns[column].lengths(np.arange(number_here)) - limit
            number += int((lost > 0).sum())
            tokens += int(lost[lost > 0].sum())
        return number, tokens

    def ids(self, column: str, index: int) -> Ids:
        """The token ids of one example, without an end symbol; [num_tokens]."""
        shard, local = self._locate(column, index)
        return self._as_read(column, shard.values(np.array([local]))[0])

    def ids_of(self, column: str, rows: Indices) -> list[Ids]:
        """The token ids of each of some examples, without end symbols; faster than one after the other."""
        return [self._as_read(column, ids) for ids in self._values_of(column, rows)]

    def frames_of(self, column: str, rows: Indices) -> list[FeatureArray]:
        """The frames of each of some examples as a model reads them, normalized and cut; each [num_frames, F]."""
        form = self._forms[column]
        limit = self._cuts[column].longest if column in self._cuts else None
        return [form.normalized(frames)[:limit] for frames in self._values_of(column, rows)]

    def _values_of(self, column: str, rows: Indices) -> list[Values]:
        """The stored values of each of some examples."""
        self._check(column)
        if len(self._shards) == 1:
            return self._shards[0][column].values(rows)
        found: list[Values] = [np.zeros(0, np.uint16)] * len(rows)
        shards = np.searchsorted(self._shard_ends, rows, side="right") - 1
        for shard in np.unique(shards):
            chosen = np.flatnonzero(shards == shard)
            read = self._shards[shard][column].values(rows[chosen] - self._shard_ends[shard])
            for index, values in zip(chosen.tolist(), read, strict=True):
                found[index] = values
        return found

    def _as_read(self, column: str, ids: Ids) -> Ids:
        """The ids of an example as the model reads them: cut, and in its direction."""
        if column in self._cuts and len(ids) > (limit := self._cuts[column].longest):
            ids = cast(Ids, np.asarray(self._cuts[column].cut(ids, limit), ids.dtype))
        return ids[::-1] if self.view.right_to_left and column == "target" else ids

    def mismatch(self, index: int) -> DataError:
        """An error that says that the ids of a source or target are not those of its text."""
        shard, local = self._locate("target", index)
        return shard.mismatch(local)

    def text(self, column: str, index: int) -> str:
        """The raw text of one example."""
        shard, local = self._locate(column, index)
        return shard.text(local)

    def texts(self, column: str) -> Iterator[str]:
        """The raw text of every example, in order."""
        return (self.text(column, index) for index in range(len(self)))
