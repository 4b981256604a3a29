"""Writing a dataset folder (see data/dataset.py) so that it is whole or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from s2scli.data.layout import ColumnLayout
from s2scli.data.meta import read_meta
from s2scli.data.progress import PROGRESS, read_progress
from s2scli.data.shard_writer import ChecksummedFile
from s2scli.data.shortlist_table import SHORTLIST, SHORTLIST_DTYPE, ShortlistTable
from s2scli.data.split_writer import SplitWriter
from s2scli.data.tokenizers import tokenizer_file
from s2scli.errors import DataError, UsageError
from s2scli.files import DATASET_META
from s2scli.io import explain_write_errors, partial_folder, write_atomically
from s2scli.locks import LOCK, locked
from s2scli.record import to_json_text
from s2scli.text.tokenizer import Tokenizer


class DatasetWriter:
    """Writes the splits, the tokenizers and at last meta.json into a folder.

    progress: what `save_progress` last wrote there, where a process that was killed had begun the same dataset.
    """

    def __init__(self, folder: Path, resources: ExitStack, progress: Mapping[str, Any] | None) -> None:
        self.folder = folder
        self.progress = progress
        self._resources = resources

    def split(
        self, name: str, corpora: Sequence[str], columns: Mapping[str, ColumnLayout], shard_size: int
    ) -> SplitWriter:
        """The writer of a split, which continues where a process that was killed has left it."""
        state = self.progress["splits"][name] if self.progress else None
        split = SplitWriter(self.folder, name, corpora, columns, shard_size, state)
        self._resources.callback(split.abandon)
        return split

    def save_progress(self, progress: Mapping[str, Any]) -> None:
        """Write what the same command needs to continue from here, should this process be killed."""
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
        self._write(DATASET_META, f"{to_json_text(meta, indent=2)}\n".encode())

    def _write(self, name: str, data: bytes) -> dict[str, Any]:
        path = self.folder / name
        with explain_write_errors(path):
            file = ChecksummedFile(path)
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
    own = {DATASET_META, *meta["splits"], *(meta.get("shortlist") or {}).get("files", {})}
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

    fingerprint: of all that the dataset is made from. The writer continues what a process that was killed or
    interrupted has left of the same dataset; what is left of another one is removed. On an error the folder is removed,
    and what was at `path` stays. Raises S2SError where another process makes a dataset at that path.
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
