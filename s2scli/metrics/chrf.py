"""chrF (Popović 2015) and chrF++ (Popović 2017)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sacrebleu.metrics.chrf import CHRF

from s2scli.metrics.base import Floats, MetricOptions
from s2scli.metrics.over_sacrebleu import OverSacrebleu


class Chrf(OverSacrebleu):
    """chrF = (1 + β²) · P · R / (β² · P + R) over character n-grams, n = 1…6, with β = 2.

    A row of statistics: for each order the n-grams of the system, of the reference, and the matches.
    """

    name = "chrF2"
    word_order: ClassVar[int] = 0

    def make(self, options: MetricOptions) -> CHRF:
        """Sacrebleu's chrF."""
        return CHRF(word_order=self.word_order, lowercase=options.lowercase)

    def of_totals(self, totals: Floats) -> Floats:
        """ChrF of mean precision and recall, over the orders that both sides have n-grams of."""
        system, reference, matches = (totals[:, place::3] for place in range(3))
        counts = (system > 0) & (reference > 0)
        orders = np.maximum(counts.sum(axis=1), 1)
        precision = (np.where(counts, matches / np.maximum(system, 1), 0.0)).sum(axis=1) / orders
        recall = (np.where(counts, matches / np.maximum(reference, 1), 0.0)).sum(axis=1) / orders
        below = 4 * precision + recall
        score: Floats = 500 * precision * recall / np.where(below == 0, 1.0, below)
        return score

    def parts(self, score: Any) -> dict[str, Any]:
        """Tell the orders and β."""
        return {"char_order": score.char_order, "word_order": score.word_order, "beta": score.beta}


class ChrfPlusPlus(Chrf):
    """chrF++: chrF with word unigrams and bigrams besides."""

    name = "chrF2++"
    word_order: ClassVar[int] = 2
