"""`generate --serve` and requests that are wrong, enormous, slow or given up."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from clients import JSON, Client, raw
from generating import Generator, joined, limited

BAD: list[tuple[str | bytes, dict[str, str], int, str]] = [
    (
        '{"source": "ba"}\n{"source": "ba\n',
        JSON,
        400,
        "request:2: the line is no JSON; --source-field is sou",
    ),
    ("[" * 60_000, JSON, 400, "request:1: the line's JSON is nested too deeply"),
    ('["a", "b"]', JSON, 400, "request:1: the line's JSON is no object; --source-field is source"),
    ('{"text": "ba"}', JSON, 400, "request:1: the line has no text field 'source'"),
    ("ba\nba be bi da de\n", {}, 400, "line 2: 5 source tokens, more than the 4 that the model was made for"),
    (
        "ba",
        {"Content-Type": "multipart/form-data; boundary=x"},
        415,
        "Content-Type: multipart/form-data: send",
    ),
    ("ba", {"Content-Encoding": "gzip"}, 415, "Content-Encoding: send the text as it is"),
    ("ba", {"Content-Length": "-2"}, 400, "Content-Length: -2: not a length"),
    ("ba", {"Transfer-Encoding": "gzip"}, 501, "Transfer-Encoding: chunked is all there is"),
]


def test_bad_requests(run: Generator, start: Callable[..., Client], tmp_path: Path) -> None:
    path = limited(run.path, tmp_path / "model", on_long="skip", max_source_length=4)
    client = start(path=path, on_long="error")
    for body, headers, status, message in BAD:
        found = Client(client.place).ask(body, headers)
        assert found[0] == status, message
        assert found[1].startswith(message)
        assert found[1].count("\n") == 1
        assert client.ask("ba be\n") == (200, joined(run("ba be\n")))
    assert Client(client.place).ask("ba\n", path="/other") == (404, "/other: not found; there is / only\n")
    assert Client(client.place).ask("ba\n", method="PUT")[0] == 501
    assert raw(client, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"411 Length Required" in raw(client, b"POST / HTTP/1.1\r\n\r\nba\n")
    assert b"400 Bad Request" in raw(client, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n")
    scoring = start(score_reference=True)
    assert scoring.ask("ba\n")[1].startswith("line 1 has no reference to score")


def test_bodies_in_chunks(run: Generator, start: Callable[..., Client]) -> None:
    client = start()
    client.request("POST", "/", iter([b"ba b", b"e\nda", b" de\n"]), encode_chunked=True)
    assert client.getresponse().read().decode() == joined(run("ba be\nda de\n"))
    # The connection is at the end of it, and of trailers.
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    request = head + b"\r\n3;a=b\r\nba\n\r\n0\r\nX: y\r\n\r\n"
    last = head + b"Connection: close\r\n\r\n3\r\nbe\n\r\n0\r\n\r\n"
    answer = raw(client, request + last).decode()
    assert answer.count("HTTP/1.1 200 OK") == 2
    for text in ("ba\n", "be\n"):
        assert joined(run(text)) in answer


def test_an_enormous_body(run: Generator, start: Callable[..., Client]) -> None:
    client = start(max_request_bytes=1 << 20)
    body = b"ba be\n" * 200_000
    for _ in range(2):
        status, message = Client(client.place).ask(body)
        assert (
            status,
            message.startswith("a request may have 1,048,576 bytes (--max-request-bytes); divide"),
        ) == (413, True)
    chunks = Client(client.place)
    chunks.request("POST", "/", iter([body, b"ba"]), encode_chunked=True)
    assert chunks.getresponse().status == 413
    # Who asks first need not send it.
    head = b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
    assert raw(client, head).startswith(b"HTTP/1.1 413 ")
    assert client.ask("ba be\n") == (200, joined(run("ba be\n")))


def test_clients_that_are_slow_or_hang_up(run: Generator, start: Callable[..., Client]) -> None:
    client = start(batch_size=4, idle_timeout=1.5, request_timeout=0.5)
    head = b"POST / HTTP/1.1\r\nContent-Length: 600000\r\n\r\n"
    with ExitStack() as stack:
        slow = []
        for sent in (b"", b"POST", head, head + b"ba be\n" * 50, head + b"ba be\n" * 100_000):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(client.place))
            connection.sendall(sent)
            slow.append(connection)
        slow.pop().close()
        assert client.ask("ba be\n") == (200, joined(run("ba be\n")))
        for place, connection in enumerate(slow):
            connection.settimeout(30)
            found = connection.recv(1000)
            # To one that has not asked anything there is nothing to say.
            assert found.startswith(b"HTTP/1.1 408 ") if place else found == b""
    assert raw(client, head + b"ba") == b""
    assert Client(client.place).ask("ba be\n") == (200, joined(run("ba be\n")))
