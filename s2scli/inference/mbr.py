"""Minimum-Bayes-risk decoding: the output that is most like all others that the model finds probable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from s2scli.configs.search import SearchConfig

if TYPE_CHECKING:
    from s2scli.metrics.base import Metric


def mbr_metric(config: SearchConfig) -> Metric | None:
    """The metric of --mbr, None without it; UsageError for one that does not compare outputs with references alone."""
    if config.mbr == "none":
        return None
    # numpy and sacrebleu take a while to load.
    from s2scli.metrics.base import utility_metric

    return utility_metric(config.mbr, "--mbr")


def expected_utilities(candidates: Sequence[str], metric: Metric) -> list[float]:
    """How like the candidates each of them is, on average: the mean of utility(candidate, other) over all.

    Kumar and Byrne 2004; with samples from the model as candidates it is Eikema and Aziz 2020, equation 4, where each
    is as much evidence as any, itself too. Utilities are of 100, as `Metric.utility`.
    """
    evidence = Counter(candidates)
    utility = {
        text: sum(count * metric.utility(text, [other]) for other, count in evidence.items())
        / len(candidates)
        for text in evidence
    }
    return [utility[text] for text in candidates]
