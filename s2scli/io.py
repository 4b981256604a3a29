"""Reading lines of text and writing files that are whole or not there.

A name that the user has given to what is written may be a link, and is followed; see `files` for all other names.
"""

from __future__ import annotations

import bz2
import codecs
import errno
import glob
import gzip
import lzma
import os
import shutil
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast
from weakref import WeakSet

from s2scli.errors import DataError, S2SError, UsageError
from s2scli.files import is_regular, kind_of
from s2scli.notes import Note, Summary

STDIN = Path("-")
# Endings of compressed files, and what opens them.
COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
# What compressed data begins with; of text nothing does.
_BEGINNINGS = {
    b"\x1f\x8b": ".gz",
    b"\xfd7zXZ\0": ".xz",
    **{
        b"BZh%d%b" % (level, block): ".bz2"
        for level in range(1, 10)
        for block in (b"1AY&SY", b"\x17rE8P\x90")
    },
}
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)
# A line of this many bytes is none: so many fit into memory, and what has no line ends, as /dev/zero, does not.
LONGEST_LINE = 64 << 20
# The standard inputs that have been opened, each of which can be read once.
_opened: WeakSet[Any] = WeakSet()
_REPLACED = "are not UTF-8, or hold NUL, and have U+FFFD there"


@contextmanager
def open_input(path: Path) -> Iterator[BinaryIO]:
    """Open a file, or standard input ('-'), for reading bytes; data of gzip, xz or bzip2 is decompressed.

    Raises DataError where there is nothing to read, and UsageError where standard input was opened before.
    """
    with ExitStack() as stack:
        stream = _standard_input() if path == STDIN else stack.enter_context(_open_file(path))
        ending = _compression(stream) or path.suffix
        if ending in COMPRESSED:
            yield cast(BinaryIO, stack.enter_context(COMPRESSED[ending](stream, "rb")))
        else:
            yield stream


def can_be_read_again(path: Path) -> bool:
    """Whether an input that is there is a regular file, and not standard input, a pipe or a device."""
    return path != STDIN and is_regular(path)


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise DataError("standard input: is closed")
    stream = sys.stdin.buffer
    if stream in _opened:
        raise UsageError(
            "standard input ('-') is named twice, and can be read once; give one of them as a file"
        )
    _opened.add(stream)
    return stream


def _open_file(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}") from None


def _compression(stream: BinaryIO) -> str:
    """The ending that the compressed data of a stream would have in a file's name, or nothing for other data."""
    if not hasattr(stream, "peek"):
        return ""
    begin = stream.peek(16)
    return next((ending for sign, ending in _BEGINNINGS.items() if begin.startswith(sign)), "")


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


def remedy_for(raw: bytes) -> str:
    """What to do about a line that is broken text, with its end."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it looks like UTF-16; convert the file: iconv -f UTF-16 -t UTF-8"
    for order, zeros in (("LE", raw[1::2]), ("BE", raw[::2])):
        if len(zeros) > 1 and zeros.count(0) > len(zeros) // 2:
            return f"it looks like UTF-16; convert the file: iconv -f UTF-16{order} -t UTF-8"
    return "mend the file (iconv -f UTF-8 -t UTF-8 -c drops what is not UTF-8, tr -d '\\000' drops NUL)"


def read_raw_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file with their ends; a byte order mark at the start is dropped.

    Raises DataError for compressed data that is broken, for a line longer than LONGEST_LINE, and where all lines end
    with a carriage return alone.
    """
    name, number = input_name(path), 0
    with open_input(path) as stream:
        try:
            for number, raw in enumerate(iter(partial(stream.readline, LONGEST_LINE + 1), b""), start=1):
                if len(raw) > LONGEST_LINE:
                    raise too_long(f"{name}:{number}")
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                    if not raw.endswith(b"\n") and b"\r" in raw[:-1]:
                        raise DataError(
                            f"{name}: its lines end with carriage returns alone; convert the file: tr '\\r' '\\n'"
                        )
                yield raw
        except (OSError, *_BROKEN) as error:
            # bz2 raises a plain OSError for data that is no bzip2.
            if isinstance(error, OSError) and error.errno and not isinstance(error, _BROKEN):
                raise DataError(f"{name}: cannot read: {error.strerror}") from None
            kind = path.suffix or "compressed"
            raise DataError(f"{name}:{number + 1}: broken {kind} data ({error})") from None


def too_long(place: str) -> DataError:
    """What is wrong with a line that is too long, at a place."""
    return DataError(f"{place}: the line is longer than {LONGEST_LINE >> 20} MB; is it text?")


def input_name(path: Path) -> str:
    """What messages call an input."""
    return "standard input" if path == STDIN else str(path)


def count_lines(path: Path) -> tuple[int, bool]:
    """The lines of a file, and whether none of them is broken, see `decode`; ten times as fast as reading them.

    Data that cannot be decompressed counts as broken, and so do lines that end with a carriage return alone. Raises
    DataError for a line longer than LONGEST_LINE.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    number, end, is_whole, length, returns = 0, b"\n", True, 0, False
    try:
        with open_input(path) as stream:
            while block := stream.read(1 << 20):
                last = block.rfind(b"\n")
                length = len(block) - 1 - last + (length if last < 0 else 0)
                if length > LONGEST_LINE:
                    raise too_long(f"{input_name(path)}:{number + 1}")
                number, end = number + block.count(b"\n"), block[-1:]
                returns = returns or b"\r" in block
                is_whole = is_whole and b"\0" not in block and _decodes(decoder, block)
    except (OSError, *_BROKEN):
        return number, False
    is_whole = is_whole and _decodes(decoder, b"", final=True) and not (returns and number == 0)
    return number + (end != b"\n"), is_whole


def lines_ahead(path: Path) -> int | None:
    """The lines that are still to be read of a file, or of standard input where it is one; None of anything else."""
    try:
        if path != STDIN:
            return count_lines(path)[0] if path.is_file() else None
        descriptor = sys.stdin.fileno()
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        number, end = 0, b"\n"
        # Without moving on in it: another reads it after this.
        while block := os.pread(descriptor, 1 << 20, place):
            number, end, place = number + block.count(b"\n"), block[-1:], place + len(block)
        return number + (end != b"\n")
    except (OSError, ValueError, AttributeError):
        return None


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def read_lines(path: Path, *, replace: bool = False, summary: Summary | None = None) -> Iterator[str]:
    """Yield the lines of a text file, without their ends; see `decode_lines`."""
    return decode_lines(read_raw_lines(path), input_name(path), replace=replace, summary=summary)


def decode_lines(
    lines: Iterable[bytes], name: str, *, replace: bool = False, summary: Summary | None = None
) -> Iterator[str]:
    """Yield the text of lines, without their ends.

    Raises DataError with the name and the line for text that is broken, or with `replace` puts U+FFFD there and adds
    to the summary, which is told at the end; without one it warns at once.
    """
    told = summary or Summary(verbose=True, name=name)
    try:
        for number, raw in enumerate(lines, start=1):
            text, problem = decode(raw)
            if problem and not replace:
                raise DataError(f"{name}:{number}: the line {problem}; {remedy_for(raw)}")
            if problem:
                hint = remedy_for(raw)
                text_of_one = (
                    f"the line {problem}; replaced by U+FFFD{f' ({hint})' if 'UTF-16' in hint else ''}"
                )
                told.add(number - 1, [Note(_REPLACED, text_of_one)])
            yield text
    finally:
        told.tell()


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
            if not path.is_symlink() and path.exists() and not is_regular(path):
                # A device that is replaced would be gone for all.
                raise S2SError(f"{path}: is {kind_of(path.stat().st_mode)}, not a file; give another name")
            remove_leftovers(path)
            # A folder, since some writers put temporary files of their own beside what they write; nobody else's links
            # can be in it.
            folder.mkdir(mode=0o700)
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
def write_named(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to as `write_atomically` does, for a file that the user has named.

    Where that is a link, what it leads to is written, and where its ending is that of a compressed file, what has been
    written is compressed in the end. What is no file, as /dev/null or a pipe, stays what it is and is written to.
    """
    if path.is_dir():
        raise S2SError(f"{path}: is a folder, not a file")
    if not path.exists() or is_regular(path):
        with write_atomically(path.resolve()) as temporary:
            yield temporary
            if path.suffix in COMPRESSED:
                plain = temporary.with_name("plain")
                temporary.rename(plain)
                _copy(plain, temporary, path.suffix)
                plain.unlink()
        return
    from tempfile import TemporaryDirectory  # what few need takes a while to load

    with TemporaryDirectory() as folder:
        temporary = Path(folder, path.name)
        yield temporary
        with explain_write_errors(path):
            _copy(temporary, path, path.suffix)


def _copy(source: Path, target: Path, ending: str) -> None:
    """Write what is in a file to another, compressed where the ending of its name says so."""
    with ExitStack() as stack:
        stream = stack.enter_context(source.open("rb"))
        into: BinaryIO = stack.enter_context(target.open("wb"))
        if ending in COMPRESSED:
            into = stack.enter_context(compressing(into, ending))
        shutil.copyfileobj(stream, into, 1 << 20)


def compressing(stream: BinaryIO, ending: str) -> BinaryIO:
    """What compresses, by the ending of a file's name, all that is written to it, into a stream."""
    if ending == ".gz":
        # Without a time: the same text is the same file.
        return cast(BinaryIO, gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0))
    return cast(BinaryIO, COMPRESSED[ending](stream, "wb"))


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file that the user has named, and that appears when it is complete, see `write_named`.

    A pipe or a device with a name is written to as it is.
    """
    with ExitStack() as stack:
        stack.enter_context(explain_write_errors(path))
        target = path
        if path.is_file() or not path.exists():
            target = stack.enter_context(write_named(path))
        # Bytes of file names that are no UTF-8 become question marks.
        yield stack.enter_context(target.open("w", encoding="utf-8", errors="replace", newline="\n"))


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


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it can be."""
    with suppress(OSError):
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)
