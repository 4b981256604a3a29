"""Self-BLEU (Zhu et al. 2018, Texygen): how like each other the outputs are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from s2scli.metrics.base import RatioMetric, References, Rows
from s2scli.metrics.bleu import sentence_bleu
from s2scli.metrics.words import ngrams, splitter_beside


class SelfBleu(RatioMetric):
    """The mean of the BLEU of each output with all other outputs as its references.

    A row of statistics: BLEU, over the orders of n-grams that the output has, smoothed as sacrebleu's sentence BLEU; 1.
    Which outputs the others are stays as it is when rows are drawn anew.
    """

    name = "self-BLEU"
    needs = ()
    higher_is_better = False
    is_apart = False
    scale = 1.0
    _words = "space"

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """The BLEU of each output, in time linear in the text: of each n-gram the two largest counts are enough."""
        del sources
        self._words, split = splitter_beside(self.options, hypotheses, references)
        outputs = [split(text) for text in hypotheses]
        statistics = np.zeros((len(outputs), 10), np.int64)
        statistics[:, 0] = [len(words) for words in outputs]
        statistics[:, 1] = _nearest_lengths([len(words) for words in outputs])
        for order in range(1, 5):
            counted = [Counter(ngrams(words, order)) for words in outputs]
            most: dict[tuple[str, ...], tuple[int, int, int]] = {}
            for place, counts in enumerate(counted):
                for ngram, number in counts.items():
                    first, owner, second = most.get(ngram, (0, -1, 0))
                    if number > first:
                        most[ngram] = number, place, first
                    elif number > second:
                        most[ngram] = first, owner, number
            for place, counts in enumerate(counted):
                matches = 0
                for ngram, number in counts.items():
                    first, owner, second = most[ngram]
                    matches += min(number, second if owner == place else first)
                statistics[place, 1 + order], statistics[place, 5 + order] = matches, counts.total()
        return np.stack([sentence_bleu(statistics.astype(np.float64)), np.ones(len(outputs))], axis=1)

    def terms(self) -> dict[str, str]:
        """Case and what a word is."""
        return super().terms() | {"tok": self._words}


def _nearest_lengths(lengths: Sequence[int]) -> list[int]:
    """For each output the length among the others that is nearest to its own, the shorter of two."""
    numbers = Counter(lengths)
    different = sorted(numbers)
    nearest = {}
    for place, length in enumerate(different):
        others = different[max(place - 1, 0) : place] + different[place + 1 : place + 2]
        nearest[length] = (
            length
            if numbers[length] > 1
            else min(others, key=lambda other: (abs(other - length), other), default=0)
        )
    return [nearest[length] for length in lengths]
