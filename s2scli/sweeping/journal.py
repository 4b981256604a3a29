"""The journal of a sweep: journal.jsonl in its folder, which several processes, on one machine or many, write.

Nothing else is kept of a sweep: what is to be done next follows from the journal and the space. Who reads it to decide
holds its lock until the decision is written, so that no two decide the same. The kernel lets go of a lock when a
process ends, however it does; a line that a killed one has left unfinished is removed by the next that writes.

    {"event": "sweep", "facts": {...}}                                  the first: what decides which trials there are
    {"event": "trial", "trial": 3, "values": {...}, "rungs": [9, 27], "bracket": 0}     it is to go to its first rung
    {"event": "result", "trial": 3, "updates": 9, "figure": 5.1, "seconds": 4.2}        it has got there
    {"event": "part", "trial": 3}                                       it is to go to its next rung
    {"event": "failed", "trial": 3, "reason": "...", "seconds": 1.5}    it never will
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from s2scli import document
from s2scli.errors import DataError, S2SError
from s2scli.files import open_own
from s2scli.io import explain_write_errors
from s2scli.record import to_line

JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class _FirstEvent:
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class _TrialEvent:
    trial: int
    values: Mapping[str, Any]
    rungs: tuple[int, ...]
    bracket: int


@dataclass(frozen=True)
class _PartEvent:
    trial: int


@dataclass(frozen=True)
class _ResultEvent:
    trial: int
    updates: int
    figure: float | None
    seconds: float


@dataclass(frozen=True)
class _FailedEvent:
    trial: int
    reason: str
    seconds: float = 0.0


_SHAPES = {
    "sweep": _FirstEvent,
    "trial": _TrialEvent,
    "part": _PartEvent,
    "result": _ResultEvent,
    "failed": _FailedEvent,
}


class Journal:
    """The events of a sweep, while its lock is held."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._stream = stream
        content = stream.read()
        self._whole = content.rfind(b"\n") + 1
        self.events = _parsed(path, content)

    def add(self, event: str, **values: Any) -> None:
        """Write an event down; it is on the disk when this returns."""
        line = to_line({"event": event, **values}).encode() + b"\n"
        self._stream.truncate(self._whole)
        self._stream.seek(self._whole)
        self._stream.write(line)
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._whole += len(line)
        self.events.append({"event": event, **values})


@contextmanager
def open_journal(folder: Path) -> Iterator[Journal]:
    """The journal of a folder, made if need be; nobody else has it until the end of this.

    Raises DataError where it is broken, and S2SError where it cannot be written, or the file system has no locks.
    """
    path = folder / JOURNAL
    with explain_write_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        stream = open_own(path, "a+b")
    with stream:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
        except OSError as error:
            raise S2SError(
                f"{path}: cannot be locked ({error.strerror}), so that two processes could run one trial; give a "
                "--save-dir on another file system"
            ) from None
        stream.seek(0)
        yield Journal(path, stream)


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """The events of a sweep's folder, as they are now; DataError where there are none."""
    path = folder / JOURNAL
    try:
        return _parsed(path, path.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"{folder}: no {JOURNAL} in this folder; give the --save-dir of an s2s sweep"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}") from None


def _parsed(path: Path, content: bytes) -> list[dict[str, Any]]:
    """The events of whole lines; DataError where one is none, or is about a trial that has not begun."""
    events: list[dict[str, Any]] = []
    known: set[int] = set()
    *lines, _ = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        with document.blaming(f"{path}:{number}", "mend the line, or give another --save-dir"):
            event = document.parse(line)
            document.check(event, Mapping[str, Any])
            kind = event.get("event")
            if kind not in _SHAPES or (kind == "sweep") != (number == 1):
                raise DataError(f"is no event of a sweep: {str(kind)[:40]}")
            document.check(event, _SHAPES[kind])
            if kind == "trial":
                known.add(event["trial"])
            elif kind != "sweep" and event["trial"] not in known:
                raise DataError(f"is about trial {event['trial']}, which has not begun")
        events.append(event)
    return events
