"""ROUGE (Lin 2004), through rouge-score."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
import regex

from s2scli.metrics.base import DEFAULTS, MetricOptions, RatioMetric, References, Rows, of_extra, present
from s2scli.metrics.words import characters, is_unspaced, looks_latin

# Letters with the marks on them, and digits, of every script.
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
# Where a sentence ends: marks with white space after them, or full-width ones.
_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*")


class Rouge(RatioMetric):
    """The mean over segments of F = 2 · P · R / (P + R), where P and R are the shares of their units that both have.

    Of several references the one with the highest F counts. A row of statistics: F, 1, P, R. The words are in the
    lower-cased text the runs of a-z and 0-9, as in the original (tok:rouge); where references are not in Latin script,
    the runs of letters and digits of any (tok:unicode), and without spaces between words `characters` (tok:char).
    """

    type: ClassVar[str]

    def __init__(self, options: MetricOptions = DEFAULTS) -> None:
        super().__init__(options)
        self._make = of_extra(self.name, "rouge_score.rouge_scorer").RougeScorer
        self._words = "rouge"

    @cached_property
    def _scorers(self) -> dict[str, Any]:
        """rouge-score's scorers, by what their words are."""
        return {
            "rouge": self._make([self.type], use_stemmer=self.options.stem),
            "unicode": self._make([self.type], tokenizer=_WordSplitter(str.split)),
            "char": self._make([self.type], tokenizer=_WordSplitter(characters)),
        }

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """rouge-score's F, P and R."""
        del sources
        is_char = is_unspaced(self.options, references[0])
        self._words = "char" if is_char else "rouge" if looks_latin(references[0]) else "unicode"
        scorer = self._scorers[self._words]
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
        is_stemmed = self.options.stem and self._words == "rouge"
        return {"tok": self._words, "stem": "yes" if is_stemmed else "no"}

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


class _WordSplitter:
    """A tokenizer for rouge-score: what `split` makes of the lower-cased letters and digits of a text."""

    def __init__(self, split: Callable[[str], list[str]]) -> None:
        self._split = split

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return self._split(" ".join(_WORD.findall(text.lower())))
