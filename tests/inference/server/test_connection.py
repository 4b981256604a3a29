"""Connections: who gives way to whom, how much is held, and which client has gone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from s2scli.configs.server import ServerConfig
from s2scli.inference.server import connection as connection_module
from s2scli.inference.server.connection import Activity, Connection, Connections, Gone, Refused

Pair = tuple[Connection, socket.socket]


@pytest.fixture
def connect() -> Iterator[Callable[..., Pair]]:
    """Makes a connection, and gives the client's end of it, too."""
    with ExitStack() as stack:

        def made(*, at_port: bool = False, **limits: Any) -> Pair:
            if at_port:
                with socket.create_server(("127.0.0.1", 0)) as listener:
                    there = socket.create_connection(listener.getsockname())
                    here, _ = listener.accept()
            else:
                here, there = socket.socketpair()
            stack.callback(here.close)
            there.settimeout(10)
            return Connection(here, ServerConfig(**limits)), stack.enter_context(there)

        yield made


def check_until_gone(connection: Connection) -> None:
    while True:
        connection.check(b"x")
        time.sleep(0.01)


def all_of(most: int, **limits: Any) -> Connections:
    return Connections(most, ServerConfig(**limits))


def test_who_has_waited_longest_without_a_request_gives_way(
    connect: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_MOMENT", 0.05)
    everyone = all_of(3)
    pairs = [connect() for _ in range(5)]
    connections = [connection for connection, _ in pairs]
    for connection in connections[:3]:
        assert everyone.add(connection)
        time.sleep(0.002)
    connections[0].enter(Activity.READING)
    assert everyone.add(connections[3])
    # The second has waited longest of those who have sent nothing.
    assert not connections[1].begins()
    for connection in connections[2:4]:
        everyone.begin_answer(connection)
    assert everyone.add(connections[4])
    with pytest.raises(Refused, match="too many connections") as refused:
        connections[0].line(10)
    assert refused.value.status == 503
    everyone.begin_answer(connections[4])
    # Those that are answered stay.
    everyone.make_room()
    assert not everyone.add(connect()[0])
    everyone.end_answer(connections[4])
    everyone.remove(connections[4])
    assert everyone.add(connect()[0])


def test_everyone_has_a_moment_for_a_request(
    connect: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_MOMENT", 0.3)
    everyone = all_of(2)
    began = time.monotonic()
    for _ in range(2):
        assert everyone.add(connect()[0])
    first, _ = connect()
    assert everyone.add(first)
    assert time.monotonic() - began >= 0.3


def test_of_too_many_bytes_the_largest_body_is_refused(connect: Callable[..., Pair]) -> None:
    everyone = all_of(9, max_pending_bytes=100, max_line_bytes=10)
    small, large, larger, answered = (connect()[0] for _ in range(4))
    for connection in (small, large, larger, answered):
        everyone.add(connection)
        connection.enter(Activity.READING)
    everyone.hold(answered, 40)
    everyone.begin_answer(answered)
    everyone.hold(large, 30)
    everyone.hold(larger, 50)
    # 30, 35 and 40 bytes beyond the first ten of each are more than 100: it waits for those of the largest.
    thread = threading.Thread(target=everyone.hold, args=(large, 15))
    thread.start()
    with pytest.raises(Refused, match="the server holds 100 bytes"):
        larger.line(10)
    assert thread.is_alive()
    everyone.remove(larger)
    thread.join()
    everyone.begin_answer(large)
    # What is small is taken at any time, and what is not has to wait for the others.
    everyone.hold(small, 10)
    with pytest.raises(Refused, match="max-pending-bytes"):
        everyone.hold(small, 60)
    everyone.remove(small)
    everyone.end_answer(answered)
    everyone.hold(answered, 60)


@pytest.mark.usefixtures("ends")
def test_times_end_what_does_not_come(connect: Callable[..., Pair]) -> None:
    connection, client = connect(idle_timeout=0.2, request_timeout=0.3)
    assert not connection.begins()
    client.sendall(b"a")
    assert connection.begins()
    over = threading.Event()

    def trickle() -> None:
        while not over.wait(0.05):
            client.sendall(b"a")

    thread = threading.Thread(target=trickle)
    thread.start()
    with pytest.raises(Refused, match=r"within 0\.3 seconds \(--request-timeout\)") as refused:
        connection.line(1000)
    assert refused.value.status == 408
    over.set()
    thread.join()


@pytest.mark.usefixtures("ends")
def test_a_client_that_does_not_read_is_dropped(connect: Callable[..., Pair]) -> None:
    connection, client = connect(send_timeout=0.3)
    done = threading.Event()

    def trickle() -> None:
        while not done.wait(0.05):
            client.recv(1)

    thread = threading.Thread(target=trickle)
    thread.start()
    with pytest.raises(Gone):
        connection.send(b"a" * (1 << 24))
    done.set()
    thread.join()


@pytest.mark.usefixtures("ends")
@pytest.mark.parametrize("at_port", [False, True])
def test_a_client_that_has_gone_is_told_from_one_that_only_sends_no_more(
    connect: Callable[..., Pair], at_port: bool
) -> None:
    connection, client = connect(at_port=at_port)
    connection.check(b"x")
    client.shutdown(socket.SHUT_WR)
    for _ in range(3):
        time.sleep(0.02)
        connection.check(b"x")
    # At a port it was sent something to find out, once.
    client.settimeout(0.1)
    if at_port:
        assert client.recv(10) == b"x"
    with pytest.raises(TimeoutError):
        client.recv(10)
    gone, client = connect(at_port=at_port)
    client.close()
    with pytest.raises(Gone):
        check_until_gone(gone)


@pytest.mark.usefixtures("ends")
def test_the_end_waits_for_what_is_answered_but_not_for_ever(connect: Callable[..., Pair]) -> None:
    everyone = all_of(9)
    (idle, _), (quick, _), (slow, _) = pairs = [connect() for _ in range(3)]
    for connection, _ in pairs:
        everyone.add(connection)
    everyone.begin_answer(quick)
    everyone.begin_answer(slow)

    def finish() -> None:
        assert not idle.begins()
        everyone.remove(idle)
        everyone.end_answer(quick)
        everyone.remove(quick)
        with pytest.raises(Gone):
            check_until_gone(slow)
        everyone.remove(slow)

    thread = threading.Thread(target=finish)
    thread.start()
    began = time.monotonic()
    assert everyone.end(0.5) == 1
    assert time.monotonic() - began > 0.4
    thread.join()
    assert not everyone.add(connect()[0])
