"""The standard streams of a command: UTF-8 whatever the locale, and the one door to a terminal.

What is written to a terminal is text: control characters in it, which could move its cursor, retitle or answer for it,
are shown by a sign of their own, whoever wrote them into a path, a tag, a checkpoint or a model's output. What this
program draws itself, bars and colours, goes through `drawing`. Pipes and files get every character as it is.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import select
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO, cast

from s2scli.errors import S2SError

# Control characters (C0 but for tab and line feed, DEL, C1), other ends of lines, what turns the direction of the text
# around it, and halves of characters, as the bytes of file names that are no UTF-8 are read.
_UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Columns where nothing is known of the terminal, and where it is said to have fewer than anything can be shown in.
_USUAL, _NARROWEST = 80, 20
# The encoding errors of what is written: bytes that came from a file's name go out as they were.
_BYTES_KEPT = "s2s_bytes_kept"


def visible(text: str) -> str:
    """A text of the same length in which control characters are signs: ␛ for ESC, ␇ for BEL, else U+FFFD."""
    return _UNSEEN.sub(_sign, text)


def columns(stream: Any) -> int:
    """How many columns a stream has: as COLUMNS says, else as its terminal is wide; 80 in a pipe, 20 at least."""
    said = os.environ.get("COLUMNS", "")
    number = int(said) if said.isascii() and said.isdecimal() else 0
    if not number:
        with suppress(OSError, ValueError, AttributeError):
            number = os.get_terminal_size(stream.fileno()).columns
    return max(_NARROWEST, number or _USUAL)


def _sign(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


def _keep_bytes(error: UnicodeError) -> tuple[str | bytes, int]:
    """The byte that a file name's half of a character stands for, or U+FFFD for any other half."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    code = ord(error.object[error.start])
    return bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else "\ufffd".encode(), error.start + 1


codecs.register_error(_BYTES_KEPT, _keep_bytes)


def to_bytes(text: str) -> bytes:
    """A text as UTF-8; bytes of file names that are no UTF-8 are what they were, other halves of characters U+FFFD."""
    return text.encode("utf-8", _BYTES_KEPT)


class _Drawing:
    """What bars and colours of our own are written to: the stream behind it gets them as they are."""

    encoding = "utf-8"

    def __init__(self, stream: Messages | Results) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text with control characters that are ours."""
        return self._stream.draw(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Messages(io.TextIOBase):
    """Standard error: where nobody reads it any more, or its disk is full, messages are lost, and the work goes on."""

    encoding = "utf-8"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_terminal = os.isatty(descriptor)
        self.drawing = _Drawing(self)

    def write(self, text: str) -> int:
        """Write text, on a terminal with its control characters shown, in one piece where that goes."""
        return self.draw(visible(text) if self._is_terminal else text)

    def draw(self, text: str) -> int:
        """Write text as it is."""
        rest = memoryview(to_bytes(text))
        with suppress(OSError):
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    # Another program has made the stream one that does not wait.
                    select.select([], [self._descriptor], [])
        return len(text)

    def writable(self) -> bool:
        """It is written to."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._is_terminal

    def fileno(self) -> int:
        """The file descriptor."""
        return self._descriptor


class _WaitingFile(io.FileIO):
    """A file whose writes wait, also where another program has made it one that does not."""

    def write(self, data: Any) -> int:
        """Write some of the data, one byte at least; how many."""
        while True:
            # Of a file that does not wait this is None, where it is full.
            number: int | None = super().write(data)
            if number is not None:
                return number
            select.select([], [self.fileno()], [])


class Results(io.TextIOWrapper):
    """Standard output; a reader that has gone is a BrokenPipeError, and all else that cannot be written an S2SError."""

    def __init__(self, descriptor: int) -> None:
        self._is_terminal = os.isatty(descriptor)
        # Made before what it is used by: a text stream tells that it is writable.
        stream = io.BufferedWriter(_WaitingFile(descriptor, "wb", closefd=False))
        super().__init__(
            stream, encoding="utf-8", errors=_BYTES_KEPT, newline="\n", line_buffering=self._is_terminal
        )
        self.drawing = _Drawing(self)
        self._failure: OSError | S2SError | None = None

    def write(self, text: str) -> int:
        """Write text, on a terminal with its control characters shown."""
        return self.draw(visible(text) if self._is_terminal else text)

    def draw(self, text: str) -> int:
        """Write text as it is."""
        if self._failure is not None:
            raise self._failure
        try:
            return super().write(text)
        except OSError as error:
            raise self._fail(error) from None

    def flush(self) -> None:
        """Hand on what has been written."""
        try:
            super().flush()
        except OSError as error:
            raise self._fail(error) from None

    def _fail(self, error: OSError) -> OSError | S2SError:
        """Give up: what is left goes nowhere, and Python's own flush at the end does not fail once more."""
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, self.fileno())
        os.close(devnull)
        self._failure = error if isinstance(error, BrokenPipeError) else S2SError(_why(error))
        return self._failure


def _why(error: OSError) -> str:
    if sys.__stdout__ is None:
        return "standard output: is closed"
    return f"standard output: cannot write: {error.strerror or error}"


def drawing(stream: TextIO) -> TextIO:
    """Where to write bars and colours to, so that a standard stream takes them for our own."""
    return cast(TextIO, getattr(stream, "drawing", stream))


def is_open_terminal(stream: TextIO | None) -> bool:
    """Whether a standard stream, which a shell may have closed, is a terminal."""
    with suppress(ValueError):
        return stream is not None and stream.isatty()
    return False


def open_streams() -> None:
    """Put streams of this module in the place of Python's own, in a process that is a command of ours.

    A descriptor that the shell has closed is taken, so that no file that is opened later becomes a standard stream: it
    can neither be read nor be written, as before.
    """
    _take_closed_descriptors((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY))
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    sys.stdout, sys.stderr = Results(1), cast(TextIO, Messages(2))
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")


def _take_closed_descriptors(modes: Iterable[int]) -> None:
    for number, mode in enumerate(modes):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one.
            os.set_inheritable(os.open(os.devnull, mode), True)
