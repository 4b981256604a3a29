"""Documents: what each declaration lets through, and the one line that says what it does not."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from s2scli import document
from s2scli.errors import CheckpointError, DataError
from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = setting(..., "bytes", at_least=0)
    kind: str = setting("a", "kind", choices=("a", "b"))

    CLOSED: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner
    lists: Mapping[str, tuple[int, ...]]
    pair: tuple[str, float] = ("", 0.0)
    best: float | None = None
    flag: bool = False
    anything: Any = None


WHOLE = {"inner": {"size": 1}, "lists": {"x": [1, 2]}}


@pytest.mark.parametrize(
    "values",
    [
        WHOLE,
        WHOLE | {"best": None, "pair": ["a", 1], "flag": True, "anything": [{"x": None}], "other": 1},
        WHOLE | {"best": float("inf")},
        WHOLE | {"inner": {"size": 0, "kind": "b"}, "lists": {}},
    ],
)
def test_what_is_let_through(values: dict[str, Any]) -> None:
    document.check(document.parse(json.dumps(values)), Outer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": {}}, "inner.size is missing"),
        ({"inner": None}, "inner = null is not valid; wanted: an object"),
        ({"inner": {"size": -1}}, "inner.size = -1 is not valid; wanted: a whole number: ≥ 0"),
        ({"inner": {"size": True}}, "inner.size = true is not valid; wanted: a whole number: ≥ 0"),
        ({"inner": {"size": 2**63}}, f"inner.size = {2**63} is not valid; wanted: a whole number: ≥ 0"),
        ({"inner": {"size": 1.0}}, "inner.size = 1.0 is not valid; wanted: a whole number: ≥ 0"),
        ({"inner": {"size": 1, "kind": "c"}}, "inner.kind = 'c' is not valid; wanted: a text: a, b"),
        ({"inner": {"size": 1, "kinds": 1}}, "inner.kinds is not known; did you mean kind?"),
        ({"lists": {"x": [1, "2"]}}, "lists.x[1] = '2' is not valid; wanted: a whole number"),
        ({"lists": []}, "lists = [] is not valid; wanted: an object"),
        ({"pair": ["a"]}, 'pair = ["a"] is not valid; wanted: a list of 2'),
        ({"best": "1"}, "best = '1' is not valid; wanted: a number"),
        ({"flag": 1}, "flag = 1 is not valid; wanted: true or false"),
        ({"pair": ["\ud800", 1]}, "pair[0] = '\\ud800' is not valid; wanted: a text"),
    ],
)
def test_what_is_not(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as raised:
        document.check(document.parse(json.dumps(WHOLE | change)), Outer)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON: expecting value in line 1, column 1"),
        (
            b'{"a": 1,\n}',
            "is not JSON: expecting property name enclosed in double quotes in line 2, column 1",
        ),
        (b"\xff{}", "is not JSON: no UTF-8 at byte 1"),
        (b"[" * 100_000, "is JSON that is nested too deeply"),
        (b"[" * 40 + b"]" * 40, "is JSON that is nested more than 32 deep"),
        (b"1" * 5000, "is not JSON that can be used: it holds a number of thousands of digits"),
    ],
)
def test_what_is_no_json(data: bytes, message: str) -> None:
    with pytest.raises(DataError) as raised:
        document.parse(data)
    assert str(raised.value) == message


def test_a_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("file.json", "the file is missing"), ("pipe", "is a named pipe, not a file")):
        with (
            pytest.raises(DataError, match=f"^{tmp_path / name}: {message}; make it anew$"),
            document.blaming(tmp_path / name, "make it anew"),
        ):
            document.read(tmp_path / name, Outer)
    path.write_text("[]")
    wrong = r"file\.json: all of it = \[\] is not valid; wanted: an object; make it anew"
    with (
        pytest.raises(CheckpointError, match=wrong),
        document.blaming(path, "make it anew", CheckpointError),
    ):
        document.read(path, Outer)
    path.write_text(json.dumps(WHOLE))
    assert document.read(path, Outer) == WHOLE
