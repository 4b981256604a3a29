"""Config files: what is read, and what is wrong with a file in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2scli.errors import UsageError
from s2scli.toml import read_toml


def test_a_byte_order_mark_before_toml_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbfbeam = 3\n")
    assert read_toml(path) == {"beam": 3}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = 1\nb = '\xe9'\n", "line 2 is not UTF-8"),
        (b"a = " + b"9" * 5000, "a number of thousands of digits"),
        (b"a = " + b"[" * 100_000, "lists within lists"),
        (b"a = \n", "line 1"),
    ],
)
def test_what_is_no_toml_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read_toml(path)
    assert str(refused.value).startswith(f"{path}: not a TOML file: ")
    assert message in str(refused.value)
