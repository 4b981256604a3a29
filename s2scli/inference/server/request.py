"""Requests of HTTP/1.1 (RFC 9112), read strictly: what could be read in two ways is refused."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

from s2scli.configs.address import is_loopback
from s2scli.inference.server.connection import Connection, Refused

_LONGEST_LINE = 16 << 10
_MOST_HEADERS = 100
_LONGEST_CHUNK_LINE = 256
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%b) ([!-~]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
_HEADER = re.compile(rb"(%b):[ \t]*([\t -~\x80-\xff]*?)[ \t]*" % _TOKEN)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~\x80-\xff]*)?\r\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
# Headers of which two would contradict each other.
_SINGLE = (
    "content-length",
    "transfer-encoding",
    "host",
    "origin",
    "content-type",
    "content-encoding",
    "expect",
)


@dataclass(frozen=True, kw_only=True)
class Head:
    """The first lines of a request; headers: by their names in lower case, several of one name joined by commas."""

    method: str
    target: str
    version: tuple[int, int]
    headers: dict[str, str]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What stands after the target's question mark."""
        return self.target.partition("?")[2]

    @property
    def may_go_on(self) -> bool:
        """Whether another request may follow on the connection."""
        wishes = {item.strip().lower() for item in self.headers.get("connection", "").split(",")}
        return "close" not in wishes and (self.version >= (1, 1) or "keep-alive" in wishes)

    def length(self) -> int | None:
        """The length of the body; None where it comes in chunks. Refused where that is not clear."""
        coding, length = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        if coding is not None:
            if length is not None:
                raise Refused(400, "Content-Length beside Transfer-Encoding: give one")
            if self.version < (1, 1):
                raise Refused(400, "Transfer-Encoding: HTTP/1.0 has none")
            if coding.lower() != "chunked":
                raise Refused(501, "Transfer-Encoding: chunked is all there is")
            return None
        if length is None:
            return 0
        if not _LENGTH.fullmatch(length):
            raise Refused(400, f"Content-Length: {length[:40]}: not a length")
        return int(length)


def read_head(connection: Connection) -> Head:
    """Read the first lines of a request; Refused for what is no HTTP/1.1."""
    line = connection.line(_LONGEST_LINE)
    if line in (b"\r\n", b"\n"):  # as some clients send after a body
        line = connection.line(_LONGEST_LINE)
    match = _REQUEST_LINE.fullmatch(_without_end(line))
    if match is None:
        raise Refused(400, "the first line is no request of HTTP")
    method, target, *version = (item.decode("ascii") for item in match.groups())
    if version[0] != "1":
        raise Refused(505, f"HTTP/{version[0]}.{version[1]}: HTTP/1.1 is spoken here")
    return Head(method=method, target=target, version=(1, int(version[1])), headers=_read_headers(connection))


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _read_headers(connection: Connection) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(_MOST_HEADERS + 1):
        line = _without_end(connection.line(_LONGEST_LINE))
        if not line:
            return headers
        match = _HEADER.fullmatch(line)
        if match is None:
            raise Refused(400, "a line of the request's head is no header")
        name, value = match[1].decode("ascii").lower(), match[2].decode("latin-1")
        if name in headers and name in _SINGLE:
            raise Refused(400, f"{match[1].decode('ascii')}: given twice")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    raise Refused(431, f"a request has at most {_MOST_HEADERS} headers")


def check_origin(head: Head) -> None:
    """Refused for a request to a port that a page of another site has sent, if only by a name of its own for here.

    Any page that a browser shows may send to a port of the browser's machine; Host and Origin tell.
    """
    host, origin = head.headers.get("host"), head.headers.get("origin")
    if host is None and head.version >= (1, 1):
        raise Refused(400, "Host: is missing")
    if host is not None and not is_loopback(_without_port(host)):
        raise Refused(403, f"Host: {host[:80]}: localhost, 127.0.0.1 and [::1] are answered, no other names")
    if origin is not None:
        scheme, _, site = origin.partition("://")
        if scheme not in ("http", "https") or not is_loopback(_without_port(site)):
            raise Refused(403, f"Origin: {origin[:80]}: pages of other sites are not answered")


def _without_port(host: str) -> str:
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:[0-9]*)?", host)
    return match[1].removeprefix("[").removesuffix("]") if match else ""


def read_body(connection: Connection, head: Head, most: int, hold: Callable[[int], None]) -> io.BytesIO:
    """Read the body of a request; Refused for one that is too long. hold: called with the number of bytes."""
    body = io.BytesIO()
    length = head.length()
    if length is not None:
        check_length(length, most)
        _copy(connection, length, body, hold)
        return body
    while True:
        match = _CHUNK.fullmatch(connection.line(_LONGEST_CHUNK_LINE))
        if match is None:
            raise Refused(400, "a chunk begins with no length")
        size = int(match[1], 16)
        if size == 0:
            break
        check_length(body.tell() + size, most)
        _copy(connection, size, body, hold)
        if connection.line(_LONGEST_CHUNK_LINE) != b"\r\n":
            raise Refused(400, "a chunk is longer than its length")
    # Trailers, which nothing is made of.
    _read_headers(connection)
    return body


def check_length(length: int, most: int) -> None:
    """Refused for a body that is too long."""
    if length > most:
        raise Refused(
            413,
            f"a request may have {most:,} bytes (--max-request-bytes); divide its lines over several, or use a pipe",
        )


def _copy(connection: Connection, length: int, body: io.BytesIO, hold: Callable[[int], None]) -> None:
    while length:
        block = connection.block(length)
        hold(len(block))
        length -= len(block)
        body.write(block)
