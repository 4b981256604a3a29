"""A tokenizer and a metric from outside the package."""

# ruff: noqa: ARG002 (a contract gives more than each has a use for)

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from s2scli.metrics.base import RatioMetric, References, Rows
from s2scli.text.tokenizer import SplittingTokenizer


class HyphenTokenizer(SplittingTokenizer):
    """Takes what stands between hyphens as a token."""

    kind = "hyphens"
    separator = "-"

    def split(self, text: str) -> list[str]:
        return [part for part in text.split("-") if part]


class Vowels(RatioMetric):
    """The share of vowels in the outputs, in percent."""

    name = "vowels"
    needs = ()

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        return np.array([(sum(map(text.count, "aeiou")), len(text)) for text in hypotheses], np.int64)
