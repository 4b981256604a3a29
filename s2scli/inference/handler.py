"""HTTP for a service: POST / some lines, GET / which model it is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import BinaryIO, cast

from s2scli import __version__
from s2scli.console import counted, warn
from s2scli.errors import S2SError
from s2scli.inference.service import Ending, Service

# The largest body, some hundred thousand sentences; all of it is in memory, and so is what is computed ahead.
MOST_BYTES = 64 << 20
# Of a body that is too large so much is read all the same, since a client that still sends may not see an answer.
_MOST_IGNORED = 1 << 30
_BLOCK = 1 << 16
# For how many seconds to wait for the end of what is not wanted.
_LINGER = 2
_JSON = {"application/json", "application/x-ndjson", "application/ndjson", "application/jsonl"}
# What curl calls data that it was told nothing about, and what is said of bytes.
_UNNAMED = {"", "*/*", "application/x-www-form-urlencoded", "application/octet-stream"}


class _Refused(Exception):  # noqa: N818 (an answer, not a failure)
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection; its subclasses name the service."""

    service: Service
    protocol_version = "HTTP/1.1"
    server_version, sys_version = f"s2s/{__version__}", ""
    # A client that neither sends nor reads for so many seconds has gone.
    timeout = 60
    # Written when a part is complete, in one piece.
    wbufsize = -1
    # Whether a request was answered that may not have been read to its end.
    is_cut_short = False

    def do_GET(self) -> None:
        """Say which model it is."""
        if self._is_here():
            self._send(200, f"{self.service.describe()}\n".encode(), "application/json")

    do_HEAD = do_GET  # noqa: N815 (the name that http.server looks for)

    def do_POST(self) -> None:
        """Answer some lines."""
        try:
            # The body first: who still sends may not see an answer.
            body = _read_body(self.headers, cast(BinaryIO, self.rfile))
            is_json, form = self._is_json(), self._form()
        except _Refused as problem:
            self.send_error(problem.status, str(problem))
            return
        if body is None:
            self.close_connection = True
            return
        if not self._is_here():
            return
        try:
            with self.service.running():
                self._answer(body, is_json=is_json, form=form)
                # Nothing may be left to send when the server ends.
                self.wfile.flush()
        except Ending as problem:
            self.send_error(503, str(problem))

    def _answer(self, body: bytes, *, is_json: bool, form: str) -> None:
        """What is one batch, or for a client of old, is sent as a whole, the rest as it gets done."""
        kind = "application/x-ndjson" if form == "jsonl" else "text/plain; charset=utf-8"
        try:
            lines = self.service.lines(body, is_json=is_json)
            with closing(self.service.answer(lines, form)) as parts:
                if len(lines) > self.service.config.batch_size and self.request_version != "HTTP/1.0":
                    self._stream(parts, kind)
                    return
                answer = b"".join(parts)
        except S2SError as error:
            self._send(400, f"{error}\n".encode(errors="backslashreplace"))
        except OSError:
            raise
        except Exception as error:
            warn(f"a request could not be answered: {type(error).__name__}: {error}")
            self._send(500, f"internal error: {type(error).__name__}\n".encode())
        else:
            self._send(200, answer, kind)

    def _stream(self, parts: Iterator[bytes], kind: str) -> None:
        """Send an answer in chunks; where that fails the last one is missing, which tells the client."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for part in parts:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                self.wfile.flush()
        except OSError:
            raise
        except Exception as error:
            warn(f"a request could not be answered to its end: {type(error).__name__}: {error}")
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, content: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with one line and close the connection, since the request may not have been read to its end."""
        del explain
        self.close_connection = self.is_cut_short = True
        self._send(code, f"{message or self.responses[code][0]}\n".encode(errors="backslashreplace"))

    def finish(self) -> None:
        """Close the connection; first its own side only, where a client may still send and would not see its answer."""
        if self.is_cut_short:
            with suppress(OSError):
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_WR)
                self.connection.settimeout(_LINGER)
                _ignore(cast(BinaryIO, self.rfile))
        super().finish()

    def handle_expect_100(self) -> bool:
        """Tell a client that asks first whether its body may be so large."""
        try:
            _check_size(_length(self.headers) or 0)
        except _Refused as problem:
            self.send_error(problem.status, str(problem))
            return False
        return super().handle_expect_100()

    def log_message(self, format: str, *args: object) -> None:
        """Keep no log of requests."""

    def _is_here(self) -> bool:
        if self.path.partition("?")[0] == "/":
            return True
        self.send_error(404, f"{self.path}: not found; there is / only")
        return False

    def _is_json(self) -> bool:
        """Whether the body is JSON lines, by its type, or else by --input-format."""
        if self.headers.get("Content-Encoding", "identity") != "identity":
            raise _Refused(415, "Content-Encoding: send the text as it is")
        kind = _media_type(self.headers.get("Content-Type", ""))
        if kind in _JSON or kind in _UNNAMED:
            return kind in _JSON or self.service.config.input_format == "jsonl"
        if kind.startswith("text/"):
            return False
        raise _Refused(
            415, f"Content-Type: {kind}: send lines of text/plain, or JSON lines as application/x-ndjson"
        )

    def _form(self) -> str:
        """The --format of the answer, by the first of the types accepted that there is, or else the server's."""
        own = self.service.config.format
        for accepted in self.headers.get("Accept", "").split(","):
            kind = _media_type(accepted)
            if kind in _JSON:
                return "jsonl"
            if kind in ("text/plain", "text/*"):
                return "text" if own == "jsonl" else own
        return own


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()


def _length(headers: Message) -> int | None:
    """The length of a body, or None where it comes in chunks."""
    if headers.get("Transfer-Encoding"):
        if headers["Transfer-Encoding"].strip().lower() != "chunked":
            raise _Refused(501, "Transfer-Encoding: chunked is all there is")
        return None
    value = headers.get("Content-Length", "")
    if not value:
        raise _Refused(411, "a request needs its Content-Length")
    # More digits than any length has would take long to read.
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise _Refused(400, f"Content-Length: {value[:40]}: not a length")
    return int(value)


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise _Refused(
            413,
            f"a request may have {counted(MOST_BYTES, 'byte')}; divide its lines over several, or use a pipe",
        )


def _read_body(headers: Message, stream: BinaryIO) -> bytes | None:
    """The body of a request; None where it ends too soon."""
    length = _length(headers)
    if length is None:
        return _read_chunks(stream)
    _check_size(length)
    body = stream.read(length)
    return body if len(body) == length else None


def _read_chunks(stream: BinaryIO) -> bytes | None:
    """A body in chunks (RFC 9112, section 7.1), without its trailers."""
    body = bytearray()
    while line := stream.readline(_BLOCK):
        size = line.partition(b";")[0].strip()
        try:
            number = int(size, 16)
        except ValueError:
            number = -1
        if number < 0 or len(size) > 16:
            raise _Refused(400, "a chunk begins with no length")
        if number == 0:
            while stream.readline(_BLOCK) not in (b"\r\n", b"\n", b""):
                pass
            return bytes(body)
        _check_size(len(body) + number)
        body += stream.read(number)
        stream.readline(_BLOCK)
    return None


def _ignore(stream: BinaryIO) -> None:
    left = _MOST_IGNORED
    while left > 0 and (block := stream.read(min(left, _BLOCK))):
        left -= len(block)
