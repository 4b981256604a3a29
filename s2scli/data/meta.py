"""A dataset's meta.json: what it must say, and whether the folder has the files that it names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from s2scli import document
from s2scli.console import counted
from s2scli.data.layout import COLUMN_KINDS, ID_TYPES, ColumnLayout
from s2scli.data.source_form import SourceForm
from s2scli.errors import DataError
from s2scli.features.form import DTYPES, FeatureForm
from s2scli.features.statistics import StatisticsState
from s2scli.files import DATASET_META
from s2scli.schema import setting
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, SpecialSymbols, special_symbols_of

FORMAT = "s2s-dataset"
VERSION = 1
END_DTYPE = np.dtype("<i8")
AGAIN = "run s2s preprocess again"
# What --verify is for, where a file contradicts the others and the sizes alone do not tell which has changed.
CHANGED = f"{AGAIN} (s2s inspect DATA --verify names the files that have changed)"


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """A file as it was written."""

    bytes: int = setting(..., "its size", at_least=0)
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ShardFacts:
    """A folder with some examples of a corpus; longest: by column, the most ids that an example has."""

    path: str
    num_examples: int = setting(..., "examples", at_least=0)
    longest: Mapping[str, int] = setting(..., "by column", at_least=0)
    files: Mapping[str, FileFacts]


@dataclass(frozen=True, kw_only=True)
class CorpusFacts:
    """A corpus of a split."""

    name: str
    shards: tuple[ShardFacts, ...]


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """A split: its examples, and what preprocess counted; sources: how many recordings were resampled, and the like."""

    num_examples: int = setting(..., "examples", at_least=0)
    num_tokens: Mapping[str, int] = field(default_factory=dict)
    num_unknown: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    truncated: Mapping[str, int] = field(default_factory=dict)
    truncated_tokens: Mapping[str, int] = field(default_factory=dict)
    corpora: tuple[CorpusFacts, ...]


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """A column: what it holds, the type of its numbers, whose vocabulary ids are of, and what frames are made of."""

    kind: str = setting(..., "what it holds", choices=tuple(COLUMN_KINDS))
    dtype: str = setting(..., "type of the numbers", choices=(*ID_TYPES, *DTYPES))
    tokenizer: str = ""
    features: FeatureForm | None = None


@dataclass(frozen=True, kw_only=True)
class TokenizerFacts:
    """A tokenizer: the size of its vocabulary, its special symbols, and a hash of all that makes it."""

    size: int = setting(..., "symbols", at_least=2, at_most=2**32)
    special_symbols: SpecialSymbols = FAIRSEQ_SYMBOLS
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class LimitFacts:
    """The most tokens of an example on each side, 0: any number, and what became of longer ones."""

    max_source_length: int = setting(..., "tokens", at_least=0)
    max_target_length: int = setting(..., "tokens", at_least=0)
    on_long: str = setting(..., "what became of longer ones", choices=("error", "truncate", "skip"))


@dataclass(frozen=True, kw_only=True)
class ShortlistFacts:
    """The table of translations."""

    num_translations: int = setting(..., "translations of a token", at_least=1)
    files: Mapping[str, FileFacts]


@dataclass(frozen=True, kw_only=True)
class MetaFacts:
    """All of meta.json; part: its number and how many there are, where the folder is a part of a dataset.

    statistics: of a part's features.
    """

    source_lang: str
    target_lang: str
    columns: Mapping[str, ColumnFacts]
    source_form: SourceForm = field(default_factory=SourceForm)
    tokenizers: Mapping[str, TokenizerFacts]
    limits: LimitFacts
    splits: Mapping[str, SplitFacts]
    settings: Mapping[str, Any] = field(default_factory=dict)
    shortlist: ShortlistFacts | None = None
    part: tuple[int, int] = (0, 1)
    statistics: StatisticsState | None = None


def read_meta(path: Path) -> dict[str, Any] | None:
    """What a folder's meta.json says, or None where it has none, or one of something else.

    Raises DataError where it is broken, contradicts itself or is of another version.
    """
    file = path / DATASET_META
    if not file.exists():
        return None
    with document.blaming(file, AGAIN):
        values = document.read(file, Any)
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            return None
    if values.get("version") != VERSION:
        raise DataError(
            f"{path}: the dataset has format version {values.get('version')}, this s2s reads {VERSION}; {AGAIN}"
        )
    with document.blaming(file, AGAIN):
        document.check(values, MetaFacts)
        _check_agreement(values)
    return values


def _check_agreement(meta: Mapping[str, Any]) -> None:
    """DataError where parts of meta.json contradict each other."""
    columns = meta["columns"]
    if "target" not in columns:
        raise DataError("columns.target is missing")
    for name, facts in meta["tokenizers"].items():
        if (number := special_symbols_of(facts).count) > facts["size"]:
            raise DataError(f"tokenizers.{name}.size = {facts['size']}, but {number} symbols are special")
    for name, column in columns.items():
        _check_kind(name, column, meta)
    for name, split in meta["splits"].items():
        shards = [shard for corpus in split["corpora"] for shard in corpus["shards"]]
        for shard in shards:
            location = f"splits.{name}, the shard {shard['path']}"
            _check_inside(shard["path"], location)
            for column, facts in columns.items():
                layout = ColumnLayout.of(facts, meta["tokenizers"])
                _check_column(shard, column, layout, location)
        found = sum(shard["num_examples"] for shard in shards)
        if found != split["num_examples"]:
            raise DataError(
                f"splits.{name}.num_examples = {split['num_examples']}, but its shards have {found}"
            )
    for name in (*meta["tokenizers"], *(name for name, _ in _named_files(meta))):
        _check_inside(name, "tokenizers and files")


def _check_kind(name: str, column: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """DataError where what is said of a column is not what one of its kind has."""
    if column["kind"] == "features":
        if column.get("features") is None:
            raise DataError(f"columns.{name}.features is missing")
        form = FeatureForm.from_meta(column["features"], is_part="part" in meta)
        if column["dtype"] != form.dtype:
            raise DataError(f"columns.{name}.dtype = {column['dtype']}, but its features are of {form.dtype}")
        return
    if column["dtype"] not in ID_TYPES:
        raise DataError(f"columns.{name}.dtype = {column['dtype']} is no type of ids")
    if column.get("tokenizer") not in meta["tokenizers"]:
        raise DataError(f"columns.{name}.tokenizer = {column.get('tokenizer')} is not among tokenizers")


def _check_inside(name: str, location: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise DataError(f"{location}: {name!r} is no path within the dataset")


def _check_column(shard: Mapping[str, Any], column: str, layout: ColumnLayout, location: str) -> None:
    """DataError where the sizes of a column's files are not those of so many examples."""
    if column not in shard["longest"]:
        raise DataError(f"{location}: longest.{column} is missing")
    for ending in layout.endings:
        if f"{column}.{ending}" not in shard["files"]:
            raise DataError(f"{location}: files.{column}.{ending} is missing")
    sizes = {ending: shard["files"][f"{column}.{ending}"]["bytes"] for ending in layout.endings}
    ends = shard["num_examples"] * END_DTYPE.itemsize
    if sizes["ends"] != ends or sizes["text_ends"] != ends or sizes[layout.values] % layout.position_bytes:
        raise DataError(
            f"{location}: {counted(shard['num_examples'], 'example')} cannot be in files of {column} with "
            f"{', '.join(f'{size} B ({ending})' for ending, size in sizes.items())}"
        )


def _named_files(meta: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The files that meta.json names, by their path in the folder, and what it says of them."""
    yield from ((meta.get("shortlist") or {}).get("files", {})).items()
    for split in meta["splits"].values():
        for corpus in split["corpora"]:
            for shard in corpus["shards"]:
                for name, expected in shard["files"].items():
                    yield f"{shard['path']}/{name}", expected


def files(path: Path, meta: Mapping[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The files of a dataset folder that have checksums, and what meta.json says of each."""
    return ((path / name, expected) for name, expected in _named_files(meta))


def check_files(path: Path, meta: Mapping[str, Any]) -> None:
    """DataError where a file has not the size that meta.json says, or ends beyond or before what they divide."""
    for file, expected in files(path, meta):
        size = file.stat().st_size if file.is_file() else None
        if size != expected["bytes"]:
            found = (
                "is missing" if size is None else f"has {counted(size, 'byte')}, not {expected['bytes']:,}"
            )
            raise DataError(f"{file}: the file {found}; {AGAIN}")
    for split in meta["splits"].values():
        for shard in (shard for corpus in split["corpora"] for shard in corpus["shards"]):
            for column, facts in meta["columns"].items():
                layout = ColumnLayout.of(facts, meta["tokenizers"])
                values, ends, text, text_ends = layout.endings
                for divided, name, size in ((values, ends, layout.position_bytes), (text, text_ends, 1)):
                    total = shard["files"][f"{column}.{divided}"]["bytes"] // size
                    _check_last_end(path / shard["path"] / f"{column}.{name}", shard["num_examples"], total)


def _check_last_end(file: Path, number: int, total: int) -> None:
    """DataError unless the last of some ends is the number of all that they divide; reads nothing else."""
    last = 0
    if number:
        try:
            with file.open("rb") as stream:
                stream.seek(-END_DTYPE.itemsize, os.SEEK_END)
                last = int.from_bytes(stream.read(), "little", signed=True)
        except OSError as error:
            raise DataError(f"{file}: cannot read: {error.strerror}") from None
    if last != total:
        raise DataError(f"{file}: the last end is {last}, but there are {total} to divide; {CHANGED}")
