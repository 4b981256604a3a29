"""Sockets to listen at: a port of this machine, or a file that only its owner can connect to."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from s2scli.errors import S2SError

# Connections that wait to be accepted, while the model is loaded too; a socket takes no more at once, and says so.
_BACKLOG = 1024
_PROBE_SECONDS = 5


@contextmanager
def open_listener(address: Path | tuple[str, int]) -> Iterator[socket.socket]:
    """Yield a socket that listens at a path, or at a host and port; S2SError where that cannot be.

    The file of a server that was killed is replaced; that of this one has mode 0600 and is removed in the end.
    """
    if isinstance(address, Path):
        with _unix_listener(address) as listener:
            yield listener
        return
    host, port = address
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        # A port is free again as soon as a server has ended.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise S2SError(
                f"--serve {host}:{port}: cannot listen there: {error.strerror}; choose another port"
            ) from None
        listener.listen(_BACKLOG)
        yield listener


def address_of(listener: socket.socket) -> str:
    """The address of a listener as a client writes it: unix:PATH, or a URL."""
    name = listener.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}/"


@contextmanager
def _unix_listener(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            with _alone_in(path.parent):
                _remove_stale(path)
                umask = os.umask(0o177)
                try:
                    listener.bind(str(path))
                finally:
                    os.umask(umask)
                listener.listen(_BACKLOG)
                own = path.stat()
        except OSError as error:
            reason = error.strerror or str(error)  # "AF_UNIX path too long" has no number
            raise S2SError(f"--serve {path}: cannot make the socket: {reason}; choose another path") from None
        try:
            yield listener
        finally:
            with suppress(OSError):
                if os.path.samestat(path.stat(), own):
                    path.unlink()


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let one server at a time look at a socket and replace it."""
    import fcntl  # which Windows has not

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Remove the file of a server that has gone; S2SError for any other."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise S2SError(f"--serve {path}: is there and no socket; remove it, or choose another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError:
            # Too busy to take one more, or another user's: it lives.
            pass
    raise S2SError(f"--serve {path}: another server answers there; end it, or choose another path")
