"""Where a line that is too long is cut."""

from __future__ import annotations

import pytest
from timing import growth

from s2scli.inference.long_lines import split_line


@pytest.mark.parametrize(
    ("text", "longest", "parts"),
    [
        ("Yes. No.", 8, ["Yes. No."]),
        ("Yes. No.", 5, ["Yes.", " No."]),
        ("One two three four.", 11, ["One two", " three four."]),
        ('He said "No!" And left... Why?', 20, ['He said "No!"', " And left...", " Why?"]),
        ("Version 3.14 is out. It works", 25, ["Version 3.14 is out.", " It works"]),
        ("一二三。四五六！七八", 4, ["一二三。", "四五六！", "七八"]),
        ("「一二。」三四五", 5, ["「一二。」", "三四五"]),
        ("一二三四五六", 3, ["一二三", "四五六"]),
        ("  One. \t Two.  ", 5, ["One.", " Two."]),
        ("abcdefgh", 0, list("abcdefgh")),
    ],
)
def test_where_a_line_is_cut(text: str, longest: int, parts: list[str]) -> None:
    found = split_line(text, lambda part: len(part) <= longest)
    assert [space + part for space, part in found] == parts


@pytest.mark.parametrize("marks", [".", ". ", "!\u201d", "\u3002", "x"])
def test_cutting_takes_no_longer_than_the_line(marks: str) -> None:
    def split(number: int) -> list[tuple[str, str]]:
        return split_line(marks * number, lambda part: len(part) <= 100)

    # What goes through the line once for each mark takes sixteen times as long for four times as many.
    assert growth(split, 20_000, 80_000) < 10
    text, parts = marks * 20_000, split(20_000)
    assert "".join(part for _, part in parts) == text.replace(" ", "")
    assert all(len(part) <= 100 for _, part in parts)
