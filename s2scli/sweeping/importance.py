"""How much of the differences between trials each setting explains by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from statistics import fmean
from typing import Any

from s2scli.sweeping.trials import Goal, Trial

# A number with more values than this is in one of as many equal parts of them.
_MOST_GROUPS = 4


def importances(trials: Sequence[Trial], goal: Goal) -> dict[str, float]:
    """Setting → the share of the variance of the trials' ranks that it explains, from 0 to 1, largest first.

    Ranks are those of the figure at the first rung, which all trials of a bracket have reached. The share is
    ε² = 1 − (W / (n − k)) / (T / (n − 1)) (Kelley 1935), which chance alone leaves at 0 on average, unlike η²: W the
    sum of squares within the k groups of trials that have one value of the setting, or of numbers one quarter of all
    values, T that of all n trials that have it. What differs together with another setting is not told apart.
    """
    ranks = _ranks(trials, goal)
    keys = dict.fromkeys(key for trial in trials for key in trial.values)
    found = {key: _share(trials, ranks, key) for key in keys}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _ranks(trials: Sequence[Trial], goal: Goal) -> dict[int, float]:
    """Trial number → rank among those of its bracket, from 0 to 1; of equals the mean of their ranks."""
    ranks: dict[int, float] = {}
    for _, together in groupby(trials, key=lambda trial: trial.bracket):
        known = {trial.number: goal.badness(trial.results[0].figure) for trial in together if trial.results}
        for number, badness in known.items():
            lower = sum(other < badness for other in known.values())
            equal = sum(other == badness for other in known.values())
            ranks[number] = (lower + (equal - 1) / 2) / max(1, len(known) - 1)
    return ranks


def _share(trials: Sequence[Trial], ranks: Mapping[int, float], key: str) -> float:
    known = [
        (trial.values[key], ranks[trial.number])
        for trial in trials
        if key in trial.values and trial.number in ranks
    ]
    groups = _groups(known)
    total = _squares([rank for _, rank in known])
    if len(groups) < 2 or len(known) <= len(groups) or not total:
        return 0.0
    within = sum(map(_squares, groups)) / (len(known) - len(groups))
    return max(0.0, 1 - within / (total / (len(known) - 1)))


def _squares(values: Sequence[float]) -> float:
    """The sum of squares around the mean."""
    mean = fmean(values)
    return sum((value - mean) ** 2 for value in values)


def _groups(known: Sequence[tuple[Any, float]]) -> list[list[float]]:
    """Ranks by value, or by the quarter in which their value is among all that there are."""
    values = {value for value, _ in known}
    if len(values) <= _MOST_GROUPS or not all(isinstance(value, int | float) for value in values):
        return [[rank for value, rank in known if value == wanted] for wanted in values]
    ordered = sorted(known)
    borders = [at * len(ordered) // _MOST_GROUPS for at in range(_MOST_GROUPS + 1)]
    return [[rank for _, rank in ordered[left:right]] for left, right in pairwise(borders)]
