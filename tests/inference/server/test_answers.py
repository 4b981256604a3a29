"""`generate --serve`: what comes over a socket is answered as what comes through a pipe, whatever other clients do."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import JSON, SEARCH, Client, Gate, raw, wait_until
from generating import SENTENCES, Generator, joined

from s2scli.configs.generate import GenerateConfig
from s2scli.generate import make_translator
from s2scli.inference.server.service import Service
from s2scli.schema import build


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


def test_a_model_that_ctranslate2_runs_answers_as_a_pipe_does(
    exported: Generator, start: Callable[..., Client]
) -> None:
    client = start(path=exported.path)
    text = joined([*SENTENCES[:9], "", "xyzzy ba"])
    assert client.ask(text) == (200, joined(exported(text)))
    (model,) = json.loads(client.ask("", method="GET")[1])["models"]
    assert (model["arch"], model["target_lang"]) == ("transformer_tiny", "bb")
    status, answer = client.ask(text, path="/?diverse-beam-groups=5")
    assert (status, answer.count("\n")) == (400, 1)
    assert "CTranslate2 has no such search" in answer
    line = json.dumps({"source": "ba", "constraints": ["be"]})
    assert client.ask(f"{line}\n", JSON)[0] == 400


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
        wait_until(lambda: len(gate.waiting) == 4)
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
    own = Service(make_translator(config), config)
    asked = own.asked(io.BytesIO(joined(SENTENCES).encode()), "", "text")
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
