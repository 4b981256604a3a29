"""chrF (Popović 2015) and chrF++ (Popović 2017)."""

from __future__ import annotations

from typing import Any, ClassVar

from sacrebleu.metrics.chrf import CHRF

from s2scli.metrics.base import Metric, MetricOptions


class Chrf(Metric):
    """chrF = (1 + β²) · P · R / (β² · P + R) over character n-grams, n = 1…6, with β = 2.

    A row of statistics: for each order the n-grams of the system, of the reference, and the matches.
    """

    word_order: ClassVar[int] = 0

    def make(self, options: MetricOptions) -> CHRF:
        """Sacrebleu's chrF."""
        return CHRF(word_order=self.word_order, lowercase=options.lowercase)

    def details(self, score: Any) -> dict[str, Any]:
        """Tell the orders and β."""
        return {"char_order": score.char_order, "word_order": score.word_order, "beta": score.beta}


class ChrfPlusPlus(Chrf):
    """chrF++: chrF with word unigrams and bigrams besides."""

    word_order: ClassVar[int] = 2
