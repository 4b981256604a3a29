"""Who is at a trial: a lock that a process has, and its child, and nobody else."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from s2scli.files import open_own
from s2scli.io import explain_write_errors

_CLAIM = "claim"


def claimed(folder: Path, resources: ExitStack) -> int | None:
    """Take the trial of a folder, made if need be, until the resources are closed; None: another process has it.

    Returns a file descriptor. A child that it is given to holds the lock too, as long as it lives: a process that is
    killed leaves its child behind, which goes on with the trial, and nobody else must.
    """
    path = folder / _CLAIM
    with explain_write_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        stream = resources.enter_context(open_own(path, "a+b"))
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    return stream.fileno()


Claiming = Callable[[int], bool]
"""Takes the trial of a number; whether that goes."""
