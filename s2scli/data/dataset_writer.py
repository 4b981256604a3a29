"""Writing a dataset folder (see data/dataset.py) so that it is whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from s2scli.data.dataset import END_DTYPE, META, ids_dtype, read_meta, tokenizer_file
from s2scli.errors import UsageError
from s2scli.io import explain_write_errors
from s2scli.text.tokenizer import Tokenizer

CORPUS = "main"
ENDINGS = ("ids", "ends", "text", "text_ends")


@dataclass(frozen=True)
class ColumnChunk:
    """Some examples of one column: ids and UTF-8 text one after the other, and the length of each."""

    ids: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]
    text: bytes
    text_lengths: npt.NDArray[np.int64]


class _File:
    """A file that knows its size and checksum."""

    def __init__(self, path: Path) -> None:
        self._stream: BinaryIO = path.open("wb")
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._stream.write(data)
        self._hash.update(data)
        self.size += len(data)

    def close(self) -> dict[str, Any]:
        with self._stream:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        return {"bytes": self.size, "sha256": self._hash.hexdigest()}

    def abandon(self) -> None:
        self._stream.close()


class ShardWriter:
    """Writes the examples of one shard, chunk after chunk, and counts the tokens of each kind."""

    def __init__(self, root: Path, path: str, vocabulary_sizes: Mapping[str, int]) -> None:
        self.num_examples = 0
        self.token_counts = {column: np.zeros(size, np.int64) for column, size in vocabulary_sizes.items()}
        self._longest = dict.fromkeys(vocabulary_sizes, 0)
        self._dtypes = {column: ids_dtype(size) for column, size in vocabulary_sizes.items()}
        self._path = path
        self._folder = root / path
        self._last_ends = {
            (column, ending): 0 for column in vocabulary_sizes for ending in ("ends", "text_ends")
        }
        self._files: dict[str, _File] = {}
        with explain_write_errors(self._folder):
            self._folder.mkdir(parents=True)
            for column in vocabulary_sizes:
                for ending in ENDINGS:
                    name = f"{column}.{ending}"
                    self._files[name] = _File(self._folder / name)

    def append(self, chunk: Mapping[str, ColumnChunk]) -> None:
        """Add examples, the same number in each column."""
        with explain_write_errors(self._folder):
            for column, part in chunk.items():
                ids = part.ids.astype(self._dtypes[column])
                self._files[f"{column}.ids"].write(ids.tobytes())
                self._files[f"{column}.text"].write(part.text)
                self._write_ends(column, "ends", part.lengths)
                self._write_ends(column, "text_ends", part.text_lengths)
                self._longest[column] = max(self._longest[column], int(part.lengths.max(initial=0)))
                self.token_counts[column] += np.bincount(ids, minlength=len(self.token_counts[column]))
        self.num_examples += len(part.lengths)

    def _write_ends(self, column: str, ending: str, lengths: npt.NDArray[np.int64]) -> None:
        ends = np.cumsum(lengths) + self._last_ends[column, ending]
        if len(ends):
            self._last_ends[column, ending] = int(ends[-1])
        self._files[f"{column}.{ending}"].write(ends.astype(END_DTYPE).tobytes())

    def close(self) -> dict[str, Any]:
        """Finish the files; returns what meta.json says of the shard."""
        with explain_write_errors(self._folder):
            files = {name: file.close() for name, file in self._files.items()}
        return {
            "path": self._path,
            "num_examples": self.num_examples,
            "longest": self._longest,
            "files": files,
        }

    def abandon(self) -> None:
        """Let go of the files; closing twice does no harm."""
        for file in self._files.values():
            file.abandon()


class DatasetWriter:
    """Writes the splits, the tokenizers and at last meta.json into a folder."""

    def __init__(self, folder: Path, vocabulary_sizes: Mapping[str, int], resources: ExitStack) -> None:
        self._folder = folder
        self._vocabulary_sizes = vocabulary_sizes
        self._resources = resources

    def shard(self, split: str) -> ShardWriter:
        """Begin the one shard of a split."""
        shard = ShardWriter(self._folder, f"{split}/{CORPUS}-00000", self._vocabulary_sizes)
        self._resources.callback(shard.abandon)
        return shard

    def write_tokenizer(self, name: str, tokenizer: Tokenizer) -> None:
        """Write a tokenizer's document, and its vocabulary for people to read."""
        self._write(tokenizer_file(name), tokenizer.to_bytes())
        self._write(f"dict.{name}.txt", tokenizer.vocabulary.to_dict_txt().encode("utf-8"))

    def write_meta(self, meta: Mapping[str, Any]) -> None:
        """Write meta.json, which makes the folder a dataset."""
        self._write(META, f"{json.dumps(meta, ensure_ascii=False, indent=2)}\n".encode())

    def _write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        with explain_write_errors(path):
            file = _File(path)
            self._resources.callback(file.abandon)
            file.write(data)
            file.close()


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
    meta = read_meta(path)
    if meta is None:
        raise UsageError(
            f"--destdir {path}: the folder holds something other than a dataset; choose another one"
        )
    own = {META, *meta.get("splits", {})}
    own |= {
        name
        for column in meta.get("tokenizers", {})
        for name in (tokenizer_file(column), f"dict.{column}.txt")
    }
    foreign = sorted(entries - own)
    if foreign and not overwrite:
        raise UsageError(
            f"--destdir {path}: the dataset folder also holds {', '.join(foreign[:3])}"
            f"{' …' if len(foreign) > 3 else ''}; move that away, choose another folder, "
            "or delete all of it with --overwrite"
        )


@contextmanager
def write_dataset(
    path: Path, vocabulary_sizes: Mapping[str, int], *, overwrite: bool
) -> Iterator[DatasetWriter]:
    """Yield a writer to a temporary folder beside `path`, which takes its place when all went well.

    On failure the temporary folder is removed and what was at `path` stays.
    """
    check_destination(path, overwrite=overwrite)
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    replaced = path.with_name(f".{path.name}.{os.getpid()}.old")
    with ExitStack() as resources:
        resources.callback(shutil.rmtree, replaced, ignore_errors=True)
        resources.callback(shutil.rmtree, temporary, ignore_errors=True)
        with explain_write_errors(path):
            temporary.mkdir(parents=True)
        yield DatasetWriter(temporary, vocabulary_sizes, resources)
        with explain_write_errors(path):
            _swap(temporary, path, replaced)


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
