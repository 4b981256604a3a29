"""A server with several adapters: each request, and each line of one, is answered with its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from adapted_runs import KINDS, given, make_adapted
from clients import JSON, Client, Gate, wait_until
from generating import SENTENCES, Generator, joined


@pytest.fixture(scope="module")
def adapted(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run "base" with its adapters."""
    return make_adapted(toy_data, tmp_path_factory.mktemp("adapted"))


@pytest.fixture
def run(adapted: Path, generating: Callable[[Path], Generator]) -> Generator:
    return generating(adapted / "base")


def test_requests_in_one_batch_get_what_they_get_alone(
    run: Generator, adapted: Path, start: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [*KINDS, ""]
    alone = {
        name: run(joined(SENTENCES[:8]), adapter=given(adapted, [name] if name else [])) for name in names
    }
    assert len({tuple(lines) for lines in alone.values()}) == len(names)
    client = start(adapter=given(adapted, KINDS))
    mixed = [json.dumps({"source": line, "adapter": names[n % 4]}) for n, line in enumerate(SENTENCES[:8])]
    assert client.ask(joined(mixed), JSON) == (200, joined([alone[names[n % 4]][n] for n in range(8)]))
    gate = Gate(monkeypatch)
    with ThreadPoolExecutor(len(names) + 1) as threads:
        first = threads.submit(Client(client.place).ask, joined(["ba"]))
        gate.entered.acquire()
        asked = {
            name: threads.submit(Client(client.place).ask, joined(SENTENCES[:8]), path=f"/?adapter={name}")
            for name in names
        }
        wait_until(lambda: len(gate.waiting) == len(names) + 1)
        gate.opened.set()
        assert first.result()[0] == 200
        for name, answer in asked.items():
            assert answer.result() == (200, joined(alone[name]))
    # Those that came while the first was answered are answered together.
    assert max(map(len, gate.batches)) > 8


def test_a_request_for_an_adapter_that_there_is_not_is_refused(
    adapted: Path, start: Callable[..., Client]
) -> None:
    client = start(adapter=given(adapted, ["one", "two"]))
    status, answer = client.ask(joined(["ba"]), path="/?adapter=tow")
    assert (status, "there is no such adapter; did you mean two?" in answer) == (400, True)
    line = json.dumps({"source": "ba", "adapter": 3})
    status, answer = client.ask(joined([json.dumps({"source": "ba"}), line]), JSON)
    assert status == 400
    assert "line 2: adapter = 3: there is no such adapter; known: one, two" in answer


def test_one_adapter_is_for_all_that_ask_for_none(
    run: Generator, adapted: Path, start: Callable[..., Client]
) -> None:
    client = start(adapter=given(adapted, ["two"]))
    text = joined(SENTENCES[:4])
    assert client.ask(text) == (200, joined(run(text, adapter=given(adapted, ["two"]))))
    assert client.ask(text, path="/?adapter=") == (200, joined(run(text)))
