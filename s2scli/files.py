"""Opening files so that nothing but them is read or written, and no command waits or fills the memory by one.

What a command writes under a name that it has made up itself, as a lock, a log or a part of what is being made, is a
regular file and no link, in a folder that is none: what somebody else has put there, or a run folder that was
downloaded holds, must not lead into another file. What the user has named, as in --output or --save-dir, may be a link,
and is followed.
"""

from __future__ import annotations

import builtins
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO, cast

from s2scli.errors import DataError, S2SError, UsageError

# The files by which folders of s2s are told apart: of a run, of a dataset.
RUN_LOG = "log.jsonl"
DATASET_META = "meta.json"
# What is small by its nature, as settings or a tokenizer, has this many bytes at most.
SMALL = 64 << 20
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}


def kind_of(mode: int) -> str:
    """What a file is by its mode, if it is no regular one: "a folder", "a named pipe"."""
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


def keep_inputs(flag: str, output: Path | None, inputs: Iterable[Path | None]) -> None:
    """UsageError where a file that is to be written, as the flag says, is one of those that are read."""
    if output is not None and output.exists() and is_regular(output):
        for path in inputs:
            if path is not None and path.exists() and output.samefile(path):
                raise UsageError(
                    f"{flag} {output}: is one of the inputs, which would be lost; give another name"
                )


def check_no_folder(flag: str, output: Path | None) -> None:
    """UsageError where a file that is to be written, as the flag says, is a folder."""
    if output is not None and output.is_dir():
        raise UsageError(f"{flag} {output}: is a folder, not a file")


def is_regular(path: Path) -> bool:
    """Whether a file that is there is a regular one, so that it can be read more than once."""
    return stat.S_ISREG(path.stat().st_mode)


@contextmanager
def name_in_utf8(path: Path) -> Iterator[str]:
    """A name of a file that is read, for libraries that take no other names than such of UTF-8."""
    name = str(path)
    if name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name):
        yield name
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield f"/dev/fd/{descriptor}"
    finally:
        os.close(descriptor)


def read_small(path: Path, limit: int = SMALL) -> bytes:
    """All that is in a file that is small by its nature; a pipe (`<(…)`) may be one.

    Raises OSError where it cannot be read, and DataError where it is larger than the limit, in bytes, is a folder, or a
    named pipe that nobody writes into.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder, not a file")
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        mode = os.fstat(descriptor).st_mode
        # Without waiting: of a pipe without a writer this is the end, and of one whose writer is slow it is None.
        found = stream.read(1 << 16)
        if found == b"" and stat.S_ISFIFO(mode):
            raise DataError(f"{path}: nothing comes from this pipe; give a file")
        os.set_blocking(descriptor, True)
        blocks = [found or b""]
        size = len(blocks[0])
        while size <= limit and (block := stream.read(min(1 << 20, limit + 1 - size))):
            blocks.append(block)
            size += len(block)
    if size > limit:
        raise DataError(
            f"{path}: is larger than {limit >> 20} MB, which such a file never is; is it the right one?"
        )
    return b"".join(blocks)


def open_own(path: Path, mode: str) -> BinaryIO:
    """Open a file under a name of our own for writing bytes; mode: as for Python's open.

    Raises S2SError where there is a link, or something else that is no regular file.
    """
    return cast(BinaryIO, _open_own(path, mode))


def open_own_text(path: Path, mode: str) -> TextIO:
    """Open a text file as `open_own` does."""
    return cast(TextIO, _open_own(path, mode, encoding="utf-8", newline="\n"))


def _open_own(path: Path, mode: str, **options: Any) -> IO[Any]:
    def opener(name: str, flags: int) -> int:
        # Emptied when it is known what it is.
        safe = flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        kind, descriptor = "", -1
        try:
            descriptor = os.open(name, safe, 0o666)
        except OSError as error:
            kind = {errno.ELOOP: "a link", errno.ENXIO: "a pipe or a socket"}.get(error.errno or 0, "")
            if not kind:
                raise
        if kind:
            # Out of the handler: this is no failure of writing, which may pass.
            raise _not_ours(path, kind)
        found = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(found):
            os.close(descriptor)
            raise _not_ours(path, kind_of(found))
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
        return descriptor

    return builtins.open(path, mode, opener=opener, **options)


def make_own_folder(path: Path) -> None:
    """Make a folder under a name of our own, or take one that is there, and all in it, if it is ours.

    Raises S2SError where it is a link, another user's, or holds a link.
    """
    if not path.is_symlink():
        path.mkdir(parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise _not_ours(path, kind_of(found.st_mode))
    if found.st_uid != os.geteuid() and found.st_uid != _owner_of_new(path.parent):
        raise _not_ours(path, "another user's folder")
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            check_no_link(Path(folder, name))


def check_no_link(path: Path) -> None:
    """Raise S2SError where a name of our own is a link."""
    if path.is_symlink():
        raise _not_ours(path, "a link")


def _owner_of_new(folder: Path) -> int:
    """Who owns what is made in a folder now: some file systems of a network have one owner for all."""
    from tempfile import TemporaryFile  # what few need takes a while to load

    with TemporaryFile(dir=folder) as stream:
        return os.fstat(stream.fileno()).st_uid


def _not_ours(path: Path, kind: str) -> S2SError:
    return S2SError(f"{path}: is {kind}, and s2s writes there into nothing but a file of its own; remove it")
