"""ROUGE (Lin 2004), through rouge-score."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np

from s2scli.metrics.base import DEFAULTS, MetricOptions, RatioMetric, References, Rows, of_extra, present
from s2scli.metrics.words import characters, is_unspaced

# Where a sentence ends: marks with white space after them, or full-width ones.
_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*")


class Rouge(RatioMetric):
    """The mean over segments of F = 2 · P · R / (P + R), where P and R are the shares of their units that both have.

    Of several references the one with the highest F counts. A row of statistics: F, 1, P, R. The words are the runs of
    a-z and 0-9 in the lower-cased text, as in the original; for Chinese and Japanese see `characters`.
    """

    type: ClassVar[str]

    def __init__(self, options: MetricOptions = DEFAULTS) -> None:
        super().__init__(options)
        self._make = of_extra(self.name, "rouge_score.rouge_scorer").RougeScorer
        self._unspaced = False

    @cached_property
    def _of_words(self) -> Any:
        return self._make([self.type], use_stemmer=self.options.stem)

    @cached_property
    def _of_characters(self) -> Any:
        return self._make([self.type], tokenizer=_Characters())

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """rouge-score's F, P and R."""
        del sources
        self._unspaced = is_unspaced(self.options, references[0])
        scorer = self._of_characters if self._unspaced else self._of_words
        found = []
        for hypothesis, targets in zip(hypotheses, present(references), strict=True):
            score = scorer.score_multi([*map(self.prepare, targets)], self.prepare(hypothesis))[self.type]
            found.append((score.fmeasure, 1.0, score.precision, score.recall))
        return np.array(found)

    def prepare(self, text: str) -> str:
        """The text as rouge-score takes it."""
        return text

    def details(self, rows: Rows) -> dict[str, Any]:
        """Mean precision and recall, in percent."""
        means = 100 * rows.mean(axis=0)
        return {"precision": float(means[2]), "recall": float(means[3])}

    def terms(self) -> dict[str, str]:
        """Tokens and stemming."""
        return {"tok": "char" if self._unspaced else "rouge", "stem": "yes" if self.options.stem else "no"}

    @property
    def version(self) -> str:
        """rouge-score's."""
        return f"rouge-score-{version('rouge-score')}"


class Rouge1(Rouge):
    """ROUGE-1: words."""

    name = "ROUGE-1"
    type = "rouge1"


class Rouge2(Rouge):
    """ROUGE-2: pairs of words that follow each other."""

    name = "ROUGE-2"
    type = "rouge2"


class RougeL(Rouge):
    """ROUGE-L: the longest common subsequence of words."""

    name = "ROUGE-L"
    type = "rougeL"


class RougeLsum(Rouge):
    """ROUGE-Lsum: the union of the longest common subsequences of each sentence of the reference and all of the output.

    A line break ends a sentence; a text without any is cut after each . ! ? with white space behind it and after 。！？
    """

    name = "ROUGE-Lsum"
    type = "rougeLsum"

    def prepare(self, text: str) -> str:
        """A line a sentence, as rouge-score takes it."""
        return text if "\n" in text else _END.sub("\n", text.strip())

    def terms(self) -> dict[str, str]:
        """Tokens, stemming, and where sentences end."""
        return super().terms() | {"sentences": "lines-or-.!?。！？"}


class _Characters:
    """A tokenizer for rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        """Characters and words, lower-cased, of letters and digits only."""
        return [word for word in characters(re.sub(r"[\W_]+", " ", text.lower())) if word]
