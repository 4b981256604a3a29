"""Metrics that are sacrebleu's: its texts, formulas and signatures, and the same statistics, counted faster."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from sacrebleu.metrics.base import Metric as SacrebleuMetric

from s2scli.metrics.base import DEFAULTS, MetricOptions, References, Rows, Score, SumMetric
from s2scli.metrics.words import is_unspaced, spaced

# Segments, and characters of outputs and references, whose n-grams are there at one time.
_SEGMENTS_AT_ONCE, _CHARACTERS_AT_ONCE = 10_000, 2_000_000


class OverSacrebleu(SumMetric):
    """A metric of sacrebleu's; a subclass makes that, counts, and has its formula for many sums at a time.

    splits_at_spaces: whether the metric takes for a word what stands between white space. Text of a script without any
    is then given to it with a space between characters, and the signature says so: "unit:char".
    """

    splits_at_spaces: ClassVar[bool] = False

    def __init__(self, options: MetricOptions = DEFAULTS) -> None:
        super().__init__(options)
        self._metric: Any = self.make(options)
        self._unit = ""

    @abstractmethod
    def make(self, options: MetricOptions) -> SacrebleuMetric:
        """Make sacrebleu's metric with these options."""

    @abstractmethod
    def parts(self, score: Any) -> dict[str, Any]:
        """Take one of sacrebleu's scores into its parts, as JSON values."""

    @abstractmethod
    def counted(self, hypotheses: Sequence[str], references: References) -> Rows:
        """Sacrebleu's statistics of some segments."""

    def fit(self, texts: Sequence[str | None]) -> None:
        """Choose what a word is, by what references look like."""
        is_split = self.splits_at_spaces and is_unspaced(self.options, texts)
        self._unit = "char" if is_split else ""

    def _with_units(self, text: str) -> str:
        return spaced(text) if self._unit else text

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """Sacrebleu's statistics, whole numbers but for TER."""
        del sources
        self.fit(references[0])
        if self._unit:
            hypotheses = [*map(self._with_units, hypotheses)]
            references = [[text and self._with_units(text) for text in stream] for stream in references]
        parts = _parts([hypotheses, *references])
        return np.concatenate(
            [self.counted(hypotheses[part], [item[part] for item in references]) for part in parts]
        )

    @property
    def signature(self) -> str:
        """Sacrebleu's own, with the unit of words where that is not sacrebleu's."""
        self._metric.num_refs = -1 if self.num_references == "var" else int(self.num_references)
        signature: str = self._metric.get_signature().format()
        return f"{signature}|unit:{self._unit}" if self._unit else signature

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
        self.fit(references)
        hypothesis, *references = map(self._with_units, (hypothesis, *references))
        return float(self._of_sentences.sentence_score(hypothesis, list(references)).score)

    @property
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
