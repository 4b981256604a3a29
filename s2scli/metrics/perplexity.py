"""Perplexity and bits per character, from what a model finds the outputs to be worth."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from s2scli.metrics.base import DEFAULTS, Floats, MetricOptions, RatioMetric, References, Rows

# Of each output, from outputs and sources, its log-probability (base e) and tokens, its end symbol counted.
Forced = Callable[[Sequence[str], Sequence[str]], list[tuple[float, int]]]


class _OfModel(RatioMetric):
    """A row of statistics: minus the log-probability of an output, and what it is divided by.

    model: what the signature calls it.
    """

    needs = ()
    higher_is_better = False

    def __init__(
        self, options: MetricOptions = DEFAULTS, *, forced: Forced | None = None, model: str = ""
    ) -> None:
        super().__init__(options)
        self._forced, self._model = forced, model

    @abstractmethod
    def divisor(self, text: str, tokens: int) -> int:
        """What an output of so many tokens counts."""

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """The sums over each output's tokens."""
        del references
        assert self._forced is not None
        found = zip(hypotheses, self._forced(hypotheses, sources), strict=True)
        return np.array([(-total, self.divisor(text, tokens)) for text, (total, tokens) in found])

    def terms(self) -> dict[str, str]:
        """The model."""
        return {"model": self._model}


class Perplexity(_OfModel):
    """exp(-Σ ln p / tokens), end symbols counted; another model's tokens are others."""

    name = "perplexity"
    scale = 1.0

    def divisor(self, text: str, tokens: int) -> int:
        """Its tokens."""
        del text
        return tokens

    def of_totals(self, totals: Floats) -> Floats:
        """The perplexities."""
        return np.exp(super().of_totals(totals))


class BitsPerCharacter(_OfModel):
    """-Σ log₂ p / characters, the end of a line counted as one; comparable between models of different tokens."""

    name = "bits per character"
    scale = 1 / math.log(2)

    def divisor(self, text: str, tokens: int) -> int:
        """Its characters and the end."""
        return len(text) + 1 if tokens else 0
