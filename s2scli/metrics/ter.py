"""TER, the translation edit rate (Snover et al. 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sacrebleu.metrics.ter import TER

from s2scli.metrics.base import Floats, MetricOptions, References, Rows, present
from s2scli.metrics.edits import edits
from s2scli.metrics.over_sacrebleu import OverSacrebleu


class Ter(OverSacrebleu):
    """TER = edits / reference words: insertions, deletions, substitutions and shifts of word sequences.

    A row of statistics: edits to the nearest reference, mean length of the references. Case is ignored.
    """

    name = "TER"
    splits_at_spaces = True
    higher_is_better: ClassVar[bool] = False

    def make(self, options: MetricOptions) -> TER:  # noqa: ARG002
        """Sacrebleu's TER, whose defaults are Tercom's."""
        return TER()

    def counted(self, hypotheses: Sequence[str], references: References) -> Rows:
        """The edits to the nearest reference of each segment."""

        def words(text: str) -> list[str]:
            found: list[str] = self._metric._preprocess_segment(text).split()
            return found

        rows = []
        for text, targets in zip(hypotheses, present(references), strict=True):
            output, rights = words(text), [*map(words, targets)]
            fewest = min(edits(output, right) for right in rights)
            rows.append((fewest, sum(map(len, rights)) / len(rights)))
        return np.array(rows, np.float64)

    def of_totals(self, totals: Floats) -> Floats:
        """Edits a word of the references; 100 where there are edits and no words."""
        edits, words = totals[:, 0], totals[:, 1]
        return 100 * np.where(words > 0, edits / np.where(words > 0, words, 1.0), edits > 0)

    def parts(self, score: Any) -> dict[str, Any]:
        """Edits, and reference length in words."""
        return {"edits": score.num_edits, "reference_length": score.ref_length}
