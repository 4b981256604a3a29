"""What a user can cause, as exceptions that read as one clear line.

    S2SError              exit code 1: the work could not be done
    ├── UsageError        exit code 2: the command line or a config file is wrong
    ├── DataError         a text file or dataset folder is broken
    ├── CheckpointError   a checkpoint is broken or does not fit
    └── Interrupted       exit code 130 or 143: a signal ended the work, and what was done is saved

Anything else that escapes is a bug of ours; `--debug` shows its traceback.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

# How torch's allocators and libraries word it where they raise a plain RuntimeError: the CPU's allocator, C++, the
# CUDA driver, cuBLAS and cuDNN, and oneDNN where it finds no room for a kernel it has compiled.
_OUT_OF_MEMORY = re.compile(
    "allocate memory|std::bad_alloc|out of memory|_STATUS_ALLOC_FAILED|could not create a primitive$"
)


class S2SError(Exception):
    """A failure with a message for the user: what, where, what was allowed, the remedy.

    details: where several things are wrong at once, a line for each, which the message counts.
    """

    exit_code = 1

    def __init__(self, message: str = "", *, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)


class UsageError(S2SError):
    """A wrong flag, config key or value, or a combination that makes no sense."""

    exit_code = 2


class DataError(S2SError):
    """A text file or dataset folder that cannot be used as it is."""


class CheckpointError(S2SError):
    """A checkpoint that cannot be read, or does not fit what it is used with."""


class Interrupted(S2SError):  # noqa: N818 (a request that was met, not a failure)
    """A signal ended the work before its end."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number
        # What a shell reports for a program that Ctrl-C, or else a request to terminate, has ended.
        self.exit_code = 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on a device or on the host; torch's error is known by its name, without torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known name, or lists them all: '; did you mean X?'."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known: {', '.join(names)}" if names else ""
