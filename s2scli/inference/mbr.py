"""Minimum-Bayes-risk decoding: the output that is most like all others that the model finds probable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from s2scli.metrics.base import Metric


def expected_utilities(candidates: Sequence[str], metric: Metric) -> list[float]:
    """How like the candidates each of them is, on average: the mean of metric(candidate, other) over all others.

    Kumar and Byrne 2004; with samples from the model as candidates it is Eikema and Aziz 2020, equation 4, where each
    is as much evidence as any, itself too. In percent, as the metric.
    """
    evidence = Counter(candidates)
    utility = {
        text: sum(count * metric.sentence(text, [other]) for other, count in evidence.items())
        / len(candidates)
        for text in evidence
    }
    return [utility[text] for text in candidates]
