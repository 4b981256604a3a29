"""`generate --serve`: what comes over a socket is answered as what comes through a pipe, whatever other clients do."""

from __future__ import annotations

import http.client
import io
import json
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from test_generate import SENTENCES, Generator, joined, limited

from s2scli.configs.address import parse_address
from s2scli.configs.generate import GenerateConfig
from s2scli.errors import S2SError, UsageError
from s2scli.generate import generate, make_engine
from s2scli.inference import pool
from s2scli.inference.listening import listening, name_of
from s2scli.inference.service import Service
from s2scli.inference.serving import serving
from s2scli.schema import build

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


@pytest.fixture
def run(toy_runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Generator:
    return Generator(toy_runs / "transformer", capsys, monkeypatch)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while CLIENTS:
        CLIENTS.pop().close()


@pytest.fixture
def start(run: Generator, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Starts a server with some settings, at a new Unix socket or at a port, and gives a client of it."""
    with ExitStack() as resources:

        def started(place: str = "", **settings: Any) -> Client:
            number = len(list(tmp_path.glob("*.sock")))
            address = place or str(tmp_path / f"{number}.sock")
            config = build(GenerateConfig, {"path": run.path, "serve": address} | SEARCH | settings)
            listener = resources.enter_context(listening(parse_address(address)))
            resources.enter_context(serving(listener, Service(make_engine(config), config)))
            name = listener.getsockname()
            return Client(name if place else Path(name))

        yield started


@pytest.mark.parametrize("place", ["", "127.0.0.1:0", "localhost:0", "0"])
def test_it_answers_as_a_pipe_does(run: Generator, start: Callable[..., Client], place: str) -> None:
    client = start(place)
    text = joined([*SENTENCES[:9], "", "xyzzy ba"])
    # One connection for all.
    assert client.ask(text) == (200, joined(run(text)))
    assert client.ask(text.removesuffix("\n")) == (200, joined(run(text)))
    assert client.ask("") == (200, "")
    broken = b"ba b\xff be\nba\0\n"
    assert client.ask(broken) == (200, joined(run(broken)))
    status, answer = client.ask("", method="GET")
    (model,) = json.loads(answer)["models"]
    assert (status, model["arch"], model["target_lang"]) == (200, "transformer_tiny", "bb")
    assert client.ask("", method="HEAD") == (200, "")


def test_formats(run: Generator, start: Callable[..., Client]) -> None:
    client = start(nbest=2, beam=3, batch_size=1)
    records = joined([json.dumps({"source": line, "doc": n}) for n, line in enumerate(SENTENCES[:3])])
    settings = {"nbest": 2, "beam": 3, "batch_size": 1}
    as_json = joined(run(records, input_format="jsonl", format="jsonl", **settings))
    as_text = joined(run(joined(SENTENCES[:3]), **settings))
    for kind in ("application/json", "application/x-ndjson; charset=utf-8"):
        assert client.ask(records, {"Content-Type": kind, "Accept": kind}) == (200, as_json)
    assert client.ask(records, JSON) == (200, as_text)
    assert client.ask(joined(SENTENCES[:3]), {"Accept": "text/html, text/plain"}) == (200, as_text)
    other = start(format="jsonl", input_format="jsonl", **settings)
    assert other.ask(records) == (200, as_json)
    assert other.ask(joined(SENTENCES[:3]), {"Content-Type": "text/plain", "Accept": "text/plain"}) == (
        200,
        as_text,
    )


def test_samples_are_those_of_the_line(run: Generator, start: Callable[..., Client]) -> None:
    client = start(sampling=True, seed=4)
    expected = joined(run(joined(SENTENCES[:5]), sampling=True, seed=4))
    assert [client.ask(joined(SENTENCES[:5]))[1] for _ in range(2)] == [expected] * 2


class Gate:
    """In place of the engine's answers: keeps them back until it is opened, and notes the batches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.entered = threading.Event(), threading.Semaphore(0)
        self.batches: list[list[str]] = []
        self.answers = pool.answers_of_parts
        monkeypatch.setattr(pool, "answers_of_parts", self)

    def __call__(self, engine: Any, config: Any, lines: Any) -> Any:
        self.batches.append([line.text for line in lines])
        self.entered.release()
        assert self.opened.wait(30)
        if any("explode" in line.text for line in lines):
            raise ArithmeticError("boom")
        return self.answers(engine, config, lines)


def wait_until(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_requests_that_wait_are_one_batch(
    run: Generator, start: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each client has its own lines back, and one whose lines break the engine is alone with that."""
    gate = Gate(monkeypatch)
    client = start(batch_size=8)
    texts = [joined(SENTENCES[place : place + 2]) for place in (2, 4)] + [f"{SENTENCES[6]}\nexplode\n"]
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(client.ask, f"{SENTENCES[0]}\n")
        gate.entered.acquire()
        others = [threads.submit(Client(client.place).ask, text) for text in texts]
        wait_until(lambda: threading.active_count() >= 4)
        time.sleep(0.2)
        gate.opened.set()
        assert first.result() == (200, joined(run(f"{SENTENCES[0]}\n")))
        for text, other in zip(texts[:2], others[:2], strict=True):
            assert other.result() == (200, joined(run(text)))
        assert others[2].result() == (500, "internal error: ArithmeticError\n")
    assert gate.batches[0] == SENTENCES[:1]
    assert sorted(gate.batches[1]) == sorted([*SENTENCES[2:7], "explode"])
    assert Client(client.place).ask(texts[0]) == (200, joined(run(texts[0])))


def test_many_clients_at_once(run: Generator, start: Callable[..., Client]) -> None:
    client = start(batch_size=5, buffer_size=7)
    texts = [joined(SENTENCES[place : place + 1 + place % 13]) for place in range(24)]
    expected = [joined(run(text)) for text in texts]
    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(lambda text: Client(client.place).ask(text), texts * 2))
    assert answers == [(200, answer) for answer in expected * 2]


def test_a_long_request_is_answered_as_it_gets_done(
    run: Generator, start: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    client = start(batch_size=2, buffer_size=2)
    client.request("POST", "/", joined(SENTENCES[:8]).encode())
    expected = run(joined(SENTENCES[:8]))
    gate.opened.set()
    answer = client.getresponse()
    assert answer.headers["Transfer-Encoding"] == "chunked"
    gate.opened.clear()
    # Whatever was done before the gate was shut, it stays shut for the last of eight lines, two at a time.
    assert answer.readline().decode() == f"{expected[0]}\n"
    gate.opened.set()
    assert answer.read().decode() == joined(expected[1:])
    # A client of old gets the whole.
    old = raw(client, b"POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\nba\nbe\nbi\n")
    assert b"chunked" not in old
    assert old.endswith(joined(run("ba\nbe\nbi\n")).encode())


def test_what_nobody_reads_is_not_computed_far_ahead(run: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    gate.opened.set()
    config = build(
        GenerateConfig, {"path": run.path, "serve": "0", "batch_size": 2, "buffer_size": 3} | SEARCH
    )
    own = Service(make_engine(config), config)
    asked = own.asked(io.BytesIO(joined(SENTENCES).encode()), "", is_json=False)
    answer = own.answer(asked, "text", int)
    found = [next(answer)]
    time.sleep(0.5)
    assert sum(map(len, gate.batches)) <= 8
    found += answer
    assert b"".join(found).decode() == joined(run(joined(SENTENCES)))
    # What a client that has gone left undone stays so.
    before = len(gate.batches)
    answer = own.answer(asked, "text", int)
    next(answer)
    answer.close()
    time.sleep(0.2)
    assert sum(map(len, gate.batches[before:])) <= 8


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


def raw(client: Client, data: bytes) -> bytes:
    """All that comes back for some bytes, the last that are sent."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(client.place))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


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


def test_the_file_of_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("a.sock")
    with listening(path) as listener:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert name_of(listener) == "unix:a.sock"
        with pytest.raises(S2SError, match=r"--serve a\.sock: another server answers there"), listening(path):
            pass
        assert path.is_socket()
    assert list(tmp_path.iterdir()) == []
    # One that nobody listens at is of a server that was killed.
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with listening(path):
        # That which another server has put in the place is its own.
        path.unlink()
        path.write_text("other")
    assert path.read_text() == "other"
    with pytest.raises(S2SError, match=r"is there and no socket"), listening(path):
        pass
    with pytest.raises(S2SError, match="cannot make the socket: No such file"), listening(Path("no/a.sock")):
        pass
    with pytest.raises(S2SError, match="cannot make the socket: AF_UNIX path too long"):
        listening(Path("a" * 120)).__enter__()
    with (
        listening(("127.0.0.1", 0)) as listener,
        pytest.raises(S2SError, match="cannot listen there: Address already in use; choose another port"),
    ):
        listening(listener.getsockname()).__enter__()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("localhost:80", ("127.0.0.1", 80)),
        ("127.0.0.2:80", ("127.0.0.2", 80)),
        ("[::1]:80", ("::1", 80)),
        ("unix:a", Path("a")),
        ("unix:///a/b", Path("/a/b")),
        ("./a", Path("a")),
        ("a.sock", Path("a.sock")),
    ],
)
def test_addresses(text: str, expected: object) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (text, "other machines could reach it")
        for text in ("0.0.0.0:80", "host:80", "[::]:80", "192.168.1.1:80")
    ]
    + [
        (text, "no address to listen at") for text in ("", "unix:", "70000", "localhost", "x:y", "80:", ":80")
    ],
)
def test_addresses_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        build(GenerateConfig, {"path": "x", "serve": text})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "x"}, "DATA does not go with --serve, whose text comes from its clients"),
        ({"output": "x"}, "--output does not go with --serve"),
        ({"input": "x"}, "--input does not go"),
        ({"gen_subset": "x"}, "--gen-subset does not go"),
        ({"overwrite": True}, "--overwrite does not go"),
        ({"num_shards": 2}, "--num-shards does not go with --serve, which answers every line"),
        ({"processes": 2}, "--processes does not go with --serve, which computes in one process"),
        ({"follow": True}, "--follow does not go"),
    ],
)
def test_settings_that_do_not_go_with_it(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(GenerateConfig, {"path": "x", "serve": "0"} | settings)


def test_a_wrong_start_leaves_nothing(run: Generator, tmp_path: Path) -> None:
    place = tmp_path / "a.sock"
    for settings in ({"path": tmp_path / "none"}, {"source_tag": "<x>"}):
        with pytest.raises(S2SError):
            generate(build(GenerateConfig, {"path": run.path, "serve": str(place)} | settings))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_after_the_running_requests(
    run: Generator, tmp_path: Path, number: int, code: int
) -> None:
    place = tmp_path / "a.sock"
    words = f"generate --path {run.path} --device cpu --max-len-a 1 --max-len-b 5 --serve {place}".split()
    text = joined(SENTENCES * 50)
    command = [
        sys.executable,
        "-c",
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from s2scli.cli.app import run; sys.exit(run(sys.argv[1:]))",
        *words,
    ]
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process,
        ThreadPoolExecutor(1) as one,
    ):
        wait_until(lambda: place.exists() or process.poll() is not None)
        # It takes connections while the model is loaded; one that stays idle does not keep it.
        idle = Client(place)
        assert idle.ask("ba\n") == (200, joined(run("ba\n")))
        answer = one.submit(Client(place).ask, text)
        time.sleep(0.3)
        process.send_signal(number)
        assert answer.result() == (200, joined(run(text)))
        _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert errors == f"unix:{place}: ready\ns2s generate: interrupted after 2 requests\n"
    assert not place.exists()
