"""The folder in which a file of records is made, and from which a repeated command continues it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from s2scli import document
from s2scli.console import counted, notice
from s2scli.errors import DataError, UsageError
from s2scli.files import open_own
from s2scli.inference.lines import Line
from s2scli.io import COMPRESSED, compressing, explain_write_errors, write_atomically, write_named
from s2scli.record import Record, to_line
from s2scli.schema import spelled

# What is in the folder where a file is made.
_OUTPUT, _RECORDS, _SETTINGS = "output", "records", "settings.json"
# Of each record where it ends in the output, and a checksum of the line that it is of.
_ENTRY = struct.Struct("<QI")
_ENTRIES = np.dtype([("end", "<u8"), ("checksum", "<u4")])
_ANEW = "or begin anew with --overwrite"


@contextmanager
def opened(path: Path, mode: str, named: Path) -> Iterator[BinaryIO]:
    """Yield an open file whose errors name the path `named`; closing it raises them too, where writing has failed."""
    with explain_write_errors(named):
        # What is not the user's name but ours leads nowhere else.
        stream = cast(BinaryIO, path.open(mode)) if path == named else open_own(path, mode)
        if path == named and path.suffix in COMPRESSED:
            stream = compressing(stream, path.suffix)
    try:
        yield stream
    finally:
        with explain_write_errors(named):
            stream.close()


class PartialFile:
    """The folder in which a file of records is made, beside the path that the file gets in the end."""

    def __init__(self, folder: Path, path: Path, resources: ExitStack) -> None:
        self._path, self._folder = path, folder
        self._output = resources.enter_context(opened(folder / _OUTPUT, "a+b", path))
        self._records = resources.enter_context(opened(folder / _RECORDS, "a+b", path))
        with explain_write_errors(path):
            self._end, self.num_records = self._cut_to_whole_records()

    def _cut_to_whole_records(self) -> tuple[int, int]:
        """Cut off what is torn; returns where the output ends then, and how many records it has."""
        size = self._output.seek(0, os.SEEK_END)
        self._records.seek(0)
        data = self._records.read()
        ends = np.frombuffer(data[: len(data) // _ENTRY.size * _ENTRY.size], _ENTRIES)["end"]
        # Each record ends after the one before it, and within the output; what does not is no record.
        wrong = (ends > size) | (ends == 0)
        wrong[1:] |= ends[1:] <= ends[:-1]
        number = int(wrong.argmax()) if wrong.any() else len(ends)
        end = 0
        while number:
            end = int(ends[number - 1])
            self._output.seek(end - 1)
            if self._output.read(1) == b"\n":
                break
            number, end = number - 1, 0
        self._output.truncate(end)
        self._records.truncate(number * _ENTRY.size)
        return end, number

    def begin(self, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        """Go on with what is there, or begin; UsageError where it was begun with other settings."""
        path = self._folder / _SETTINGS
        if self.num_records and not overwrite:
            with document.blaming(path, f"what was begun cannot be gone on with: {_ANEW[3:]}"):
                different = _differences(path, settings)
            if different:
                raise UsageError(
                    f"--output {self._path}: {counted(self.num_records, 'line')} of it made with other settings "
                    f"({different}); repeat them, {_ANEW}"
                )
            notice(f"{self._path}: going on after line {self.num_records:,}")
            return
        self._end = self.num_records = 0
        with explain_write_errors(self._path):
            self._output.truncate(0)
            self._records.truncate(0)
        with write_atomically(path) as temporary:
            temporary.write_text(to_line(settings), encoding="utf-8")

    def skip(self, lines: Iterator[Line], window: int, context: int = 0) -> tuple[Iterator[Line], int]:
        """Take from the lines those that are done; DataError where they are not what they were."""
        self._records.seek(0)
        left = max(0, self.num_records - self.num_records % window - context)
        left -= left % window
        again: list[Line] = []
        for number in range(self.num_records):
            line = next(lines, None)
            if line is None:
                raise DataError(
                    f"--output {self._path}: {counted(self.num_records, 'line')} of it made, but the input has "
                    f"{number:,}; give the same input, {_ANEW}"
                )
            _, checksum = _ENTRY.unpack(self._records.read(_ENTRY.size))
            if checksum != _checksum(line.text, line.reference, line.extra):
                raise DataError(
                    f"--output {self._path}: line {line.id + 1} of the input is not what it was when the output "
                    f"was begun; give the same input, {_ANEW}"
                )
            if number >= left:
                again.append(line)
        return chain(again, lines), len(again)

    def write(self, record: Record, text: str) -> None:
        """Write a record's text, and then where it ends."""
        data = f"{text}\n".encode()
        self._end += len(data)
        self.num_records += 1
        with explain_write_errors(self._path):
            self._output.write(data)
            self._output.flush()
            given = record.reference if record.given_reference is None else record.given_reference
            self._records.write(_ENTRY.pack(self._end, _checksum(record.source, given, record.extra)))
            self._records.flush()

    def flush(self) -> None:
        """`write` has handed on everything, so that what is killed has not much to do again."""

    def finish(self) -> None:
        """Give the output its path."""
        with explain_write_errors(self._path):
            if self._path.suffix in COMPRESSED:
                self._output.seek(0)
                with write_named(self._path) as temporary, temporary.open("wb") as stream:
                    shutil.copyfileobj(self._output, stream, 1 << 20)
                return
            os.fsync(self._output.fileno())
            (self._folder / _OUTPUT).replace(self._path)


def _checksum(source: str, reference: str | None, extra: Mapping[str, Any]) -> int:
    # Of a language model's line that has no reference the line itself is scored as one.
    other = None if reference in ("", source) else reference
    # JSON, since a text may hold what UTF-8 may not.
    return zlib.crc32(json.dumps([source, other, dict(extra)]).encode())


def _differences(path: Path, settings: Mapping[str, Any]) -> str:
    """Which settings are not those of a file, and what they were, or nothing; DataError where it is broken."""
    before = document.read(path, Mapping[str, Any])
    # As JSON has them: a tuple is a list there.
    now = json.loads(json.dumps(settings))
    names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    return ", ".join(
        f"{name} {spelled(before.get(name))}, now {spelled(now.get(name))}" for name in names[:3]
    )
