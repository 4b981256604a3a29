"""HTTP for a service: POST / some lines, GET / which model it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.utils import formatdate
from http import HTTPStatus
from itertools import chain

from s2scli import __version__
from s2scli.console import warn
from s2scli.errors import S2SError
from s2scli.inference.server.connection import Activity, Connection, Connections, Gone, Refused
from s2scli.inference.server.request import Head, check_length, check_origin, read_body, read_head
from s2scli.inference.server.service import Service
from s2scli.streams import to_bytes

_METHODS = ("GET", "HEAD", "POST")
_TEXT = "text/plain; charset=utf-8"
_JSON = {"application/json", "application/x-ndjson", "application/ndjson", "application/jsonl"}
# The types that curl gives to data of which it knows none, and that of any bytes.
_UNNAMED = {"", "*/*", "application/x-www-form-urlencoded", "application/octet-stream"}
_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


class Handler:
    """Answers the requests of one connection, one after the other."""

    def __init__(self, connection: Connection, connections: Connections, service: Service) -> None:
        self._connection, self._connections, self._service = connection, connections, service
        self._head: Head | None = None
        self._is_last = False

    def run(self) -> int:
        """Answer until the client, a time or the server ends it; returns how many requests were answered."""
        number = 0
        refused = False
        try:
            while not self._is_last and self._connection.begins():
                self._head = None
                try:
                    self._answer_request()
                    number += 1
                except Refused as problem:
                    self._is_last = refused = True
                    self._send(problem.status, f"{problem}\n".encode(errors="backslashreplace"))
        except Gone:
            pass
        except Exception as error:
            warn(f"a connection failed: {type(error).__name__}: {error}")
        finally:
            self._connection.close(linger=refused)
            self._connections.remove(self._connection)
        return number

    def _answer_request(self) -> None:
        self._connection.enter(Activity.READING)
        self._head = head = read_head(self._connection)
        self._is_last = not head.may_go_on
        if self._connection.is_port:
            check_origin(head)
        if head.method not in _METHODS:
            raise Refused(501, f"{head.method}: not known; there are {', '.join(_METHODS)}")
        if head.path != "/":
            raise Refused(404, f"{head.path}: not found; there is / only")
        if head.method == "POST":
            self._answer_post(head)
            return
        if head.length() != 0:
            raise Refused(400, f"{head.method}: has a body; POST one")
        if head.query:
            raise Refused(400, f"?{head.query}: {head.method} has no settings; they go with POST")
        with self._answering():
            self._send(200, f"{self._service.description}\n".encode(), "application/json")

    def _answer_post(self, head: Head) -> None:
        """Answer a POST: as a whole where it is one batch, or the client speaks HTTP/1.0, else in chunks."""
        limits = self._service.config
        asked_kind, form = _kind_of(head, limits.input_format), _form(head, limits.format)
        if not {"content-length", "transfer-encoding"} & head.headers.keys():
            raise Refused(411, "a request needs its Content-Length")
        check_length(head.length() or 0, limits.max_request_bytes)
        self._meet_expectation(head)
        connection = self._connection
        body = read_body(
            connection,
            head,
            limits.max_request_bytes,
            lambda number: self._connections.hold(connection, number),
        )
        kind = "application/x-ndjson" if form == "jsonl" else _TEXT
        with self._answering():
            try:
                asked = self._service.asked(body, head.query, asked_kind)
                with closing(self._service.answer(asked, form, self._watch)) as parts:
                    if asked.num_lines > limits.batch_size and head.version >= (1, 1):
                        self._stream(parts, kind)
                        return
                    answer = b"".join(parts)
            except S2SError as error:
                self._send(400, to_bytes(f"{error}\n"))
            except (Refused, Gone):
                raise
            except Exception as error:
                warn(f"a request could not be answered: {type(error).__name__}: {error}")
                self._send(500, f"internal error: {type(error).__name__}\n".encode())
            else:
                self._send(200, answer, kind)

    def _meet_expectation(self, head: Head) -> None:
        """Tell a client that asks first to send its body."""
        expected = head.headers.get("expect", "").lower()
        if expected not in ("", "100-continue"):
            raise Refused(417, f"Expect: {expected[:40]}: 100-continue is all there is")
        if expected and head.version >= (1, 1):
            self._connection.send(_GO_ON)

    def _watch(self) -> None:
        assert self._head is not None
        # Of HTTP/1.0 a client knows no answers before the answer.
        self._connection.check(_GO_ON if self._head.version >= (1, 1) else b"")

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What a request was read for: from here on it gives way to none, and the server waits for its end."""
        self._connections.begin_answer(self._connection)
        try:
            yield
        finally:
            self._connections.end_answer(self._connection)

    def _stream(self, parts: Iterator[bytes], kind: str) -> None:
        """Send an answer in chunks; where that fails the last one is missing, which tells the client."""
        # What cannot be answered at all is known before the first part is.
        first = next(parts, b"")
        self._connection.send(self._reply(200, kind, "Transfer-Encoding: chunked"))
        try:
            for part in chain([first] if first else [], parts):
                self._connection.send(b"%x\r\n%b\r\n" % (len(part), part))
        except Gone:
            raise
        except Exception as error:
            warn(f"a request could not be answered to its end: {type(error).__name__}: {error}")
            self._is_last = True
            return
        self._connection.send(b"0\r\n\r\n")

    def _send(self, status: int, content: bytes, kind: str = _TEXT) -> None:
        reply = self._reply(status, kind, f"Content-Length: {len(content)}")
        is_head = self._head is not None and self._head.method == "HEAD"
        self._connection.send(reply if is_head else reply + content)

    def _reply(self, status: int, kind: str, length: str) -> bytes:
        """The first lines of an answer."""
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            f"Server: s2s/{__version__}",
            f"Date: {formatdate(usegmt=True)}",
            f"Content-Type: {kind}",
            length,
        ]
        if self._is_last:
            lines.append("Connection: close")
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")


def _kind_of(head: Head, input_format: str) -> str:
    """What the body is, by its type or else by --input-format: "text" or "jsonl" lines, or "audio", one recording."""
    if head.headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "Content-Encoding: send the text as it is")
    kind = _media_type(head.headers.get("content-type", ""))
    if kind in _JSON or kind in _UNNAMED:
        return "jsonl" if kind in _JSON or input_format == "jsonl" else "text"
    if kind.startswith(("text/", "audio/")):
        return kind.partition("/")[0]
    raise Refused(
        415, f"Content-Type: {kind}: send lines of text/plain, or JSON lines as application/x-ndjson"
    )


def _form(head: Head, own: str) -> str:
    """The --format of the answer, by the first of the types accepted that there is, or else the server's."""
    for accepted in head.headers.get("accept", "").split(","):
        kind = _media_type(accepted)
        if kind in _JSON:
            return "jsonl"
        if kind in ("text/plain", "text/*"):
            return "text" if own == "jsonl" else own
    return own


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()
