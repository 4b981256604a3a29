"""How much of the outputs is copied from the sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from s2scli.metrics.base import RatioMetric, References, Rows
from s2scli.metrics.words import splitter_beside


class CopyRate(RatioMetric):
    """The share of the outputs' words that are in their sources, each as often as it is there.

    A row of statistics: such words, words.
    """

    name = "copy rate"
    needs = ("sources",)
    higher_is_better = False
    _words = "space"

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """The words of each output, and those of them that its source has."""
        self._words, split = splitter_beside(self.options, hypotheses, references)
        counted = (
            (Counter(split(text)), Counter(split(source)))
            for text, source in zip(hypotheses, sources, strict=True)
        )
        return np.array([((text & source).total(), text.total()) for text, source in counted], np.int64)

    def terms(self) -> dict[str, str]:
        """Case and what a word is."""
        return super().terms() | {"tok": self._words}
