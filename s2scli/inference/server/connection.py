"""Connections to clients: how many there are, how long each may take, and how much of what they send is held."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum

from s2scli.configs.server import ServerConfig
from s2scli.workers import WAKE_SECONDS

_BLOCK = 1 << 16
# How long a client that is refused may still send, in seconds; before that it may not see why.
_LINGER = 5.0
# What a connection has for its request before it gives way to another one, in seconds.
_MOMENT = 1.0
# The client sends no more, and the client is not there any more.
_HALF_CLOSED = getattr(select, "POLLRDHUP", 0)
_CLOSED = select.POLLHUP | select.POLLERR


class Refused(Exception):  # noqa: N818 (an answer, not a failure)
    """A request that is answered by a status and a line of text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Gone(Exception):  # noqa: N818 (what a client may do at any time)
    """The client has closed the connection, or does not read what is sent."""


class Activity(IntEnum):
    """What a connection does, in the order in which it is closed in favour of others."""

    IDLE = 0
    READING = 1
    ANSWERING = 2


class Connection:
    """A connection to a client: bytes in and out, each within its time."""

    def __init__(self, client: socket.socket, limits: ServerConfig) -> None:
        self._client, self._limits = client, limits
        self._buffer = bytearray()
        self._deadline = 0.0
        self._refusal: Refused | None = None
        self._is_probed = False
        self.is_port = client.family != socket.AF_UNIX
        self.state, self.since = Activity.IDLE, time.monotonic()
        self.num_held = 0

    def enter(self, state: Activity) -> None:
        """Say what the connection does from now on."""
        self.state, self.since = state, time.monotonic()

    def begins(self) -> bool:
        """Wait for the first byte of a request; False where none comes."""
        self._deadline = time.monotonic() + self._limits.idle_timeout
        try:
            if not self._buffer:
                self._receive()
        except (Refused, Gone):
            return False
        self._deadline = time.monotonic() + self._limits.request_timeout
        self._is_probed = False
        return True

    def line(self, longest: int) -> bytes:
        """The next line, with its end; Refused for one with more bytes than `longest`."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > longest:
                break
            self._receive()
        if end < 0 or end >= longest:
            raise Refused(431, f"a line of a request's head has at most {longest:,} bytes")
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    def block(self, longest: int) -> bytes:
        """Some of the bytes that come next, at least one."""
        if not self._buffer:
            self._receive()
        found = bytes(self._buffer[:longest])
        del self._buffer[:longest]
        return found

    def _receive(self) -> None:
        self._client.settimeout(max(self._deadline - time.monotonic(), 1e-3))
        try:
            found = self._client.recv(_BLOCK)
        except TimeoutError:
            limit = self._limits.request_timeout
            raise Refused(
                408, f"a request must be there within {limit:g} seconds (--request-timeout)"
            ) from None
        except OSError:
            found = b""
        if not found:
            self.check_refusal()
            raise Gone
        self._buffer += found

    def send(self, data: bytes) -> None:
        """Send some bytes; Gone where the client does not take them in time."""
        self._client.settimeout(self._limits.send_timeout)
        try:
            self._client.sendall(data)
        except OSError:
            raise Gone from None
        self._is_probed = True

    def check(self, probe: bytes = b"") -> None:
        """Raise Gone where the client is not there any more.

        probe: what it ignores. A client that only sends no more cannot be told, at a port, from one that has gone until
        it is sent something.
        """
        poll = select.poll()
        poll.register(self._client, _HALF_CLOSED | _CLOSED)
        found = dict(poll.poll(0)).get(self._client.fileno(), 0)
        if found & _CLOSED:
            raise Gone
        if found & _HALF_CLOSED and self.is_port and probe and not self._is_probed:
            self.send(probe)

    @property
    def is_refused(self) -> bool:
        """Whether another thread has refused what is read."""
        return self._refusal is not None

    def has_unread(self) -> bool:
        """Whether the client has sent what its thread did not come to reading."""
        poll = select.poll()
        with suppress(OSError, ValueError):  # it is closed by now
            poll.register(self._client, select.POLLIN)
            return bool(poll.poll(0))
        return False

    def check_refusal(self) -> None:
        """Raise the Refused that another thread has given it."""
        if self._refusal is not None:
            # Another one each time: one that is kept would keep, with its traceback, the body that was read.
            raise Refused(self._refusal.status, str(self._refusal))

    def give_way(self, refusal: Refused) -> None:
        """From another thread: let no more be read, so that the thread that reads has this refusal."""
        self._refusal = refusal
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RD)

    def abort(self) -> None:
        """From another thread: end what is read and sent."""
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def close(self, *, linger: bool = False) -> None:
        """Close the connection; `linger`: its own side first, for a client that sends on and would not see why."""
        with suppress(OSError), self._client:
            if not linger or self._refusal is not None:
                return
            self._client.shutdown(socket.SHUT_WR)
            end = time.monotonic() + _LINGER
            while (left := end - time.monotonic()) > 0:
                self._client.settimeout(left)
                if not self._client.recv(_BLOCK):
                    return


class Connections:
    """All connections of a server, of which no more are kept, and no more bytes held, than its limits say."""

    def __init__(self, most: int, limits: ServerConfig) -> None:
        self._most, self._limits = most, limits
        self._all: set[Connection] = set()
        self._changed = threading.Condition()
        self._is_ending = False

    def add(self, connection: Connection) -> bool:
        """Take one in, for which another one may have to give way, after its moment; False where none can."""
        with self._changed:
            while len(self._all) >= self._most and not self._is_ending:
                waiting = self._waiting()
                if not waiting:
                    return False
                left = min(item.since for item in waiting) + _MOMENT - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                else:
                    self._close(waiting, time.monotonic() - _MOMENT)
            if not self._is_ending:
                self._all.add(connection)
            return not self._is_ending

    def remove(self, connection: Connection) -> None:
        """Take note of the end of one."""
        with self._changed:
            self._all.discard(connection)
            self._changed.notify_all()

    def make_room(self) -> None:
        """Close the one that has waited longest without a whole request, if there is one."""
        with self._changed:
            self._close(self._waiting(), time.monotonic())

    def _waiting(self) -> list[Connection]:
        return [item for item in self._all if item.state != Activity.ANSWERING]

    def _close(self, waiting: list[Connection], since: float) -> None:
        """Close the one that has waited longest, of those that wait since then or longer."""
        old = [item for item in waiting if item.since <= since]
        if old:
            longest = min(old, key=lambda item: (item.has_unread(), item.state, item.since))
            # It is counted no more, though its thread may take a moment to end.
            self._all.discard(longest)
            longest.give_way(
                Refused(503, "the server has too many connections (--max-connections); ask again later")
            )

    def hold(self, connection: Connection, number: int) -> None:
        """Take note of bytes that a request has sent; of too many the largest request that is read is refused.

        Waits until that one has let go of them, so that they are never more. Raises Refused where it is this one.
        """
        most = self._limits.max_pending_bytes
        message = f"the server holds {most:,} bytes of requests (--max-pending-bytes); ask again later"
        with self._changed:
            connection.num_held += number
            connection.check_refusal()
            # What is small is always taken: others cannot shut it out.
            while self._excess(connection) and sum(map(self._excess, self._all)) > most:
                kept = [item for item in self._all if not item.is_refused]
                if sum(map(self._excess, kept)) > most:
                    reading = (item for item in kept if item.state == Activity.READING)
                    largest = max(reading, key=self._excess, default=connection)
                    if largest is connection:
                        raise Refused(503, message)
                    largest.give_way(Refused(503, message))
                self._changed.wait(WAKE_SECONDS)
                connection.check_refusal()

    def _excess(self, connection: Connection) -> int:
        return max(0, connection.num_held - self._limits.max_line_bytes)

    def begin_answer(self, connection: Connection) -> None:
        """Take note that a request is whole; Refused where it had to give way before."""
        with self._changed:
            connection.check_refusal()
            connection.enter(Activity.ANSWERING)

    def end_answer(self, connection: Connection) -> None:
        """Take note that a request is answered, and nothing of it held any more."""
        with self._changed:
            connection.num_held = 0
            connection.enter(Activity.IDLE)
            self._changed.notify_all()

    def end(self, seconds: float) -> int:
        """Let no more requests begin, and those that are being answered end in so many seconds; how many did not."""
        ending = Refused(503, "the server is ending; ask again when it has been started again")
        with self._changed:
            self._is_ending = True
            for item in self._all:
                if item.state != Activity.ANSWERING:
                    item.give_way(ending)
            self._wait(lambda: self._num_answering == 0, seconds)
            number = self._num_answering
            for item in self._all:
                item.abort()
            self._wait(lambda: not self._all, _LINGER)
            return number

    @property
    def _num_answering(self) -> int:
        return sum(item.state == Activity.ANSWERING for item in self._all)

    def _wait(self, is_so: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not is_so() and (left := end - time.monotonic()) > 0:
            self._changed.wait(min(left, WAKE_SECONDS))
