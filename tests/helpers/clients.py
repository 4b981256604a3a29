"""Clients of `generate --serve`, and a gate before its answers."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from s2scli.inference.lines import Line
from s2scli.inference.server.connection import Connection, Gone
from s2scli.inference.translator import Translator
from s2scli.record import Record

JSON = {"Content-Type": "application/json"}
SEARCH = {"device": "cpu", "max_len_a": 1.0, "max_len_b": 5}
CLIENTS: list[Client] = []


class Client(http.client.HTTPConnection):
    """HTTP over any socket."""

    def __init__(self, place: Path | tuple[str, int]) -> None:
        super().__init__("localhost", timeout=30)
        self.place = place
        CLIENTS.append(self)

    def connect(self) -> None:
        is_path = isinstance(self.place, Path)
        self.sock = socket.socket(socket.AF_UNIX if is_path else socket.AF_INET)
        self.sock.settimeout(30)
        self.sock.connect(str(self.place) if is_path else self.place)

    def ask(
        self, body: str | bytes, headers: dict[str, str] | None = None, method: str = "POST", path: str = "/"
    ) -> tuple[int, str]:
        """Status and text of the answer to a request."""
        self.request(method, path, body.encode() if isinstance(body, str) else body, headers or {})
        answer = self.getresponse()
        return answer.status, answer.read().decode()


class Gate:
    """In place of the translator's answers: keeps them back until it is opened, and notes the batches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.entered = threading.Event(), threading.Semaphore(0)
        self.batches: list[list[str]] = []
        self.answers = Translator.records_of_batch
        # The connections that wait for answers: the server looks now and then whether their clients are there.
        self.waiting: set[Connection] = set()
        self.num_gone = 0
        plain = Connection.check

        def check(connection: Connection, probe: bytes = b"") -> None:
            self.waiting.add(connection)
            try:
                plain(connection, probe)
            except Gone:
                self.num_gone += 1
                raise

        monkeypatch.setattr(Connection, "check", check)
        monkeypatch.setattr(Translator, "records_of_batch", lambda *arguments: self(*arguments))

    def __call__(self, translator: Translator, lines: Sequence[Line]) -> list[Record]:
        self.batches.append([line.text for line in lines])
        self.entered.release()
        assert self.opened.wait(30)
        if any("explode" in line.text for line in lines):
            raise ArithmeticError("boom")
        return self.answers(translator, lines)


def wait_until(is_true: Callable[[], bool]) -> None:
    """Wait for half a minute at most."""
    end = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.002)


def listens(place: Path) -> bool:
    """Whether a server takes connections at a socket, which is there a moment before it does."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(place))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def raw(client: Client, data: bytes) -> bytes:
    """All that comes back for some bytes, the last that are sent."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(client.place))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))
