"""The dataset folder: pairs of token ids and raw text, memory-mapped.

    meta.json                       counts, checksums, settings; written last
    source.tokenizer.json           and target.tokenizer.json: Tokenizer.to_bytes
    dict.source.txt                 and dict.target.txt: the vocabularies in fairseq's format, for people
    shortlist.targets               most probable translations of each source token, -1: none; [source vocabulary, N]
    shortlist.frequent              target tokens from the most to the least frequent; both int32, if asked for
    train/main-00000/source.ids     token ids without end symbols, uint16 or uint32, one after the other
    train/main-00000/source.ends    where each example ends in the ids, int64
    train/main-00000/source.text    raw UTF-8 text, one after the other
    train/main-00000/source.text_ends   where each example ends in the text, int64, bytes

Where sources have tags, the files of a column "tag" say which: an id of the source vocabulary, or none. A dataset for
language models has no source, and nothing that belongs to it.

A split is a list of corpora, a corpus a list of shards. All numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from s2scli import document
from s2scli.data.column import Column, Ids, Indices
from s2scli.data.copying import Copying
from s2scli.data.meta import AGAIN, CHANGED, check_files, files, read_meta
from s2scli.data.source_form import SourceForm
from s2scli.errors import DataError, did_you_mean
from s2scli.text.tokenizer import Tokenizer, read_tokenizer

TAG = "tag"
SHORTLIST = ("shortlist.targets", "shortlist.frequent")
SHORTLIST_DTYPE = np.dtype("<i4")


def ids_dtype(vocabulary_size: int) -> np.dtype[Any]:
    """The smallest type that holds every id of a vocabulary."""
    return np.dtype("<u2") if vocabulary_size <= 0x10000 else np.dtype("<u4")


def tokenizer_file(name: str) -> str:
    """The name of a tokenizer's document in the folder."""
    return f"{name}.tokenizer.json"


def tokenizer_of(folder: Path, name: str) -> Tokenizer:
    """The tokenizer of a column in a dataset folder; DataError, with the file, where it is broken."""
    path = folder / tokenizer_file(name)
    with document.blaming(path, AGAIN):
        return read_tokenizer(path)


class ShortlistTable(NamedTuple):
    """What vocabulary shortlists are made from.

    targets: the most probable target tokens of each source token, the best first, [source vocabulary, N], -1 where
    there are fewer. frequent: all target tokens, from the most to the least frequent, special symbols last.
    """

    targets: npt.NDArray[np.int32]
    frequent: npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a model reads examples: with their sources or without, and the tokens of targets from right to left or not.

    longest: by column, the most tokens, end symbols not counted, that it takes; longer examples are cut.
    copies: whether it copies words of the source.
    """

    source: bool = True
    right_to_left: bool = False
    copies: bool = False
    longest: Mapping[str, int] = field(default_factory=dict)


AS_IT_IS = Reading()


class Cut(NamedTuple):
    """The most tokens that examples of a column are to have, and how longer ones are cut to that."""

    longest: int
    cut: Callable[[Any, int], Any]


NO_CUTS: Mapping[str, Cut] = MappingProxyType({})


class Split:
    """The examples of one split, over all its corpora and shards.

    meta: what meta.json says; columns: those that are read, None: all.
    cuts: by column, what is too long. right_to_left: whether the ids of a target begin with its last one. copying:
    what writes pairs in the vocabulary of a model that copies, for such a model.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        meta: Mapping[str, Any],
        columns: Sequence[str] | None = None,
        cuts: Mapping[str, Cut] = NO_CUTS,
        *,
        right_to_left: bool = False,
        copying: Copying | None = None,
    ) -> None:
        self._cuts = cuts
        self.right_to_left = right_to_left
        self.copying = copying
        self.name = name
        self.meta = meta["splits"][name]
        facts = {column: meta["columns"][column] for column in columns or meta["columns"]}
        self.columns: tuple[str, ...] = tuple(facts)
        self.text_columns = tuple(column for column in facts if facts[column]["kind"] == "text")
        shards = [shard for corpus in self.meta["corpora"] for shard in corpus["shards"]]
        self._shards = [
            {
                column: Column(
                    root / shard["path"] / column,
                    np.dtype(fact["dtype"]).newbyteorder("<"),
                    longest=shard["longest"][column],
                    vocabulary_size=meta["tokenizers"][fact["tokenizer"]]["size"],
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
            first, end = (int(self._shard_ends[place]) for place in (number, number + 1))
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
        """The number of tokens of each example, or of some without a look at others; end symbols not counted."""
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
        """The most tokens that an example has, without its end symbol; reads no example."""
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
        return self._as_read(column, shard.ids(np.array([local]))[0])

    def ids_of(self, column: str, rows: Indices) -> list[Ids]:
        """The same of some examples at once, which takes less time."""
        self._check(column)
        if len(self._shards) == 1:
            return [self._as_read(column, ids) for ids in self._shards[0][column].ids(rows)]
        found: list[Ids] = [np.zeros(0, np.uint16)] * len(rows)
        shards = np.searchsorted(self._shard_ends, rows, side="right") - 1
        for shard in np.unique(shards):
            places = np.flatnonzero(shards == shard)
            read = self._shards[shard][column].ids(rows[places] - self._shard_ends[shard])
            for place, ids in zip(places.tolist(), read, strict=True):
                found[place] = self._as_read(column, ids)
        return found

    def _as_read(self, column: str, ids: Ids) -> Ids:
        """The ids of an example as the model reads them: cut, and in its direction."""
        if column in self._cuts and len(ids) > (limit := self._cuts[column].longest):
            ids = cast(Ids, np.asarray(self._cuts[column].cut(ids, limit), ids.dtype))
        return ids[::-1] if self.right_to_left and column == "target" else ids

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


class Dataset:
    """A dataset folder; opening reads its meta.json only."""

    def __init__(self, path: Path, meta: dict[str, Any]) -> None:
        self.path = path
        self.meta = meta
        self._tokenizers: dict[str, Tokenizer] = {}

    @classmethod
    def open(cls, path: Path | str) -> Dataset:
        """Open a dataset folder.

        Raises DataError where there is none, where it is of another version, where its meta.json is broken, or a file
        has not the size that it says, or ends that do not end where what they divide does.
        """
        path = Path(path)
        meta = read_meta(path)
        if meta is None:
            kind = (
                "not a dataset folder (it has no s2s meta.json)"
                if path.exists()
                else "no such dataset folder"
            )
            raise DataError(f"{path}: {kind}; s2s preprocess makes one")
        if "part" in meta:
            raise DataError(
                f"{path}: is a part of a dataset; s2s preprocess --merge --destdir joins the parts"
            )
        check_files(path, meta)
        return cls(path, meta)

    @property
    def source_lang(self) -> str:
        """The source language as the user named it; nothing where there is no source."""
        return str(self.meta["source_lang"])

    @property
    def target_lang(self) -> str:
        """The target language as the user named it."""
        return str(self.meta["target_lang"])

    @property
    def source_form(self) -> SourceForm:
        """What stands in a source beside its line."""
        return SourceForm.from_meta(self.meta.get("source_form", {}))

    @property
    def sides(self) -> tuple[str, ...]:
        """The columns of text: source and target, or the target alone."""
        return tuple(name for name, column in self.meta["columns"].items() if column["kind"] == "text")

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return tuple(self.meta["splits"])

    def tokenizer(self, column: str) -> Tokenizer:
        """The tokenizer of a column, "source" or "target"."""
        if column not in self.meta["columns"]:
            raise DataError(f"{self.path}: no column {column!r}{did_you_mean(column, self.meta['columns'])}")
        name = self.meta["columns"][column]["tokenizer"]
        if name not in self._tokenizers:
            tokenizer, facts = tokenizer_of(self.path, name), self.meta["tokenizers"][name]
            if (tokenizer.fingerprint, len(tokenizer)) != (facts["fingerprint"], facts["size"]):
                raise DataError(
                    f"{self.path / tokenizer_file(name)}: not the tokenizer that the dataset was made with; {AGAIN}"
                )
            self._tokenizers[name] = tokenizer
        return self._tokenizers[name]

    @property
    def num_translations(self) -> int:
        """How many translations of a source token the shortlist table has; 0: there is no table."""
        return int((self.meta.get("shortlist") or {}).get("num_translations", 0))

    def shortlist(self) -> ShortlistTable | None:
        """The table that s2s preprocess --shortlist has learnt, or None."""
        if not self.num_translations:
            return None
        sizes = [len(self.tokenizer(side)) for side in ("source", "target")]
        targets, frequent = (np.fromfile(self.path / name, SHORTLIST_DTYPE) for name in SHORTLIST)
        for name, table, least, number in (
            (SHORTLIST[0], targets, -1, sizes[0] * self.num_translations),
            (SHORTLIST[1], frequent, 0, sizes[1]),
        ):
            if len(table) != number or not ((table >= least) & (table < sizes[1])).all():
                raise DataError(f"{self.path / name}: not a table of these vocabularies; {CHANGED}")
        return ShortlistTable(targets.reshape(-1, self.num_translations), frequent)

    def split(self, name: str, reading: Reading = AS_IT_IS) -> Split:
        """The examples of a split, as a model reads them; DataError with the nearest name where there is none."""
        if name not in self.meta["splits"]:
            raise DataError(f"{self.path}: no split {name!r}{did_you_mean(name, self.splits)}")
        cuts = {column: Cut(limit, self._cut_of(column)) for column, limit in reading.longest.items()}
        return Split(
            self.path,
            name,
            self.meta,
            None if reading.source else ("target",),
            cuts,
            right_to_left=reading.right_to_left,
            copying=Copying(self.tokenizer("source"), self.tokenizer("target")) if reading.copies else None,
        )

    def _cut_of(self, column: str) -> Callable[[Any, int], Any]:
        """How what is too long is cut."""
        if column != "source":
            return lambda ids, limit: ids[:limit]
        form, marks = self.source_form, self.source_form.marks(self.tokenizer("source"))
        return partial(form.cut, marks=marks)

    def fingerprint(self, split: str) -> str:
        """A short hash of what a split holds, wherever the folder is."""
        corpora = json.dumps(self.meta["splits"][split]["corpora"], sort_keys=True)
        return hashlib.sha256(corpora.encode()).hexdigest()[:16]

    def verify(self) -> None:
        """Read every file and compare its checksum; DataError names the first that differs."""
        for path, expected in files(self.path, self.meta):
            with path.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != expected["sha256"]:
                    raise DataError(f"{path}: the file has changed since it was written; {AGAIN}")
