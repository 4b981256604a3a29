"""Requests are read strictly: what could be read in two ways is refused, and what is whole is read to its end."""

from __future__ import annotations

import socket

import pytest

from s2scli.configs.server import ServerConfig
from s2scli.inference.server.connection import Connection, Gone, Refused
from s2scli.inference.server.request import Head, check_origin, read_body, read_head

POST = b"POST / HTTP/1.1\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def read(data: bytes, most: int = 1000) -> tuple[Head, bytes]:
    """What is read from some bytes, after which no more come; all of them must be taken."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(data)
        there.shutdown(socket.SHUT_WR)
        connection = Connection(here, ServerConfig())
        assert connection.begins()
        held: list[int] = []
        head = read_head(connection)
        body = read_body(connection, head, most, held.append).getvalue()
        assert sum(held) == len(body)
        assert not connection.begins()
        return head, body


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b""),
        (b"GET / HTTP/1.1\nHost: a\n\n", b""),
        (POST + b"content-LENGTH:3\r\n\r\nba\n", b"ba\n"),
        (POST + b"Content-Length: \t 003 \r\n\r\nba\n", b"ba\n"),
        (CHUNKED + b"0\r\n\r\n", b""),
        (CHUNKED + b"3\r\nba\n\r\n00A;a=b\r\n0123456789\r\n0\r\nX: y\r\n\r\n", b"ba\n0123456789"),
        (POST + b'Transfer-Encoding: Chunked\r\n\r\n3;q="x"\r\nba\n\r\n0\r\n\r\n', b"ba\n"),
        (b"\r\n" + POST + b"Content-Length: 0\r\n\r\n", b""),
    ],
)
def test_what_is_whole_is_read_to_its_end(data: bytes, body: bytes) -> None:
    assert read(data)[1] == body


@pytest.mark.parametrize(
    ("data", "status"),
    [
        # The first line.
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\n\r\n", 400),
        (b" GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"G\xc3\x84T / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        # Headers.
        (POST + b"Content-Length : 3\r\n\r\nba\n", 400),
        (POST + b"X: a\r\n Content-Length: 3\r\n\r\nba\n", 400),
        (POST + b"X: a\rContent-Length: 3\r\n\r\nba\n", 400),
        (POST + b"X: a\x00b\r\n\r\n", 400),
        (POST + b": a\r\n\r\n", 400),
        (POST + b"no header\r\n\r\n", 400),
        (POST + b"X: y\r\n" * 200 + b"\r\n", 431),
        (POST + b"X: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        # Lengths.
        (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nba\n", 400),
        (POST + b"Content-Length: 3\r\ncontent-length: 4\r\n\r\nba\n", 400),
        (POST + b"Content-Length: 3, 3\r\n\r\nba\n", 400),
        *(
            (POST + b"Content-Length: %b\r\n\r\nba\n" % length, 400)
            for length in (b"-3", b"+3", b"0x3", b"3_0", b"")
        ),
        (POST + "Content-Length: ٣\r\n\r\nba\n".encode(), 400),
        (POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
        (POST + b"Content-Length: 1001\r\n\r\n", 413),
        # Transfer coding.
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        # Chunks.
        *(
            (CHUNKED + size + b"\r\nba\nba\n\r\n0\r\n\r\n", 400)
            for size in (
                b"0x6",
                b"+6",
                b"-6",
                b" 6",
                b"6 ",
                b"6\t;a",
                b"",
                b"g",
                b"6,6",
                b"6_0",
                b"1" * 16,
                b"\xd9\xa6",
            )
        ),
        (CHUNKED + b"3\nba\n\r\n0\r\n\r\n", 400),
        (CHUNKED + b"3\r\nba\n\n0\r\n\r\n", 400),
        (CHUNKED + b"3\r\nba\nX\r\n0\r\n\r\n", 400),
        (CHUNKED + b"3;" + b"a" * 300 + b"\r\nba\n\r\n0\r\n\r\n", 431),
        (CHUNKED + b"3e9\r\n", 413),
        (CHUNKED + b"200\r\n" + b"a" * 512 + b"\r\n200\r\n", 413),
        (CHUNKED + b"0\r\nX: y\r\n" + b"Z: y\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        read(data)
    assert refused.value.status == status
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        b"GET",
        POST,
        POST + b"X: y\r\n",
        POST + b"Content-Length: 3\r\n\r\nba",
        CHUNKED + b"3\r\nba",
        CHUNKED + b"0\r\n",
    ],
)
def test_one_that_ends_too_soon_is_none(data: bytes) -> None:
    with pytest.raises(Gone):
        read(data)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8080"}, 0),
        ({"host": "LOCALHOST"}, 0),
        ({"host": "127.0.0.1:8080", "origin": "http://localhost:3000"}, 0),
        ({"host": "127.8.0.1"}, 0),
        ({"host": "[::1]:80", "origin": "https://[::1]"}, 0),
        ({}, 400),
        *(
            ({"host": host}, 403)
            for host in (
                "evil.example",
                "evil.example:80",
                "192.168.0.1",
                "localhost.evil.example",
                "[::2]",
                "a:b:c",
            )
        ),
        *(
            ({"host": host}, 403)
            for host in ("", "localhost@evil", "127.0.0.1.evil.example", "0.0.0.0", "2130706433")
        ),
        *(
            ({"host": "localhost", "origin": origin}, 403)
            for origin in (
                "http://evil.example",
                "null",
                "file://",
                "localhost",
                "ftp://localhost",
                "https://localhost.evil",
            )
        ),
    ],
)
def test_pages_of_other_sites_are_not_answered(headers: dict[str, str], status: int) -> None:
    head = Head(method="POST", target="/", version=(1, 1), headers=headers)
    if not status:
        check_origin(head)
        return
    with pytest.raises(Refused) as refused:
        check_origin(head)
    assert refused.value.status == status
