"""Writing a dataset folder (see data/dataset.py) so that it is whole or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from s2scli.console import counted
from s2scli.data.dataset import (
    SHORTLIST,
    SHORTLIST_DTYPE,
    ShortlistTable,
    ids_dtype,
    tokenizer_file,
)
from s2scli.data.meta import AGAIN, END_DTYPE, META, read_meta
from s2scli.data.progress import PROGRESS, read_progress
from s2scli.errors import DataError, UsageError
from s2scli.files import open_own
from s2scli.io import explain_write_errors, partial_folder, write_atomically
from s2scli.locks import LOCK, locked
from s2scli.record import to_json_text
from s2scli.text.tokenizer import Tokenizer

ENDINGS = ("ids", "ends", "text", "text_ends")


@dataclass(frozen=True)
class ColumnChunk:
    """Some examples of one column: ids and UTF-8 text one after the other, and the length of each."""

    ids: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]
    text: bytes
    text_lengths: npt.NDArray[np.int64]

    def cut(self, number: int) -> tuple[ColumnChunk, ColumnChunk]:
        """The first so many examples, and the others."""
        ids, text = int(self.lengths[:number].sum()), int(self.text_lengths[:number].sum())
        return (
            ColumnChunk(self.ids[:ids], self.lengths[:number], self.text[:text], self.text_lengths[:number]),
            ColumnChunk(self.ids[ids:], self.lengths[number:], self.text[text:], self.text_lengths[number:]),
        )


class _File:
    """A file that knows its size and checksum; one that was begun before goes on from `size`."""

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
        self._stream.write(data)
        self._hash.update(data)
        self.size += len(data)

    def sync(self) -> int:
        """See that what was written is on the disk; returns the size."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return self.size

    def close(self) -> dict[str, Any]:
        with self._stream:
            self.sync()
        return {"bytes": self.size, "sha256": self._hash.hexdigest()}

    def abandon(self) -> None:
        self._stream.close()


class ShardWriter:
    """Writes the examples of one shard, chunk after chunk."""

    def __init__(
        self,
        root: Path,
        path: str,
        columns: Mapping[str, np.dtype[Any]],
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
        self._files: dict[str, _File] = {}
        with explain_write_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            for column in columns:
                for ending in ENDINGS:
                    name = f"{column}.{ending}"
                    self._files[name] = _File(self._folder / name, state["sizes"].get(name, 0))

    def append(self, chunk: Mapping[str, ColumnChunk]) -> None:
        """Add examples, the same number in each column."""
        with explain_write_errors(self._folder):
            for column, part in chunk.items():
                self._files[f"{column}.ids"].write(part.ids.astype(self._columns[column]).tobytes())
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
        """What it takes to go on from here; all that was written is on the disk."""
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
        """Let go of the files; closing twice does no harm."""
        for file in self._files.values():
            file.abandon()


def count_tokens(file: Path, dtype: np.dtype[Any], counts: npt.NDArray[np.int64]) -> None:
    """Add how often each id is in a file to the counts; DataError for an id that they have no place for."""
    ids = np.memmap(file, dtype, mode="r") if file.stat().st_size else np.zeros(0, dtype)
    for start in range(0, len(ids), 1 << 24):
        found = np.bincount(ids[start : start + (1 << 24)], minlength=len(counts))
        if len(found) > len(counts):
            raise DataError(
                f"{file}: holds an id beyond its vocabulary of {counted(len(counts), 'symbol')}; {AGAIN}"
            )
        counts += found


class CorpusWriter:
    """Writes a corpus of a split in shards of `shard_size` examples (0: one shard); counts how often each id occurs."""

    def __init__(
        self,
        root: Path,
        stem: str,
        vocabulary_sizes: Mapping[str, int],
        shard_size: int,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._root, self._stem, self._shard_size = root, stem, shard_size
        self._columns = {column: ids_dtype(size) for column, size in vocabulary_sizes.items()}
        self.token_counts = {column: np.zeros(size, np.int64) for column, size in vocabulary_sizes.items()}
        self.shards: list[dict[str, Any]] = list(state["shards"]) if state else []
        self._current = self._open(state["current"] if state else None)
        for path in [shard["path"] for shard in self.shards] + [self._current.path] if state else []:
            for column, counts in self.token_counts.items():
                count_tokens(root / path / f"{column}.ids", self._columns[column], counts)

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
        for column, part in chunk.items():
            counts = self.token_counts[column]
            counts += np.bincount(part.ids, minlength=len(counts))
        number = len(next(iter(chunk.values())).lengths)
        while self._shard_size and self._current.num_examples + number > self._shard_size:
            room = self._shard_size - self._current.num_examples
            cut = {column: part.cut(room) for column, part in chunk.items()}
            self._current.append({column: parts[0] for column, parts in cut.items()})
            self.shards.append(self._current.close())
            self._current = self._open()
            chunk, number = {column: parts[1] for column, parts in cut.items()}, number - room
        self._current.append(chunk)

    def state(self) -> dict[str, Any]:
        """What it takes to go on from here."""
        return {"shards": self.shards, "current": self._current.state()}

    def close(self) -> list[dict[str, Any]]:
        """Finish the last shard; returns what meta.json says of all of them."""
        self.shards.append(self._current.close())
        return self.shards

    def abandon(self) -> None:
        """Let go of the files."""
        self._current.abandon()


class SplitWriter:
    """Writes the corpora of one split; shards of `shard_size` examples, 0: one for each corpus."""

    def __init__(
        self,
        root: Path,
        split: str,
        corpora: Sequence[str],
        vocabulary_sizes: Mapping[str, int],
        shard_size: int,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._corpora = {
            name: CorpusWriter(
                root, f"{split}/{name}", vocabulary_sizes, shard_size, state[name] if state else None
            )
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
        """What it takes to go on from here."""
        return {name: corpus.state() for name, corpus in self._corpora.items()}

    def close(self) -> list[dict[str, Any]]:
        """Finish the corpora; returns what meta.json says of them."""
        return [{"name": name, "shards": corpus.close()} for name, corpus in self._corpora.items()]

    def abandon(self) -> None:
        """Let go of the files."""
        for corpus in self._corpora.values():
            corpus.abandon()


class DatasetWriter:
    """Writes the splits, the tokenizers and at last meta.json into a folder.

    progress: what `save_progress` last wrote there, where a process that was killed had begun the same dataset.
    """

    def __init__(self, folder: Path, resources: ExitStack, progress: Mapping[str, Any] | None) -> None:
        self.folder = folder
        self.progress = progress
        self._resources = resources

    def split(
        self, name: str, corpora: Sequence[str], vocabulary_sizes: Mapping[str, int], shard_size: int
    ) -> SplitWriter:
        """Begin a split, or go on with it."""
        state = self.progress["splits"][name] if self.progress else None
        split = SplitWriter(self.folder, name, corpora, vocabulary_sizes, shard_size, state)
        self._resources.callback(split.abandon)
        return split

    def save_progress(self, progress: Mapping[str, Any]) -> None:
        """Note what it takes to go on from here should the process be killed."""
        with write_atomically(self.folder / PROGRESS) as temporary:
            temporary.write_text(json.dumps(progress), encoding="utf-8")

    def write_tokenizer(self, name: str, tokenizer: Tokenizer) -> None:
        """Write a tokenizer's document, and its vocabulary for people to read."""
        self._write(tokenizer_file(name), tokenizer.to_bytes())
        self._write(f"dict.{name}.txt", tokenizer.vocabulary.to_dict_txt().encode("utf-8"))

    def write_shortlist(self, table: ShortlistTable) -> dict[str, Any]:
        """Write a shortlist table; returns what meta.json says of it."""
        files = {
            name: self._write(name, values.astype(SHORTLIST_DTYPE).tobytes())
            for name, values in zip(SHORTLIST, table, strict=True)
        }
        return {"num_translations": table.targets.shape[1], "files": files}

    def write_meta(self, meta: Mapping[str, Any]) -> None:
        """Write meta.json, which makes the folder a dataset."""
        (self.folder / PROGRESS).unlink(missing_ok=True)
        self._write(META, f"{to_json_text(meta, indent=2)}\n".encode())

    def _write(self, name: str, data: bytes) -> dict[str, Any]:
        path = self.folder / name
        with explain_write_errors(path):
            file = _File(path)
            self._resources.callback(file.abandon)
            file.write(data)
            return file.close()


def check_destination(path: Path, *, overwrite: bool) -> None:
    """Raise UsageError where writing a dataset to `path` would destroy something else.

    A folder that is empty, or a dataset and nothing else, is replaced. `overwrite` also replaces a dataset
    folder that other files were put into. Anything else is never replaced.
    """
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_dir():
        raise UsageError(f"--destdir {path}: is a file, not a folder")
    entries = {entry.name for entry in path.iterdir()}
    if not entries:
        return
    try:
        meta = read_meta(path)
    except DataError as error:
        raise UsageError(
            f"--destdir {path}: holds a dataset that is broken, or something else; delete it, or choose another "
            f"folder ({error})"
        ) from None
    if meta is None:
        raise UsageError(
            f"--destdir {path}: the folder holds something other than a dataset; choose another one"
        )
    own = {META, *meta["splits"], *(meta.get("shortlist") or {}).get("files", {})}
    own |= {name for column in meta["tokenizers"] for name in (tokenizer_file(column), f"dict.{column}.txt")}
    foreign = sorted(entries - own)
    if foreign and not overwrite:
        raise UsageError(
            f"--destdir {path}: the dataset folder also holds {', '.join(foreign[:3])}"
            f"{' …' if len(foreign) > 3 else ''}; move that away, choose another folder, "
            "or delete all of it with --overwrite"
        )


@contextmanager
def write_dataset(path: Path, fingerprint: str, *, overwrite: bool) -> Iterator[DatasetWriter]:
    """Yield a writer to a folder beside `path`, which takes its place when all went well.

    fingerprint: of all that the dataset is made from. What a process that was killed or interrupted has left of the
    same one is gone on with, and of another one removed. On an error the folder is removed, and what was at `path`
    stays. Raises S2SError where another process makes a dataset at that path.
    """
    check_destination(path, overwrite=overwrite)
    path = path.resolve()
    partial, replaced = partial_folder(path), path.with_name(f".{path.name}.replaced")
    with ExitStack() as resources:
        resources.enter_context(locked(partial, "wait for its end, or give another --destdir", is_own=True))
        progress = read_progress(partial, fingerprint)
        if progress is None:
            for entry in partial.iterdir():
                if entry.name != LOCK:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        resources.callback(shutil.rmtree, replaced, ignore_errors=True)
        try:
            with ExitStack() as files:
                yield DatasetWriter(partial, files, progress)
            (partial / LOCK).unlink(missing_ok=True)
            with explain_write_errors(path):
                _swap(partial, path, replaced)
        except BaseException as error:
            if not (isinstance(error, KeyboardInterrupt) and (partial / PROGRESS).exists()):
                shutil.rmtree(partial, ignore_errors=True)
            raise


def _swap(temporary: Path, path: Path, replaced: Path) -> None:
    """Put the new folder in the place of the old one, which comes back if that fails."""
    if not path.exists():
        temporary.rename(path)
        return
    path.rename(replaced)
    try:
        temporary.rename(path)
    except OSError:
        replaced.rename(path)
        raise
