"""Where records are written: standard output, or a file that a repeated command continues; in whole lines always."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from s2scli.files import check_no_folder
from s2scli.inference.lines import Line
from s2scli.io import explain_write_errors, partial_folder
from s2scli.locks import locked
from s2scli.record import Record


class RecordSink(Protocol):
    """What takes records; num_records: those of an earlier command that it has already."""

    num_records: int

    def skip(self, lines: Iterator[Line], window: int, context: int = 0) -> tuple[Iterator[Line], int]:
        """Take from the lines those that an earlier command has answered, in whole windows of so many.

        context: how many lines before those that are left their answers depend on, at most; they are left too.
        Returns the lines that are left, and how many of them have been answered, too: they are answered again, since
        the last digits of a score depend on the lines that are in a batch together, and are not written again.
        """
        ...

    def write(self, record: Record, text: str) -> None:
        """Write a record as some lines of text."""
        ...

    def flush(self) -> None:
        """Hand on what has been written to whoever reads it."""
        ...


def skip_none(lines: Iterator[Line], window: int, context: int = 0) -> tuple[Iterator[Line], int]:
    """All lines, none of which has been answered before."""
    del window, context
    return lines, 0


class StreamSink:
    """Standard output, or a pipe or a device with a name: what a repeated command cannot continue."""

    num_records = 0

    def __init__(self, path: Path | None, resources: ExitStack) -> None:
        self._path, self._file = path, None
        if path is not None:
            from s2scli.inference.partial_file import opened

            self._file = resources.enter_context(opened(path, "wb", path))

    def skip(self, lines: Iterator[Line], window: int, context: int = 0) -> tuple[Iterator[Line], int]:
        """Take none."""
        del context
        return skip_none(lines, window)

    def write(self, record: Record, text: str) -> None:
        """Write a record's text, which is handed on by `flush`: a reader that is woken for each line takes long."""
        del record
        if self._path is None or self._file is None:
            sys.stdout.write(f"{text}\n")
            return
        with explain_write_errors(self._path):
            self._file.write(f"{text}\n".encode())

    def flush(self) -> None:
        """Hand on what has been written to whoever reads it."""
        if self._path is None or self._file is None:
            sys.stdout.flush()
            return
        with explain_write_errors(self._path):
            self._file.flush()


@contextmanager
def open_output(path: Path | None, settings: Mapping[str, Any], *, overwrite: bool) -> Iterator[RecordSink]:
    """Open standard output (None), or a file, which appears when all went well; a repeated command continues it.

    settings: all but the input that decides what is in it. Raises S2SError where another process writes that file,
    and UsageError where it was begun with other settings and is not to be overwritten.
    """
    with ExitStack() as resources:
        if path is None or (path.exists() and not path.is_file() and not path.is_dir()):
            yield StreamSink(path, resources)
            return
        check_no_folder("--output", path)
        # With numpy, which standard output has no use for.
        from s2scli.inference.partial_file import PartialFile

        path = path.resolve()
        folder = partial_folder(path)
        resources.enter_context(locked(folder, "wait for its end, or give another --output", is_own=True))
        output = PartialFile(folder, path, resources)
        try:
            output.begin(settings, overwrite=overwrite)
            yield output
            output.finish()
            output.num_records = 0
        finally:
            # What nothing was written into is of no use to anyone.
            if not output.num_records:
                shutil.rmtree(folder, ignore_errors=True)
