"""Metrics over sacrebleu's implementation: its statistics, numbers and signatures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from sacrebleu.metrics.base import Metric as SacrebleuMetric

from s2scli.metrics.base import DEFAULTS, MetricOptions, References, Rows, Score, SumMetric

# Segments whose statistics are Python lists at one time.
_SEGMENTS_AT_ONCE = 10_000


class OverSacrebleu(SumMetric):
    """A metric of sacrebleu's; a subclass makes that, and has its formula once more for many sums at a time."""

    def __init__(self, options: MetricOptions = DEFAULTS) -> None:
        super().__init__(options)
        self._metric = self.make(options)
        self._cached: References = ()

    @abstractmethod
    def make(self, options: MetricOptions) -> SacrebleuMetric:
        """Make sacrebleu's metric with these options."""

    @abstractmethod
    def parts(self, score: Any) -> dict[str, Any]:
        """Take one of sacrebleu's scores into its parts, as JSON values."""

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """Sacrebleu's statistics, integers but for TER."""
        del sources
        found = []
        for start in range(0, len(hypotheses), _SEGMENTS_AT_ONCE):
            part = slice(start, start + _SEGMENTS_AT_ONCE)
            some: Any = [reference[part] for reference in references]
            if len(hypotheses) > _SEGMENTS_AT_ONCE:
                self._metric._ref_cache = None
            elif self._cached is not references:
                # Another system is compared with the same ones.
                self._metric._ref_cache, self._cached = self._metric._cache_references(some), references
            given = None if self._metric._ref_cache else some
            found.append(np.asarray(self._metric._extract_corpus_statistics(hypotheses[part], given)))
        return np.concatenate(found)

    @property
    def signature(self) -> str:
        """Sacrebleu's own."""
        self._metric.num_refs = -1 if self.num_references == "var" else int(self.num_references)
        signature: str = self._metric.get_signature().format()
        return signature

    def aggregate(self, rows: Rows) -> Score:
        """Score the segments by sacrebleu's own formula, so that the last digit is the same too."""
        score = self._metric._compute_score_from_stats(np.add.reduce(rows, axis=0).tolist())
        return Score(
            name=score.name,
            value=float(score.score),
            signature=self.signature,
            higher_is_better=self.higher_is_better,
            details=self.parts(score),
        )

    def sentence(self, hypothesis: str, references: Sequence[str]) -> float:
        """The score of one segment by itself, as sacrebleu has it."""
        return float(self._of_sentences.sentence_score(hypothesis, list(references)).score)

    @cached_property
    def _of_sentences(self) -> SacrebleuMetric:
        """What scores a segment by itself."""
        return self._metric
