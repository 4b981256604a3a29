"""Reading lines of text and writing files that are whole or not there."""

from __future__ import annotations

import bz2
import codecs
import errno
import glob
import gzip
import lzma
import os
import platform
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from s2scli.console import warn
from s2scli.errors import DataError, S2SError

STDIN = Path("-")
LOCK = ".lock"
# Endings of compressed files, and what opens them.
COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


@contextmanager
def open_input(path: Path) -> Iterator[BinaryIO]:
    """Open a file, plain, .gz, .xz or .bz2, or standard input ('-') for reading bytes."""
    if path == STDIN:
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            raise DataError(f"{path}: no such file") from None
        except OSError as error:
            raise DataError(f"{path}: cannot read: {error.strerror}") from None
        if path.suffix in COMPRESSED:
            yield cast(BinaryIO, stack.enter_context(COMPRESSED[path.suffix](stream, "rb")))
        else:
            yield stream


def decode(raw: bytes) -> tuple[str, str]:
    """The text of a line without its end, and what is broken in it, or nothing; only \\n, or \\r\\n, ends a line.

    What is not UTF-8, and NUL, is U+FFFD in the text.
    """
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        text = raw.decode("utf-8", errors="replace").replace("\0", "\ufffd")
        return text, f"is not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1})"
    return (text.replace("\0", "\ufffd"), "holds a NUL character") if "\0" in text else (text, "")


def read_raw_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file with their ends; a byte order mark at the start is dropped.

    Raises DataError for compressed data that is broken.
    """
    with open_input(path) as stream:
        number = 0
        try:
            for number, raw in enumerate(stream, start=1):
                yield raw if number > 1 else raw.removeprefix(b"\xef\xbb\xbf")
        except OSError as error:
            # bz2 raises a plain one for data that is no bzip2.
            if path.suffix not in COMPRESSED or (error.errno and not isinstance(error, _BROKEN)):
                raise
            raise DataError(f"{path}:{number + 1}: broken {path.suffix} data ({error})") from None
        except _BROKEN as error:
            raise DataError(f"{path}:{number + 1}: broken {path.suffix} data ({error})") from None


def input_name(path: Path) -> str:
    """What messages call an input."""
    return "standard input" if path == STDIN else str(path)


def count_lines(path: Path) -> tuple[int, bool]:
    """The lines of a file, and whether none of them is broken, see `decode`; ten times as fast as reading them.

    Data that cannot be decompressed counts as broken.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    number, end, is_whole = 0, b"\n", True
    try:
        with open_input(path) as stream:
            while block := stream.read(1 << 20):
                number, end = number + block.count(b"\n"), block[-1:]
                is_whole = is_whole and b"\0" not in block and _decodes(decoder, block)
    except (OSError, *_BROKEN):
        return number, False
    return number + (end != b"\n"), is_whole and _decodes(decoder, b"", final=True)


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def read_lines(path: Path, *, replace: bool = False) -> Iterator[str]:
    """Yield the lines of a text file, without their ends; see `decode_lines`."""
    return decode_lines(read_raw_lines(path), input_name(path), replace=replace)


def decode_lines(lines: Iterable[bytes], name: str, *, replace: bool = False) -> Iterator[str]:
    """Yield the text of lines, without their ends.

    Raises DataError with the name and the line for text that is broken, or with `replace` warns and puts U+FFFD there.
    """
    for number, raw in enumerate(lines, start=1):
        text, problem = decode(raw)
        if problem and not replace:
            raise DataError(
                f"{name}:{number}: the line {problem}; mend the file (iconv -c drops what is not UTF-8)"
            )
        if problem:
            warn(f"{name}:{number}: the line {problem}; replaced by U+FFFD")
        yield text


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError while writing `path` into one clear line."""
    try:
        yield
    except OSError as error:
        remedy = "; free some space and repeat the command" if error.errno == errno.ENOSPC else ""
        raise S2SError(f"{path}: cannot write: {error.strerror or error}{remedy}") from None


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, in a folder of its own beside `path`; it is synced and renamed in the end.

    A reader sees the old file or the new one, never a part. On failure the folder is removed; that of a process
    which was killed is, when the same file is written the next time.
    """
    folder = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with explain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path)
            # A folder, since some writers put temporary files of their own beside what they write.
            folder.mkdir()
            temporary = folder / path.name
            yield temporary
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            # Some writers make their files private; a result is as readable as any new file.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
    finally:
        _remove(folder)


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file that appears when it is complete; a pipe or a device with a name is written to as it is."""
    with ExitStack() as stack:
        stack.enter_context(explain_write_errors(path))
        target = path
        if path.is_file() or not path.exists():
            target = stack.enter_context(write_atomically(path))
        yield stack.enter_context(target.open("w", encoding="utf-8", newline="\n"))


def remove_leftovers(path: Path) -> None:
    """Remove what processes that were killed while they wrote `path` have left beside it."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        number = leftover.name.split(".")[-2]
        # One of our own number is of an earlier process: a container begins to count anew.
        if number.isdecimal() and (int(number) == os.getpid() or not _is_alive(int(number))):
            _remove(leftover)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def partial_folder(path: Path) -> Path:
    """The folder beside a destination where it is made, so that an interrupted command can be gone on with."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def locked(folder: Path, remedy: str) -> Iterator[None]:
    """Make a folder if need be, and keep other processes from the same work in it until the end of this.

    The kernel lets go of the lock when the process ends, however it does. On a file system without locks there is
    none. Raises S2SError, with the remedy, where another process holds it.
    """
    path, is_new = folder / LOCK, not folder.exists()
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(path, remedy)
    try:
        with suppress(OSError):
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
            if is_new:
                folder.rmdir()
        os.close(descriptor)


def _lock(path: Path, remedy: str) -> int:
    """Open a file of its own for a lock, and lock it."""
    import fcntl  # which Windows has not

    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode("utf-8", errors="replace") or "another process"
            os.close(descriptor)
            raise S2SError(f"{path.parent}: {holder} is at work in this folder; {remedy}") from None
        except OSError:
            return descriptor
        if os.fstat(descriptor).st_nlink:
            return descriptor
        # Who held it has just removed the file: another process may make and lock a new one.
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it can be."""
    with suppress(OSError):
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)
