"""What a metric is: a row of statistics a segment, and the score of a weighted sum of rows.

Because the score of any sample of the segments comes from their rows, a significance test weighs rows anew and
never compares text twice (the idea is sacrebleu's: Post 2018, "A Call for Clarity in Reporting BLEU Scores").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from s2scli import __version__
from s2scli.components import METRICS
from s2scli.errors import UsageError

Rows = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
References = Sequence[Sequence[str | None]]
"""Sequences parallel to the hypotheses; None where a segment has no such reference."""


@dataclass(frozen=True, kw_only=True)
class MetricOptions:
    """What the metrics can be told; each takes what concerns it.

    tokenize: BLEU's tokenizer, by sacrebleu's name. For all other metrics over words those of Chinese and Japanese
    make each character of a script without spaces a word. "auto" goes by what the references look like: of such a
    script, zh or char, otherwise 13a.
    lowercase: case is ignored, as TER, ROUGE, exact match and token F1 always do. stem: ROUGE cuts English endings.
    ignore_labels: labels whose spans do not count.
    """

    tokenize: str = "auto"
    lowercase: bool = False
    stem: bool = False
    ignore_labels: tuple[str, ...] = ()


DEFAULTS = MetricOptions()


@dataclass(frozen=True, kw_only=True)
class Score:
    """A corpus score.

    value: in percent where it is a share or a rate. signature: what it takes to reproduce it. details: its parts.
    """

    name: str
    value: float
    signature: str
    higher_is_better: bool
    details: Mapping[str, Any] = field(default_factory=dict)


def utility_metric(name: str, flag: str) -> Metric:
    """The metric of a name that tells good outputs from bad ones; UsageError, with the flag, for one that reads more
    than outputs and references, or no references at all.
    """
    metric: Metric = METRICS[name]()
    if metric.needs != ("references",):
        reads = " and ".join(("outputs", *metric.needs))
        raise UsageError(
            f"{flag} {name}: reads {reads}, and one is wanted that compares outputs with references alone; "
            "bleu, chrf, rougel and wer are such"
        )
    return metric


def of_extra(name: str, module: str) -> Any:
    """A module that comes with the extra `metrics`, for the metric of a name; UsageError where it is not installed."""
    try:
        # The package first: a module of it that was imported before is found even where the package is hidden since.
        import_module(module.partition(".")[0])
        return import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{name} needs the extra metrics: pip install 's2scli[metrics]' ({error.name} is not installed)"
        ) from None


class Metric(ABC):
    """A metric over segments.

    needs: what it compares the hypotheses with. is_additive: whether segments drawn twice count twice; where they do
    not, as among distinct n-grams, a bootstrap would mislead. is_apart: whether a segment's row has nothing to do with
    the other outputs; where it has, segments cannot change places between systems, and no test is right.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("references",)
    is_additive: ClassVar[bool] = True
    is_apart: ClassVar[bool] = True

    def __init__(self, options: MetricOptions = DEFAULTS) -> None:
        self.options = options
        self.num_references = ""

    def statistics(
        self, hypotheses: Sequence[str], references: References = (), sources: Sequence[str] = ()
    ) -> Rows:
        """Compute a row of statistics a segment: [segments, statistics].

        Raises ValueError where lengths differ, or what the metric needs is not there.
        """
        lengths = {len(hypotheses), *map(len, references), *([len(sources)] if sources else [])}
        is_lacking = ("references" in self.needs and not references) or (
            "sources" in self.needs and not sources
        )
        if is_lacking or len(lengths) > 1 or 0 in lengths:
            raise ValueError(
                f"{self.name} needs {' and '.join(('hypotheses', *self.needs))} of one length above 0, not "
                f"{sorted(lengths)}"
            )
        if references:
            numbers = {sum(item is not None for item in line) for line in zip(*references, strict=True)}
            self.num_references = str(numbers.pop()) if len(numbers) == 1 else "var"
        return self.rows(hypotheses, references, sources)

    @abstractmethod
    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """The statistics of segments whose number has been checked."""

    @abstractmethod
    def values(self, rows: Rows, weights: Floats) -> Floats:
        """The scores of samples in which segments have weights: [samples, segments] → [samples]."""

    def swapped(self, first: Rows, second: Rows) -> Callable[[Floats], Floats]:
        """How much the second of two systems differs from the first where segments have changed places between them.

        The function takes 1 where a segment has, otherwise 0: [samples, segments] → [samples].
        """
        both = np.concatenate([first, second])

        def differences(swaps: Floats) -> Floats:
            before, after = np.hstack([1 - swaps, swaps]), np.hstack([swaps, 1 - swaps])
            return self.values(both, after) - self.values(both, before)

        return differences

    @abstractmethod
    def segments(self, rows: Rows) -> Floats:
        """The score of each segment by itself: [segments]."""

    def details(self, rows: Rows) -> dict[str, Any]:
        """The parts of the score of some segments, as JSON values."""
        del rows
        return {}

    @property
    def case(self) -> str:
        """How case is treated, for the signature."""
        return "lc" if self.options.lowercase else "mixed"

    def terms(self) -> dict[str, str]:
        """What the score depends on, for the signature."""
        return {"case": self.case}

    @property
    def version(self) -> str:
        """What computes it, for the signature."""
        return f"s2s-{__version__}"

    @property
    def signature(self) -> str:
        """What it takes to reproduce a score of the latest statistics."""
        terms = {"nrefs": self.num_references} if "references" in self.needs else {}
        terms |= self.terms() | {"version": self.version}
        return "|".join(f"{name}:{value}" for name, value in terms.items())

    def aggregate(self, rows: Rows) -> Score:
        """Score the segments whose statistics these are, all of a corpus or a sample; the signature is the latest."""
        return Score(
            name=self.name,
            value=float(self.values(rows, np.ones((1, len(rows))))[0]),
            signature=self.signature,
            higher_is_better=self.higher_is_better,
            details=self.details(rows),
        )

    def sentence(self, hypothesis: str, references: Sequence[str]) -> float:
        """The score of one segment by itself."""
        rows = self.statistics([hypothesis], [[reference] for reference in references])
        return float(self.segments(rows)[0])

    def utility(self, hypothesis: str, references: Sequence[str]) -> float:
        """How good an output is, of 100 at best: its score, or what a rate of errors leaves of 100."""
        value = self.sentence(hypothesis, references)
        return value if self.higher_is_better else 100.0 - value

    def score(
        self, hypotheses: Sequence[str], references: References = (), sources: Sequence[str] = ()
    ) -> Score:
        """Score a corpus; the arguments as for `statistics`."""
        return self.aggregate(self.statistics(hypotheses, references, sources))


class SumMetric(Metric):
    """A metric whose score is a function of summed rows."""

    @abstractmethod
    def of_totals(self, totals: Floats) -> Floats:
        """The scores of sums of rows: [samples, statistics] → [samples]."""

    def values(self, rows: Rows, weights: Floats) -> Floats:
        """The scores of weighted sums."""
        return self.of_totals(weights @ rows)

    def swapped(self, first: Rows, second: Rows) -> Callable[[Floats], Floats]:
        """The same from one sum: what the first system gains is what the second loses."""
        before, after, gain = first.sum(axis=0), second.sum(axis=0), second - first

        def differences(swaps: Floats) -> Floats:
            gained = swaps @ gain
            return self.of_totals(after - gained) - self.of_totals(before + gained)

        return differences

    def segments(self, rows: Rows) -> Floats:
        """The score of each row."""
        return self.of_totals(rows.astype(np.float64))


class RatioMetric(SumMetric):
    """scale · Σ first statistic / Σ second; where the second is 0 it counts as 1."""

    scale: ClassVar[float] = 100.0

    def of_totals(self, totals: Floats) -> Floats:
        """The ratios."""
        below = totals[:, 1]
        return self.scale * totals[:, 0] / np.where(below == 0, 1.0, below)


def present(references: References) -> list[list[str]]:
    """The references of each segment, without those that are missing."""
    return [[item for item in line if item is not None] for line in zip(*references, strict=True)]
