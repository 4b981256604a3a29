"""Accuracy: how often the output is the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from s2scli.metrics.base import RatioMetric, References, Rows, present


class Accuracy(RatioMetric):
    """The share of outputs that are a reference, white space at their ends aside. A row of statistics: 1 or 0, 1."""

    name = "accuracy"

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """Whether each output is right."""
        del sources
        pairs = zip(hypotheses, present(references), strict=True)
        return np.array([(self._form(text) in map(self._form, right), 1) for text, right in pairs], np.int64)

    def _form(self, text: str) -> str:
        return text.strip().lower() if self.options.lowercase else text.strip()
