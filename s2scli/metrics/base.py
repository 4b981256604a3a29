"""What a metric is: a row of statistics a segment, and a score of their sum.

Because a corpus score is a function of summed rows, a significance test draws rows anew and sums them, and
never compares text twice. The numbers and signatures are sacrebleu's own (Post 2018, "A Call for Clarity in
Reporting BLEU Scores").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.base import Metric as SacrebleuMetric
from sacrebleu.metrics.base import Score as SacrebleuScore
from sacrebleu.utils import sum_of_lists


@dataclass(frozen=True, kw_only=True)
class MetricOptions:
    """What the metrics can be told; each takes what concerns it.

    tokenize: BLEU's tokenizer, by sacrebleu's name; "auto" is 13a. lowercase: BLEU and chrF ignore case, as
    TER always does.
    """

    tokenize: str = "auto"
    lowercase: bool = False


DEFAULTS = MetricOptions()


@dataclass(frozen=True, kw_only=True)
class Score:
    """A corpus score.

    value: in percent, though TER may pass 100. signature: what it takes to reproduce it. details: its parts.
    """

    name: str
    value: float
    signature: str
    higher_is_better: bool
    details: Mapping[str, Any] = field(default_factory=dict)


class Metric(ABC):
    """A metric over sacrebleu's implementation; a subclass makes that and names the parts of a score."""

    higher_is_better: ClassVar[bool] = True

    def __init__(self, options: MetricOptions = DEFAULTS) -> None:
        self._options = options
        self._metric = self.make(options)

    @abstractmethod
    def make(self, options: MetricOptions) -> SacrebleuMetric:
        """Make sacrebleu's metric with these options."""

    @abstractmethod
    def details(self, score: Any) -> dict[str, Any]:
        """Take one of sacrebleu's scores into its parts, as JSON values."""

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> npt.NDArray[Any]:
        """Compute a row of statistics a segment: [segments, statistics], integers but for TER.

        references: sequences, each parallel to the hypotheses. Raises ValueError where lengths differ.
        """
        lengths = {len(hypotheses), *(len(reference) for reference in references)}
        if not references or len(lengths) > 1 or 0 in lengths:
            raise ValueError(f"hypotheses and references must have one length above 0, not {sorted(lengths)}")
        return np.asarray(self._metric._extract_corpus_statistics(hypotheses, references))

    def aggregate(self, rows: npt.NDArray[Any]) -> Score:
        """Score the segments whose statistics these are: all of a corpus, or a sample of them.

        The signature tells the number of references of the latest `statistics`.
        """
        # sacrebleu's own sum, in its order, so that the last digit is the same too.
        totals = sum_of_lists(rows.tolist())  # type: ignore[no-untyped-call]
        score: SacrebleuScore = self._metric._compute_score_from_stats(totals)
        return Score(
            name=score.name,
            value=float(score.score),
            signature=self._metric.get_signature().format(),
            higher_is_better=self.higher_is_better,
            details=self.details(score),
        )

    def sentence(self, hypothesis: str, references: Sequence[str]) -> float:
        """The score of one segment by itself, as sacrebleu has it."""
        return float(self._of_sentences.sentence_score(hypothesis, list(references)).score)

    @cached_property
    def _of_sentences(self) -> SacrebleuMetric:
        """What scores a segment by itself."""
        return self._metric

    def score(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """Score a corpus; `references` as for `statistics`."""
        return self.aggregate(self.statistics(hypotheses, references))
