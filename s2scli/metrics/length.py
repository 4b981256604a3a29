"""How long the outputs are: in words, and beside their references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from s2scli.metrics.base import RatioMetric, References, Rows, present
from s2scli.metrics.words import splitter, splitter_beside


class Length(RatioMetric):
    """The mean number of words of an output. A row of statistics: words, 1."""

    name = "length"
    needs = ()
    scale = 1.0
    _words = "space"

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """The words of each output."""
        del sources
        self._words, split = splitter_beside(self.options, hypotheses, references)
        return np.array([(len(split(text)), 1) for text in hypotheses], np.int64)

    def terms(self) -> dict[str, str]:
        """What a word is."""
        return {"tok": self._words}


class LengthRatio(RatioMetric):
    """Words of the outputs / words of the references, of several those of the nearest length. A row: both numbers."""

    name = "length ratio"
    scale = 1.0
    _words = "space"

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """The words of each output and of the reference nearest in length, the shorter of two."""
        del sources
        self._words, split = splitter(self.options, references[0])
        rows = []
        for text, rights in zip(hypotheses, present(references), strict=True):
            length = len(split(text))
            lengths = [len(split(right)) for right in rights]
            rows.append((length, min(lengths, key=lambda other: (abs(other - length), other))))
        return np.array(rows, np.int64)

    def terms(self) -> dict[str, str]:
        """What a word is."""
        return {"tok": self._words}
