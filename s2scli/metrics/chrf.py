"""chrF (Popović 2015) and chrF++ (Popović 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sacrebleu.metrics.chrf import CHRF

from s2scli.metrics.base import Floats, MetricOptions, References, Rows
from s2scli.metrics.ngram_counts import Symbols, by_segment, clipped, of_characters, of_words
from s2scli.metrics.over_sacrebleu import OverSacrebleu

_CHARACTER_ORDER = 6


class Chrf(OverSacrebleu):
    """chrF = (1 + β²) · P · R / (β² · P + R) over character n-grams, n = 1…6, with β = 2.

    A row of statistics: for each order the n-grams of the system, of the reference, and the matches.
    """

    name = "chrF2"
    word_order: ClassVar[int] = 0

    def make(self, options: MetricOptions) -> CHRF:
        """Sacrebleu's chrF."""
        return CHRF(word_order=self.word_order, lowercase=options.lowercase)

    def counted(self, hypotheses: Sequence[str], references: References) -> Rows:
        """The counts of each segment with the reference by which it scores best, of equals the first."""
        case = self._metric._preprocess_segment
        streams = [[case(text or "") for text in stream] for stream in (hypotheses, *references)]
        without_spaces = [["".join(text.split()) for text in stream] for stream in streams]
        found = [_counts(of_characters(without_spaces), _CHARACTER_ORDER)]
        if self.word_order:
            split = self._metric._remove_punctuation
            words = [[split(text) for text in stream] for stream in streams]
            found.append(_counts(of_words(words), self.word_order))
        rows: Rows = np.concatenate(found, axis=2)
        if len(references) == 1:
            only: Rows = rows[0]
            return only
        score = self._metric._compute_f_score
        return np.stack(
            [
                max((row for row, text in zip(each, texts, strict=True) if text is not None), key=score)
                for each, *texts in zip(rows.swapaxes(0, 1), *references, strict=True)
            ]
        )

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


def _counts(symbols: Symbols, highest: int) -> Rows:
    """The rows of each reference: [references, segments, statistics]."""
    references, segments = len(symbols.lengths) - 1, symbols.lengths.shape[1]
    rows = np.zeros((references, segments, 3 * highest), np.int32)
    for order, (output, *others) in enumerate(symbols.orders(highest)):
        every = by_segment(*output, segments)
        for row, other in zip(rows[:, :, 3 * order : 3 * order + 3], others, strict=True):
            row[:, 1] = by_segment(*other, segments)
            # As sacrebleu has it: what cannot be a match does not count.
            row[:, 0] = np.where(row[:, 1] > 0, every, 0)
            row[:, 2] = by_segment(output[0], clipped(output, [other]), segments)
    return rows


class ChrfPlusPlus(Chrf):
    """chrF++: chrF with word unigrams and bigrams besides."""

    name = "chrF2++"
    splits_at_spaces = True
    word_order: ClassVar[int] = 2
