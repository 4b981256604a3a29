"""Where words end, in text of any script."""

from __future__ import annotations

import unicodedata
from functools import cache

# Scripts that put no spaces between words: Thai and Lao, Myanmar, Khmer, kana, Han.
_WITHOUT_SPACES = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@cache
def _is_of_a_word(character: str) -> bool:
    """Whether a character is part of a word that spaces would divide from the next."""
    code = ord(character)
    if any(first <= code <= last for first, last in _WITHOUT_SPACES):
        return False
    return character.isalnum() or character == "_" or unicodedata.category(character).startswith("M")


def are_joined(before: str, after: str) -> bool:
    """Whether two characters that follow each other, or nothing, stand in one word."""
    return before != "" and after != "" and _is_of_a_word(before) and _is_of_a_word(after)
