"""What reaches a terminal, a pipe and a file: control characters, encodings, and streams that are gone or closed."""

from __future__ import annotations

import json
import os
import pty
import struct
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from terminals import foreign_controls, on_terminal
from toys import TRANSFORMER, Trainer

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.preprocess import preprocess
from s2scli.schema import build
from s2scli.streams import Messages, Results, visible

# What would steer a terminal: a title, a cleared screen, blinking by a C1 byte, a bell, a cursor set back, turned text.
HOSTILE = "\x1b]0;pwned\x07\x1b[2J\x1b[5mblink\x9b5m\r\u202e"
SHOWN = "␛]0;pwned␇␛[2J␛[5mblink\ufffd5m␍\ufffd"
# One word of a model's output.
WORD = "\x1b]0;pwned\x07\x1b[2J\x9b5m"
VISIBLE_WORD = "␛]0;pwned␇␛[2J\ufffd5m"
# What a file's name may hold, and rich takes for markup.
NAME = f"{HOSTILE}[red]"


def change_header(path: Path, change: Any) -> None:
    """Change the metadata of a checkpoint by a function of its JSON documents."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    documents = {name: json.loads(header["__metadata__"][name]) for name in ("config", "dataset", "run")}
    change(documents)
    header["__metadata__"] |= {name: json.dumps(value) for name, value in documents.items()}
    new = json.dumps(header).encode()
    new += b" " * (-len(new) % 8)
    path.write_bytes(struct.pack("<Q", len(new)) + new + content[8 + size :])


@pytest.fixture(scope="module")
def hostile_run(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in a folder with a hostile name, whose checkpoint and log hold hostile text."""
    trainer = Trainer(toy_data, tmp_path_factory.mktemp("hostile"))
    trainer(NAME, **TRANSFORMER | {"max_update": 4, "log_interval": 2, "validate_interval_updates": 2})
    run = trainer.root / NAME

    def change(documents: dict[str, Any]) -> None:
        documents["config"]["arch"] = HOSTILE
        documents["dataset"]["source_lang"] = documents["dataset"]["target_lang"] = HOSTILE
        documents["dataset"]["splits"] = {HOSTILE: {}}
        documents["run"][HOSTILE] = HOSTILE

    for path in run.glob("*.safetensors"):
        change_header(path, change)
    log = run / "log.jsonl"
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps(event | {HOSTILE: 1.5, "norms": {HOSTILE: 2.0}}) for event in events]
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return run


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with hostile names and lines."""
    folder = tmp_path_factory.mktemp("texts") / NAME
    folder.mkdir()
    (folder / "sys").write_text(f"ba {HOSTILE} be\nba\n", encoding="utf-8")
    (folder / "other").write_text(f"be {HOSTILE} di\nba\n", encoding="utf-8")
    (folder / "ref").write_text(f"ba {HOSTILE} bi\nba\n", encoding="utf-8")
    (folder / "tags").write_text(f"{HOSTILE} a\n{HOSTILE} a\n", encoding="utf-8")
    return folder


def test_signs_keep_the_length() -> None:
    every = "".join(map(chr, [*range(0xA0), 0x2028, 0x2029, 0x202A, 0x202E, 0x2066, 0x2069, 0xD800, 0xDFFF]))
    assert len(visible(every)) == len(every)
    assert visible("a\tb\n\u200f\u0627") == "a\tb\n\u200f\u0627", (
        "tabs, line ends and marks of Arabic are text"
    )
    assert not any(ord(sign) < 0x20 and sign not in "\t\n" for sign in visible(every))
    assert (visible("\0\x1b\x07\x7f"), visible("\x85\x9b\u202e\ud800")) == ("␀␛␇␡", "\ufffd" * 4)


@pytest.mark.parametrize(
    "words",
    [
        [NAME],
        ["train", NAME],
        ["train", "data", f"--{NAME}"],
        ["train", "data", "--arch", NAME],
        ["train", "data", "--set", f"{NAME}=1"],
        ["train", "data", "--save-dir", NAME, "--config", NAME],
        ["train", "data", "--lr", NAME, "--debug"],
        ["generate", "--path", NAME],
        ["generate", "--path", NAME, "--serve", "x.sock"],
        ["chat", "--path", NAME],
        ["score", "--sys", NAME, "--ref", NAME],
        ["score", "--metrics", NAME, "--sys", "x", "--ref", "x"],
        ["average", "--inputs", NAME, "--output", NAME],
        ["datastore", NAME, NAME, "--output", "x.safetensors"],
        ["trim", NAME, "--keep", NAME, "--output", "x"],
        ["plot", NAME],
        ["inspect", NAME],
        ["preprocess", "--trainpref", NAME, "--source-lang", NAME, "--target-lang", "b", "--destdir", "d"],
        ["preprocess", "--train-file", "{texts}/tags", "--tag-field", "1", "--source-field", "1", "--target-field", "2",
         "--input-format", "tsv", "--destdir", "d"],
    ],
    ids=lambda words: "-".join(word for word in words if HOSTILE not in word and "{" not in word) or "a command",
)  # fmt: skip
def test_messages_do_not_steer_a_terminal(
    words: list[str], texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = on_terminal([word.format(texts=texts) for word in words])
    assert foreign_controls(shown) == set()
    assert any(f"{escape}]0;pwned" in shown for escape in ("␛", "\\x1b", "\\u001b"))
    assert "error: " in shown
    assert "internal error" not in shown


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "{run}"],
        ["inspect", "{run}", "--format", "json"],
        ["plot", "{run}"],
        ["plot", "{run}", "{run}", "--figures", f"{HOSTILE}"],
        ["score", "--sys", "{texts}/sys", "--ref", "{texts}/ref", "--metrics", "chrf", "--worst", "2"],
        ["score", "--sys", "{texts}/sys", "{texts}/other", "--ref", "{texts}/ref", "--metrics", "chrf", "--diff"],
        ["score", "--sys", "{texts}/sys", "--ref", "{texts}/ref", "--metrics", "wer", "--worst", "1"],
        *(["score", "--sys", "{texts}/sys", "--ref", "{texts}/ref", "--metrics", "chrf", "--format", form]
          for form in ("csv", "markdown", "latex")),
        ["generate", "--path", "{toys}/transformer", "--input", "{texts}/sys", "--format", "jsonl"],
    ],
    ids=lambda words: "-".join(word for word in words if "{" not in word and HOSTILE not in word),
)  # fmt: skip
def test_results_do_not_steer_a_terminal(
    words: list[str], hostile_run: Path, texts: Path, toy_runs: Path
) -> None:
    shown = on_terminal([word.format(run=hostile_run, texts=texts, toys=toy_runs) for word in words])
    assert foreign_controls(shown) == set()
    assert "error" not in shown
    assert "pwned" in shown or "--metrics chrf --format" in " ".join(words)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A model that answers with hostile words, and what its training showed on a terminal."""
    folder = tmp_path_factory.mktemp("taught")
    for split in ("train", "valid"):
        (folder / f"{split}.a").write_text("ba\n" * 8, encoding="utf-8")
        (folder / f"{split}.b").write_text(f"{WORD} {WORD}\n" * 8, encoding="utf-8")
    data, run = folder / "data", folder / "run"
    preprocess(
        build(
            PreprocessConfig,
            {"source_lang": "a", "target_lang": "b", "trainpref": [str(folder / "train")],
             "validpref": [str(folder / "valid")], "destdir": data, "tokenizer": "word"},
        )
    )  # fmt: skip
    sizes = {
        key: value for key, value in TRANSFORMER.items() if key.startswith("model.") and "dropout" not in key
    }
    shown = on_terminal(
        ["train", str(data), "--save-dir", str(run), "--arch", "transformer_tiny", "--lr", "0.02",
         "--warmup-updates", "1", "--max-update", "30",
         "--eval-metrics", "chrf", "--log-interval", "10", "--threads", "1",
         *(word for key, value in sizes.items() for word in ("--set", f"{key}={value}"))]
    )  # fmt: skip
    return run, shown


def test_samples_of_training_do_not_steer_a_terminal(taught: tuple[Path, str]) -> None:
    _, shown = taught
    assert foreign_controls(shown) == set()
    assert VISIBLE_WORD in shown
    # What is said while there is a bar has lines of its own.
    assert " updates" in shown
    for line in shown.split("\r\n"):
        assert (
            "updates/s]" not in line or "| update " not in line.rpartition("updates/s]")[2].partition("\r")[0]
        )


@pytest.mark.parametrize("form", ["text", "fairseq"])
def test_outputs_do_not_steer_a_terminal(form: str, taught: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "source").write_text("ba\n", encoding="utf-8")
    words = ["generate", "--path", str(taught[0]), "--format", form, "--input", str(tmp_path / "source")]
    shown = on_terminal(words)
    assert foreign_controls(shown) == set()
    assert VISIBLE_WORD in shown
    with (tmp_path / "output").open("wb") as file:
        assert "pwned" not in on_terminal(words, stdout=file.fileno())
    assert WORD in (tmp_path / "output").read_text(encoding="utf-8"), "a file has what the model says"


def test_a_chat_does_not_steer_a_terminal(taught: tuple[Path, str]) -> None:
    shown = on_terminal(["chat", "--path", str(taught[0])], b"ba\n/history\n/quit\n")
    assert foreign_controls(shown) == set()
    assert shown.count(VISIBLE_WORD) >= 2


def test_a_terminal_that_is_closed_ends_no_training(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, descriptor = pty.openpty()
    monkeypatch.setattr(sys, "stderr", Messages(descriptor))
    os.close(terminal)
    Trainer(toy_data, tmp_path)("run", **TRANSFORMER | {"max_update": 2})
    os.close(descriptor)
    assert (tmp_path / "run" / "checkpoint_last.safetensors").exists()


def test_results_wait_for_a_slow_reader_of_a_pipe_that_does_not() -> None:
    """More than a pipe holds, through one that another program has made non-blocking."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    found: list[bytes] = []

    def read() -> None:
        while data := os.read(reader, 1000):
            found.append(data)

    thread = threading.Thread(target=read)
    results = Results(writer)
    results.write("a line\n" * 100)
    thread.start()
    for _ in range(400):
        results.write("a line\n" * 100)
    results.flush()
    os.close(writer)
    thread.join()
    os.close(reader)
    assert b"".join(found) == b"a line\n" * 40_100
