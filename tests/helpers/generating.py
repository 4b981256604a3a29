"""`generate` called as from a shell, with text for standard input."""

from __future__ import annotations

import io
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toys import reversed_pairs

from s2scli.checkpoint import load_checkpoint, save_checkpoint
from s2scli.configs.generate import GenerateConfig
from s2scli.errors import Interrupted
from s2scli.generate import generate
from s2scli.schema import build

SENTENCES = reversed_pairs(40, 8, seed=77)[0]


class Interrupting(io.BytesIO):
    """Text that comes with a signal after some lines."""

    def __init__(self, text: str, after: int, number: int = signal.SIGINT) -> None:
        super().__init__(text.encode())
        self.after, self.number = after, number

    def readline(self, size: int | None = -1, /) -> bytes:
        if self.after == 0:
            signal.raise_signal(self.number)
        self.after -= 1
        return super().readline(size)


class Generator:
    """Runs generate on some text given as standard input, and returns what it printed."""

    def __init__(
        self, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.path, self.capsys, self.monkeypatch = path, capsys, monkeypatch
        self.errors = ""

    def __call__(self, text: bytes | str, **settings: Any) -> list[str]:
        data = text.encode() if isinstance(text, str) else text
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        values = {"path": self.path, "device": "cpu", "max_len_a": 1.0, "max_len_b": 5} | settings
        result = generate(build(GenerateConfig, values))
        out, self.errors = self.capsys.readouterr()
        assert out == "" or out.endswith("\n")
        lines = out.split("\n")[:-1]
        is_line_a_record = settings.get("format") == "jsonl" or settings.get("nbest", 1) == 1
        if (
            is_line_a_record
            and settings.get("format") not in ("fairseq", "table")
            and "output" not in settings
        ):
            assert result.lines == len(lines)
        return lines

    def interrupted(self, text: str, after: int, number: int = signal.SIGINT, **settings: Any) -> Interrupted:
        """Run generate on some text, with a signal after some lines; returns what it ends with."""
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Interrupting(text, after, number)))
        values = {"path": self.path, "device": "cpu", "max_len_a": 1.0, "max_len_b": 5, "buffer_size": 2}
        with pytest.raises(Interrupted) as raised:
            generate(build(GenerateConfig, values | settings))
        return raised.value


def joined(lines: list[str]) -> str:
    """The lines as the text of a file."""
    return "".join(f"{line}\n" for line in lines)


def limited(source: Path, path: Path, **limits: Any) -> Path:
    """A copy of a run's best checkpoint, at a path, that says other limits of its training's lines."""
    checkpoint = load_checkpoint(source / "checkpoint_best.safetensors")
    values = {"max_source_length": 3, "max_target_length": 0, "on_long": "truncate"} | limits
    save_checkpoint(path, replace(checkpoint, dataset={**checkpoint.dataset, "limits": values}))
    return path


def assert_same_records(lines: list[str], expected: list[str]) -> None:
    """What a line is batched with may change the last digit of its scores, and nothing else."""
    for line, other in zip(lines, expected, strict=True):
        one, two = json.loads(line), json.loads(other)
        for name in ("score", "token_scores"):
            assert one.pop(name) == pytest.approx(two.pop(name), abs=1e-4)
        assert one == two
