"""How much an output repeats itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from s2scli.metrics.base import RatioMetric, References, Rows
from s2scli.metrics.words import ngrams, splitter_beside


class Repetition(RatioMetric):
    """seq-rep-4 (Welleck et al. 2020): the mean of the share of an output's 4-grams that came in it before.

    A row of statistics: the share, and 1 where the output has a 4-gram.
    """

    name = "repetition"
    needs = ()
    higher_is_better = False
    _words = "space"

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """The share of each output."""
        del sources
        self._words, split = splitter_beside(self.options, hypotheses, references)
        found = [ngrams(split(text), 4) for text in hypotheses]
        return np.array(
            [(1 - len(set(item)) / max(len(item), 1) if item else 0.0, bool(item)) for item in found]
        )

    def terms(self) -> dict[str, str]:
        """Case and what a word is."""
        return super().terms() | {"tok": self._words}
