"""`s2s explain` of text, as a test calls it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from s2scli.configs.explain import ExplainConfig
from s2scli.explain import explain
from s2scli.schema import build


class Explainer:
    """Runs explain on some text given as standard input, and returns what it printed."""

    def __init__(
        self, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.path, self.capsys, self.monkeypatch = path, capsys, monkeypatch
        self.errors = ""

    def __call__(self, text: str, **settings: Any) -> str:
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        values = {"path": self.path, "device": "cpu", "max_len_b": 6, "method": "input_x_gradient"} | settings
        explain(build(ExplainConfig, values))
        out, self.errors = self.capsys.readouterr()
        return out

    def records(self, text: str, **settings: Any) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self(text, format="jsonl", **settings).splitlines()]
