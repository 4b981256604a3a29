"""Metrics that are sacrebleu's: its texts, formulas and signatures, and the same statistics, counted faster."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from sacrebleu.metrics.base import Metric as SacrebleuMetric

from s2scli.metrics.base import DEFAULTS, MetricOptions, References, Rows, Score, SumMetric

# Segments, and characters of outputs and references, whose n-grams are there at one time.
_SEGMENTS_AT_ONCE, _CHARACTERS_AT_ONCE = 10_000, 2_000_000


class OverSacrebleu(SumMetric):
    """A metric of sacrebleu's; a subclass makes that, counts, and has its formula for many sums at a time."""

    def __init__(self, options: MetricOptions = DEFAULTS) -> None:
        super().__init__(options)
        self._metric: Any = self.make(options)

    @abstractmethod
    def make(self, options: MetricOptions) -> SacrebleuMetric:
        """Make sacrebleu's metric with these options."""

    @abstractmethod
    def parts(self, score: Any) -> dict[str, Any]:
        """Take one of sacrebleu's scores into its parts, as JSON values."""

    @abstractmethod
    def counted(self, hypotheses: Sequence[str], references: References) -> Rows:
        """Sacrebleu's statistics of some segments."""

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """Sacrebleu's statistics, whole numbers but for TER."""
        del sources
        parts = _parts([hypotheses, *references])
        return np.concatenate(
            [self.counted(hypotheses[part], [item[part] for item in references]) for part in parts]
        )

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
        metric: SacrebleuMetric = self._metric
        return metric


def _parts(streams: Sequence[Sequence[str | None]]) -> Iterator[slice]:
    """Cut parallel texts into parts that are not too large."""
    start = size = 0
    for place, texts in enumerate(zip(*streams, strict=True)):
        length = sum(len(text) for text in texts if text)
        if place > start and (
            place - start >= _SEGMENTS_AT_ONCE or size + length > _CHARACTERS_AT_ONCE * len(streams)
        ):
            yield slice(start, place)
            start, size = place, 0
        size += length
    yield slice(start, len(streams[0]))
