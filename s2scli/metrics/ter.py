"""TER, the translation edit rate (Snover et al. 2006)."""

from __future__ import annotations

from typing import Any, ClassVar

from sacrebleu.metrics.ter import TER

from s2scli.metrics.base import Metric, MetricOptions


class Ter(Metric):
    """TER = edits / reference words: insertions, deletions, substitutions and shifts of word sequences.

    A row of statistics: edits to the nearest reference, mean length of the references. Case is ignored.
    """

    higher_is_better: ClassVar[bool] = False

    def make(self, options: MetricOptions) -> TER:  # noqa: ARG002
        """Sacrebleu's TER, whose defaults are Tercom's."""
        return TER()

    def details(self, score: Any) -> dict[str, Any]:
        """Edits, and reference length in words."""
        return {"edits": score.num_edits, "reference_length": score.ref_length}
