"""Words between white space."""

from __future__ import annotations

from s2scli.text.tokenizer import SplittingTokenizer


class WordTokenizer(SplittingTokenizer):
    """Splits at white space and joins with one space; a user symbol inside a word is cut out of it."""

    kind = "word"
    separator = " "

    def split(self, text: str) -> list[str]:
        """The words of a text."""
        return text.split()
