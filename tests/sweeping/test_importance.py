from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
from sweeps import LOSS

from s2scli.sweeping.importance import importances
from s2scli.sweeping.trials import Result, Trial


def trials_of(values: list[dict[str, object]], figures: list[float]) -> list[Trial]:
    return [
        Trial(
            number=number,
            values=own,
            rungs=(3,),
            results=(Result(rung=3, updates=3, figure=figure, seconds=1.0),),
        )
        for number, (own, figure) in enumerate(zip(values, figures, strict=True), start=1)
    ]


def test_a_setting_that_decides_all_explains_all_and_another_nothing() -> None:
    values: list[dict[str, object]] = [{"a": a, "b": b} for a, b in product(("x", "y"), (1, 2, 3))]
    found = importances(trials_of(values, [1.0 if own["a"] == "x" else 2.0 for own in values]), LOSS)
    assert found == {"a": 1.0, "b": 0.0}


def test_the_share_is_that_of_the_f_statistic() -> None:
    """ε² = (F − 1)(k − 1) / (F(k − 1) + n − k), F being that of an analysis of variance of the ranks."""
    draw = random.Random(3)
    values: list[dict[str, object]] = [{"a": draw.choice("xyz")} for _ in range(40)]
    figures = [draw.random() + (own["a"] == "x") for own in values]
    ranks = np.argsort(np.argsort(figures)) + 1.0
    groups = [ranks[[own["a"] == value for own in values]] for value in "xyz"]
    between = sum(len(group) * (group.mean() - ranks.mean()) ** 2 for group in groups) / (3 - 1)
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (40 - 3)
    f = between / within
    expected = (f - 1) * 2 / (f * 2 + 40 - 3)
    assert importances(trials_of(values, figures), LOSS)["a"] == pytest.approx(expected)


def test_numbers_are_in_four_parts_and_less_of_a_figure_that_is_better_the_other_way_counts_alike() -> None:
    draw = random.Random(5)
    values: list[dict[str, object]] = [{"lr": draw.random(), "other": draw.random()} for _ in range(80)]
    found = importances(trials_of(values, [float(str(own["lr"])) ** 3 for own in values]), LOSS)
    assert found["lr"] > 0.9
    assert found["other"] < 0.15
    assert [*found] == ["lr", "other"]
