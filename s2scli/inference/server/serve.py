"""A server that keeps a model loaded: requests over HTTP, at a Unix socket or at a port of this machine."""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from s2scli.configs.address import parse_address
from s2scli.configs.generate import GenerateConfig
from s2scli.console import counted, notice
from s2scli.errors import Interrupted, S2SError
from s2scli.inference.server.connection import Connection, Connections
from s2scli.inference.server.handler import Handler
from s2scli.inference.server.service import Service
from s2scli.inference.server.sockets import address_of, open_listener
from s2scli.inference.signals import InterruptSignals
from s2scli.inference.translator import Translator

# How long to wait where there are too many open files; there will be fewer.
_PAUSE_SECONDS = 0.05
# Files that may be opened beside the connections.
_OTHER_FILES = 16
_FEWEST_CONNECTIONS = 4
# How long a batch that has begun may still take when nobody waits for it any more.
_LAST_BATCH_SECONDS = 2.0


class Server:
    """Answers what comes to a socket that listens already, each connection in a thread of its own."""

    def __init__(self, listener: socket.socket, service: Service) -> None:
        self._listener, self._service = listener, service
        self._connections = Connections(_most_connections(service.config.max_connections), service.config)
        self._wake, self._woken = socket.socketpair()
        self._counting = threading.Lock()
        self.num_answered = 0
        self._thread = threading.Thread(target=self._accept_all, daemon=True, name="accept")
        self._thread.start()

    def end(self, seconds: float) -> tuple[int, bool]:
        """Take no more requests, and let those that have begun end in so many seconds.

        Returns how many did not, and whether the batch that had begun has ended, too.
        """
        self._wake.close()
        self._thread.join()
        number = self._connections.end(seconds)
        return number, self._service.pool.end(_LAST_BATCH_SECONDS)

    def _accept_all(self) -> None:
        self._listener.setblocking(False)
        with selectors.DefaultSelector() as selector, self._woken:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not any(key.fileobj is self._woken for key, _ in selector.select()):
                try:
                    client, _ = self._listener.accept()
                except (BlockingIOError, ConnectionError):  # one that has gone again
                    continue
                except OSError:  # too many open files
                    self._connections.make_room()
                    time.sleep(_PAUSE_SECONDS)
                    continue
                self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        connection = Connection(client, self._service.config)
        if not self._connections.add(connection):
            self._turn_away(client)
            return
        try:
            threading.Thread(target=self._run, args=(connection,), daemon=True, name="connection").start()
        except RuntimeError:  # too many threads
            self._connections.remove(connection)
            self._turn_away(client)

    def _run(self, connection: Connection) -> None:
        number = Handler(connection, self._connections, self._service).run()
        with self._counting:
            self.num_answered += number

    def _turn_away(self, client: socket.socket) -> None:
        """Answer 503, if that can be sent at once, and close: all connections are taken."""
        message = "all connections are being answered (--max-connections); ask again later\n"
        head = (
            f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(message)}\r\nConnection: close\r\n\r\n"
        )
        with suppress(OSError), client:
            client.setblocking(False)
            client.send(f"{head}{message}".encode("ascii"))


def _most_connections(wanted: int) -> int:
    """How many connections there may be, of which each takes a file; S2SError where the system allows hardly any."""
    try:
        import resource  # which Windows has not
    except ImportError:
        return wanted
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return wanted
    descriptors = Path("/proc/self/fd")
    num_open = len([*descriptors.iterdir()]) if descriptors.is_dir() else 0
    left = allowed - num_open - _OTHER_FILES
    if left < _FEWEST_CONNECTIONS:
        raise S2SError(
            f"--serve: {counted(allowed, 'open file')} allowed (ulimit -n), too few to serve; allow more"
        )
    if left < wanted:
        notice(f"--max-connections: {left}, as the system allows {counted(allowed, 'open file')} (ulimit -n)")
    return min(wanted, left)


def serve(config: GenerateConfig, make_translator: Callable[[GenerateConfig], Translator]) -> NoReturn:
    """Answer requests until a signal, and then for --grace-period those that have begun; a second one ends it at once.

    Raises Interrupted in the end, and S2SError where it cannot listen at the address.
    """
    assert config.serve is not None
    with InterruptSignals().caught() as signals, open_listener(parse_address(config.serve)) as listener:
        # Clients that connect from here on wait until the model is loaded.
        server = Server(listener, Service(make_translator(config), config))
        notice(f"{address_of(listener)}: ready")
        number = signals.wait()
        grace, is_over = config.grace_period, False
        try:
            cut, is_over = server.end(grace)
        except Interrupted:
            cut, is_over = server.end(0)
        message = f"interrupted after {counted(server.num_answered, 'request')}"
        if cut:
            message += f"; {counted(cut, 'answer')} cut short"
    stop = Interrupted(message, number)
    if not is_over:
        # What torch computes cannot be ended, and the interpreter may hang where it ends beside that.
        notice(f"s2s generate: {stop}")
        os._exit(stop.exit_code)
    raise stop


@contextmanager
def serving(listener: socket.socket, service: Service) -> Iterator[Server]:
    """Answer in other threads what comes to a socket; in the end wait for what has begun."""
    server = Server(listener, service)
    try:
        yield server
    finally:
        server.end(service.config.grace_period)
