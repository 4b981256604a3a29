"""A tokenizer, a metric and noise from outside the package."""

# ruff: noqa: ARG002 (a contract gives more than each has a use for)

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from outside.configs import BackwardsConfig
from s2scli.data.denoising import MaskedText
from s2scli.data.transforms import Example
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


class Backwards:
    """The tokens of a line from the last to the first, perhaps of every second line only."""

    purpose = "denoising"

    def __init__(self, config: BackwardsConfig, text: MaskedText) -> None:
        self._config = config

    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        turns = not self._config.every_second or generator.random() < 0.5
        return example._replace(source=example.source[::-1]) if turns else example
