"""Keeping two processes from the same work in a folder."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from s2scli.errors import S2SError
from s2scli.files import make_own_folder, open_own
from s2scli.io import explain_write_errors

LOCK = ".lock"


@contextmanager
def locked(folder: Path, remedy: str, *, is_own: bool = False) -> Iterator[None]:
    """Make a folder if need be, and keep other processes from the same work in it until the end of this.

    is_own: its name is not the user's but ours, see `make_own_folder`. The kernel lets go of the lock when the process
    ends, however it does. On a file system without locks there is none. Raises S2SError, with the remedy, where another
    process holds it.
    """
    path, is_new = folder / LOCK, not folder.exists()
    with explain_write_errors(folder):
        if is_own:
            make_own_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        stream = _lock(path, remedy)
    try:
        with suppress(OSError):
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {platform.node()}".encode())
            stream.flush()
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
            if is_new:
                folder.rmdir()
        with suppress(OSError):
            stream.close()


def _lock(path: Path, remedy: str) -> BinaryIO:
    """Open a file of its own for a lock, and lock it."""
    import fcntl  # which Windows has not

    while True:
        stream = open_own(path, "a+b")
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with stream:
                stream.seek(0)
                holder = stream.read(200).decode("utf-8", errors="replace") or "another process"
            raise S2SError(f"{path.parent}: {holder} is at work in this folder; {remedy}") from None
        except OSError:
            return stream
        names = os.fstat(stream.fileno()).st_nlink
        if names == 1:
            return stream
        stream.close()
        if names > 1:
            raise S2SError(f"{path}: is a file with other names too; remove it")
        # Who held it has just removed the file: another process may make and lock a new one.
