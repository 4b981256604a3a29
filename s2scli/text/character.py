"""Single characters."""

from __future__ import annotations

from s2scli.text.tokenizer import SplittingTokenizer


class CharacterTokenizer(SplittingTokenizer):
    """Takes every Unicode code point, spaces included, as a token; loses nothing."""

    kind = "character"
    separator = ""

    def split(self, text: str) -> list[str]:
        """The code points of a text."""
        return list(text)
