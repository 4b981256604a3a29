"""`generate --serve` and its clients: settings of their own, limits, and that none keeps others from their answers."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from clients import JSON, Client, Gate, wait_until
from generating import SENTENCES, Generator, joined, limited
from loaded import Command

from s2scli.inference.server import connection as connection_module

LINE = json.dumps({"source": SENTENCES[0]})


def with_settings(**settings: Any) -> str:
    return json.dumps({"source": SENTENCES[0], **settings})


def test_a_request_has_settings_of_its_own(run: Generator, start: Callable[..., Client]) -> None:
    client = start()
    text = joined(SENTENCES[:4])
    prefix = run(text)[0].split()[0]
    for settings in (
        {"beam": 1},
        {"nbest": 3},
        {"beam": 2, "lenpen": 0.3},
        {"sampling": True, "seed": 4, "top_k": 3},
        {"max_len_b": 2, "min_len": 2},
        {"no_repeat_ngram_size": 1, "target_prefix": prefix},
    ):
        expected = joined(run(text, **settings))
        query = "&".join(f"{name.replace('_', '-')}={value}" for name, value in settings.items())
        assert client.ask(text, path=f"/?{quote(query, safe='=&')}") == (200, expected)
        records = joined([json.dumps({"source": line, **settings}) for line in SENTENCES[:4]])
        assert client.ask(records, JSON) == (200, expected)
    # Those of a record go over those of the query, and each line has its own.
    mixed = joined([with_settings(nbest=2), LINE])
    status, answer = client.ask(mixed, JSON, path="/?nbest=3&beam=4")
    assert status == 200
    assert [line.split("\t")[0] for line in answer.splitlines()] == ["0", "0", "1", "1", "1"]
    # What others ask at the same time is another batch.
    assert client.ask(text) == (200, joined(run(text)))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("beem=1", "?beem: a request has no such setting; did you mean beam?"),
        ("batch_size=1", "?batch_size: a request has no such setting; "),
        ("path=/etc", "?path: a request has no such setting; "),
        ("beam=0", "?beam = '0' is not allowed; allowed: ≥ 1"),
        ("beam=x", "?beam = 'x' is not valid; wanted: a whole number"),
        ("beam", "?beam = '' is not valid"),
        ("lenpen=inf", "?lenpen = 'inf' is not allowed"),
        ("beam=1&beam=2", "?beam: given twice"),
        ("beam=21", "?beam = 21 is not allowed; allowed: ≤ 20 (--max-beam)"),
        ("sampling=true&nbest=1000", "?nbest = 1000 is not allowed"),
        ("mbr=chrf&mbr-candidates=99", "?mbr_candidates = 99 is not allowed"),
        ("max_len_b=6", "?max_len_b = 6 is not allowed; allowed: ≤ 5 (the server's --max-len-b)"),
        ("max_len_a=1.5", "?max_len_a = 1.5 is not allowed; allowed: ≤ 1"),
        ("target-prefix=?", "--target-prefix ?: "),
        ("top_p=0.5", "?top_p has no effect without ?sampling"),
        ("nbest=9", "--nbest 9 needs a beam at least as wide"),
    ],
)
def test_settings_that_are_not_known_or_not_allowed(
    start: Callable[..., Client],
    query: str,
    message: str,
) -> None:
    client = start()
    status, answer = client.ask("ba\n", path=f"/?{query}")
    assert (status, answer[: len(message)], answer.count("\n")) == (400, message, 1)
    names = dict(part.partition("=")[::2] for part in query.split("&"))
    if "has no such" not in message and "twice" not in message:
        found = client.ask(f"{LINE}\n{with_settings(**names)}\n", JSON)
        assert found[0] == 400
        assert found[1].startswith("request:2: ")
    assert client.ask("ba\n", method="GET", path=f"/?{query}")[0] == 400


def test_other_fields_of_a_record_go_into_its_answer(start: Callable[..., Client]) -> None:
    client = start(format="jsonl")
    status, answer = client.ask(with_settings(doc=[1], nbest=[{"text": "a"}], beam=2), JSON)
    assert status == 200
    assert json.loads(answer)["doc"] == [1]


def test_only_a_port_asks_for_whose_page_it_is(start: Callable[..., Client]) -> None:
    port, path = start("127.0.0.1:0"), start()
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        assert Client(port.place).ask("ba\n", headers)[0] == 403
        assert Client(port.place).ask("", headers, method="GET")[0] == 403
        assert Client(path.place).ask("ba\n", headers)[0] == 200
    assert port.ask("ba\n", {"Host": "localhost:1", "Origin": "http://127.0.0.1:3000"})[0] == 200


def test_long_lines_and_bodies_of_the_wrong_method(start: Callable[..., Client]) -> None:
    client = start(max_line_bytes=100)
    fits, too_long = "ba " * 33, "ba " * 34
    assert client.ask(f"ba\n{fits}\n{fits}")[0] == 200
    for body, line in ((f"ba\n{too_long}\nba\n", 2), (f"{fits}\n{fits}\n\n{too_long}", 4)):
        status, message = Client(client.place).ask(body)
        assert status == 413
        assert message.startswith(
            f"request:{line}: the line has more than 100 bytes (--max-line-bytes); divide"
        )
    small = start(max_line_tokens=20, on_long="truncate")
    for body, headers in (
        ("ba\n" + "ba " * 21, {}),
        (joined([LINE, json.dumps({"source": "ba " * 21})]), JSON),
    ):
        status, message = Client(small.place).ask(body, headers)
        assert status == 413
        assert message.startswith(
            "request:2: the line has 21 tokens, more than 20 (--max-line-tokens); divide"
        )
    assert small.ask("b" * 99)[0] == 200
    # A prefix and constraints are as long to go through.
    prefix = "ba " * 21
    for body, status, said in (
        (
            json.dumps({"source": "ba", "constraints": [prefix]}),
            413,
            "request:1: the line has 21 tokens, more",
        ),
        (
            json.dumps({"source": "ba", "target_prefix": prefix}),
            400,
            "request:1: target_prefix: has 21 tokens",
        ),
        (json.dumps({"source": "ba", "target_prefix": "ba \ud800"}), 400, "request:1: --target-prefix"),
    ):
        found = Client(small.place).ask(body, JSON)
        assert (found[0], found[1][: len(said)]) == (status, said)
    assert small.ask("ba", path=f"/?target_prefix={quote(prefix)}")[0] == 400
    # In parts it is as short as any.
    assert start(max_line_tokens=20, on_long="split").ask("ba " * 99)[0] == 200
    for method in ("GET", "HEAD"):
        assert Client(client.place).ask("ba\n", method=method)[0] == 400


def test_a_client_that_has_gone_stops_its_work(
    start: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate(monkeypatch)
    for place in ("", "127.0.0.1:0"):
        client = start(place, batch_size=4, buffer_size=100)
        gate.opened.clear()
        before, gate.num_gone = len(gate.batches), 0
        # Its answer is sent when a window of a hundred lines is done: until then nothing is written that could fail.
        client.request("POST", "/", joined(SENTENCES[:10] * 10).encode())
        gate.entered.acquire()
        client.close()
        wait_until(lambda: gate.num_gone > 0)
        gate.opened.set()
        # The batch that was begun, and that of the next client.
        assert Client(client.place).ask("ba\n")[0] == 200
        assert len(gate.batches) - before <= 3
        while gate.entered.acquire(blocking=False):
            pass


def test_work_of_others_goes_on_between_the_parts_of_a_line(
    run: Generator,
    start: Callable[..., Client],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line of fifty sentences is answered one by one, and whoever asks in the meantime is answered before its end."""
    path = limited(run.path, tmp_path / "model", on_long="skip", max_source_length=4)
    gate = Gate(monkeypatch)
    client = start(path=path, on_long="split", batch_size=2)
    line = " ".join(["ba be bi."] * 50)
    with ThreadPoolExecutor(2) as threads:
        long = threads.submit(client.ask, f"{line}\n")
        gate.entered.acquire()
        short = threads.submit(Client(client.place).ask, "ba be\n")
        wait_until(lambda: len(gate.waiting) == 2)
        gate.opened.set()
        assert short.result() == (200, joined(run("ba be\n", path=path, on_long="split")))
        assert long.result() == (200, joined(run(f"{line}\n", path=path, on_long="split")))
    assert any("ba be" in batch for batch in gate.batches[:3])
    assert len(gate.batches) >= 26


def test_idle_and_unfinished_connections_shut_nobody_out(
    run: Generator,
    start: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So long each of them is waited for.
    monkeypatch.setattr(connection_module, "_MOMENT", 0.1)
    client = start(max_connections=4, max_pending_bytes=50_000, max_line_bytes=1000)
    head = b"POST / HTTP/1.1\r\nContent-Length: 60000\r\n\r\n"
    with ExitStack() as stack:
        for number in range(40):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(client.place))
            connection.sendall([b"", b"POST / ", head, head + b"ba\n" * 9000][number % 4])
        for _ in range(5):
            assert Client(client.place).ask("ba be\n") == (200, joined(run("ba be\n")))


def test_one_connection_may_send_more_than_is_held_at_a_time(start: Callable[..., Client]) -> None:
    client = start(max_pending_bytes=1000, max_line_bytes=10)
    for _ in range(5):
        assert client.ask("ba be\n" * 100)[0] == 200
    assert client.ask("ba be\n" * 200)[0] == 503


def test_the_grace_period_ends(run: Generator, tmp_path: Path) -> None:
    """A client that does not read, and one whose answer takes long, keep the server no longer than that."""
    place = tmp_path / "a.sock"
    words = f"generate --path {run.path} --device cpu --serve {place} --grace-period 1 --send-timeout 3600".split()
    errors = tmp_path / "errors.txt"
    process = Command(words, errors)
    with socket.socket(socket.AF_UNIX) as connection:
        wait_until(place.exists)
        connection.settimeout(60)
        connection.connect(str(place))
        body = joined(SENTENCES * 2000).encode()
        threading.Thread(
            target=connection.sendall,
            args=(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),),
        ).start()
        assert Client(place).ask("ba\n")[0] == 200
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        # Whoever does not read would keep it for as long as --send-timeout says.
        assert process.wait() == 143
    assert errors.read_text(encoding="utf-8").splitlines()[-1].startswith("s2s generate: interrupted after ")
    assert not place.exists()
