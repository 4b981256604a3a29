"""Rewriting a line of text before it is split into tokens; by default nothing is changed."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar, Literal, cast

from s2scli.schema import setting

_Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
UNICODE_FORMS = ("none", "NFC", "NFD", "NFKC", "NFKD")


@cache
def _punctuation() -> dict[int, None]:
    """A translation table that removes every character of Unicode's categories P*."""
    return {
        code: None for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("P")
    }


@cache
def _digits() -> dict[int, str]:
    """A translation table from every decimal digit to that of ASCII."""
    digits = (chr(code) for code in range(128, sys.maxunicode + 1) if chr(code).isdecimal())
    return {ord(digit): str(unicodedata.decimal(digit)) for digit in digits}


# Characters that show nothing by themselves and are neither white space nor format characters: the combining grapheme
# joiner, fillers of Hangul, variation selectors.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u3164\uffa0") | frozenset(map(chr, range(0xFE00, 0xFE10)))


def is_blank(text: str) -> bool:
    """Whether a text has no character that can be seen, as one of white space or of a zero-width space.

    A line like that has no words, and so no output; training leaves it out.
    """
    for character in text:
        if not (character.isspace() or character in _INVISIBLE or unicodedata.category(character) == "Cf"):
            return False
    return True


def user_symbol_pattern(symbols: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern that captures any of the symbols, the longest first; None where there are none."""
    longest_first = sorted(symbols, key=lambda symbol: (-len(symbol), symbol))
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """What is done to a line, in this order: Unicode form, lowercase, digits, punctuation, stopwords, white space.

    normalize_digits: decimal digits of all scripts become 0 to 9. normalize_whitespace: what is left is separated by
    single spaces, with none at the ends, as it always is where punctuation or stopwords are removed. Stopwords are
    normalized as the text is before they are compared with its whitespace-delimited words.
    """

    unicode_normalization: str = setting("none", "Unicode form", choices=UNICODE_FORMS)
    lowercase: bool = False
    strip_punctuation: bool = False
    stopwords: tuple[str, ...] = ()
    normalize_whitespace: bool = False
    normalize_digits: bool = False

    CLOSED: ClassVar[bool] = True

    def split(self, text: str, pattern: re.Pattern[str] | None) -> list[str]:
        """Normalize a line around its user symbols.

        Returns its parts: text at even positions (may be empty), user symbols, untouched, at odd ones.
        """
        parts = pattern.split(text) if pattern else [text]
        if self._changes_nothing:
            return parts
        parts[::2] = map(self._rewrite, parts[::2])
        if self.normalize_whitespace or self.strip_punctuation or self.stopwords:
            _single_spaces(parts)
        return parts

    def apply(self, text: str, user_symbols: Iterable[str] = ()) -> str:
        """Normalize a line and leave its user symbols as they are."""
        return "".join(self.split(text, user_symbol_pattern(user_symbols)))

    def _rewrite(self, text: str) -> str:
        text = self._rewrite_characters(text)
        if not self.stopwords:
            return text
        words = re.split(r"(\s+)", text)
        return "".join("" if word in self._stopwords else word for word in words)

    def _rewrite_characters(self, text: str) -> str:
        if self.unicode_normalization != "none":
            text = unicodedata.normalize(cast(_Form, self.unicode_normalization), text)
        if self.lowercase:
            text = text.lower()
        if self.normalize_digits:
            text = text.translate(_digits())
        return text.translate(_punctuation()) if self.strip_punctuation else text

    @cached_property
    def _changes_nothing(self) -> bool:
        return self == _UNCHANGED

    @cached_property
    def _stopwords(self) -> frozenset[str]:
        return frozenset(self._rewrite_characters(word) for word in self.stopwords) - {""}


_UNCHANGED = Normalization()


def _single_spaces(parts: list[str]) -> None:
    """Leave one space, in place, where there was white space, and none at the ends of the line."""
    parts[::2] = (re.sub(r"\s+", " ", text) for text in parts[::2])
    parts[0] = parts[0].removeprefix(" ")
    parts[-1] = parts[-1].removesuffix(" ")
