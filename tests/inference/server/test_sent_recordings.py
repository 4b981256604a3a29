"""A server with a model of speech: it takes recordings, or paths of some in the folder that it runs in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from clients import Client
from generating import Generator, joined

AUDIO = {"Content-Type": "audio/wav"}
PATHS = ["wav/test-0.wav", "wav/test-1.wav", "wav/test-2.wav"]


@pytest.fixture
def run(speech: Path, generating: Callable[[Path], Generator], monkeypatch: pytest.MonkeyPatch) -> Generator:
    """`generate` with a model of speech, in the folder of its recordings."""
    monkeypatch.chdir(speech)
    return generating(speech / "run/checkpoint_best.safetensors")


def test_it_takes_the_bytes_of_a_recording_or_paths_within_its_folder(
    run: Generator, start: Callable[..., Client], speech: Path
) -> None:
    client = start(path=run.path)
    assert client.ask(Path(PATHS[2]).read_bytes(), AUDIO) == (200, "two\n")
    assert client.ask(joined(PATHS)) == (200, "zero\none\ntwo\n")
    outside = speech.parent / "outside.wav"
    outside.write_bytes(Path(PATHS[0]).read_bytes())
    for line in (str(outside), "../outside.wav", f"{PATHS[0]} ../outside.wav"):
        status, answer = client.ask(joined([PATHS[0], line]))
        assert (status, answer.count("\n")) == (400, 1)
        assert answer.startswith("request:2: ")
        assert "is not in the folder that the server runs in" in answer


def test_a_path_that_is_no_text_is_the_clients_fault(run: Generator, start: Callable[..., Client]) -> None:
    client = start(path=run.path, input_format="jsonl")
    for path in ("a\\u0000.wav", "\\ud83d.wav"):
        status, answer = client.ask(f'{{"audio": "{path}"}}\n', {"Content-Type": "application/x-ndjson"})
        assert status == 400
        assert answer.startswith("request:1: ")


def test_a_model_that_reads_text_takes_no_recording(
    speech: Path, start: Callable[..., Client], transformer: Generator
) -> None:
    status, answer = start(path=transformer.path).ask((speech / PATHS[0]).read_bytes(), AUDIO)
    assert (status, answer) == (
        400,
        "the model reads text: send lines of text/plain, or JSON lines as application/x-ndjson\n",
    )
