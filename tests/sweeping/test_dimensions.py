from __future__ import annotations

import math
from collections import Counter

from s2scli.sweeping.dimensions import Choices, Range

QUANTILES = [at / 1000 for at in range(1000)]


def test_choices_and_whole_numbers_have_equal_shares() -> None:
    choices = Choices(key="k", when={}, values=("a", "b", "c", "d"))
    assert set(Counter(map(choices.at, QUANTILES)).values()) == {250}
    whole = Range(key="k", when={}, low=1, high=5, whole=True)
    assert Counter(map(whole.at, QUANTILES)).keys() == {1, 2, 3, 4, 5}
    assert max(abs(number - 200) for number in Counter(map(whole.at, QUANTILES)).values()) <= 1
    stepped = Range(key="k", when={}, low=0.1, high=0.5, step=0.2)
    assert Counter(map(stepped.at, QUANTILES)).keys() == {0.1, 0.3, 0.5}


def test_half_of_a_logarithmic_range_is_below_its_geometric_mean() -> None:
    lr = Range(key="k", when={}, low=1e-5, high=1e-1, log=True)
    assert math.isclose(lr.at(0.5), 1e-3, rel_tol=1e-5)
    assert math.isclose(lr.at(0.25), 1e-4, rel_tol=1e-5)
    assert all(1e-5 <= lr.at(quantile) <= 1e-1 for quantile in QUANTILES)


def test_a_grid_of_a_logarithmic_range_has_equal_ratios() -> None:
    assert Range(key="k", when={}, low=1, high=1000, log=True, whole=True, points=4).grid() == (
        1,
        10,
        100,
        1000,
    )
    assert Range(key="k", when={}, low=0.0, high=1.0).grid() == ()


def test_a_condition_holds_beside_the_values_that_it_names() -> None:
    dimension = Choices(key="k", when={"a": (1, 2), "b": ("x",)}, values=(1,))
    assert dimension.applies({"a": 2, "b": "x"})
    assert not dimension.applies({"a": 3, "b": "x"})
    assert not dimension.applies({"a": 1})
