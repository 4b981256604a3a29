"""Single characters."""

from __future__ import annotations

from s2scli.text.tokenizer import SplittingTokenizer
from s2scli.text.word_boundaries import are_joined


class CharacterTokenizer(SplittingTokenizer):
    """Takes every Unicode code point, spaces included, as a token; loses nothing."""

    kind = "character"
    separator = ""

    def split(self, text: str) -> list[str]:
        """The code points of a text."""
        return list(text)

    def encode_phrase(self, phrase: str) -> list[int]:
        """The ids of a phrase as they stand within a line: after a space, in scripts that have spaces."""
        ids = self.encode(phrase.strip())
        is_after_space = " " in self.vocabulary and are_joined("a", phrase.strip()[:1])
        return [self.vocabulary.lookup(" "), *ids] if is_after_space else ids
