"""Exact match and token F1 as SQuAD has them (Rajpurkar et al. 2016)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from s2scli.metrics.base import RatioMetric, References, Rows, present
from s2scli.metrics.words import Splitter, characters, is_unspaced

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower-case the text, take ASCII punctuation and English articles away, and make white space single."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


class _Squad(RatioMetric):
    @property
    def case(self) -> str:
        """Ignored always."""
        return "lc"

    def terms(self) -> dict[str, str]:
        """The normalization."""
        return super().terms() | {"norm": "squad"}


class ExactMatch(_Squad):
    """The share of outputs that, both normalized, are a reference. A row of statistics: 1 or 0, 1."""

    name = "EM"

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """Whether each output is right."""
        del sources
        pairs = zip(hypotheses, present(references), strict=True)
        return np.array([(normalize(text) in map(normalize, right), 1) for text, right in pairs], np.int64)


class TokenF1(_Squad):
    """The mean of F = 2 · P · R / (P + R) over the normalized words that output and reference share.

    Of several references the one with the highest F counts. A row of statistics: F, 1. Chinese and Japanese have each
    Han character and kana for a word.
    """

    name = "F1"
    _words = "space"

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """The F of each output."""
        del sources
        is_char = is_unspaced(self.options, references[0])
        self._words = "char" if is_char else "space"
        split: Splitter = characters if is_char else str.split

        def tokens(text: str) -> Counter[str]:
            return Counter(split(normalize(text)))

        pairs = zip(hypotheses, present(references), strict=True)
        return np.array(
            [(max(_f1(tokens(text), tokens(right)) for right in rights), 1.0) for text, rights in pairs]
        )

    def terms(self) -> dict[str, str]:
        """The normalization and what a word is."""
        return super().terms() | {"tok": self._words}


def _f1(output: Counter[str], reference: Counter[str]) -> float:
    """Twice what is shared, of all there is; SQuAD 2.0 says that nothing is right where nothing was wanted."""
    if not output or not reference:
        return float(output == reference)
    return 2 * (output & reference).total() / (output.total() + reference.total())
