"""Learning-rate schedules against their closed formulas."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from s2scli.components import SCHEDULES
from s2scli.errors import UsageError
from s2scli.optim.schedules import Schedule, build_schedule
from s2scli.schema import build


def make(name: str, lr: float = 0.8, **settings: Any) -> Schedule:
    return build_schedule(build(SCHEDULES[name], settings).settled(5000), lr)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_warm_up_is_a_line(name: str) -> None:
    schedule = make(name, warmup_updates=10, warmup_init_lr=0.3)
    assert [schedule.rate(update) for update in (1, 5, 10)] == pytest.approx([0.35, 0.55, 0.8])
    assert make(name, warmup_updates=4).rate(1) == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["fixed", "reduce_on_plateau"])
def test_a_constant_rate(name: str) -> None:
    assert [make(name).rate(update) for update in (1, 2, 1000)] == [0.8, 0.8, 0.8]
    assert [make(name, warmup_updates=3).rate(update) for update in (3, 4, 1000)] == pytest.approx([0.8] * 3)


def test_inverse_square_root() -> None:
    schedule = make("inverse_sqrt", warmup_updates=100)
    for update in (100, 101, 150, 400, 10_000, 1_000_000):
        assert schedule.rate(update) == pytest.approx(0.8 * 10 / math.sqrt(update), rel=1e-12)
    with pytest.raises(UsageError, match="warmup_updates"):
        make("inverse_sqrt", warmup_updates=0)


def feed(schedule: Schedule, figures: list[float], *, upward: bool = False) -> list[float]:
    rates = []
    for figure in figures:
        schedule.validated(figure, higher_is_better=upward)
        rates.append(schedule.rate(1000))
    return rates


@pytest.mark.parametrize("upward", [False, True])
def test_a_plateau_shrinks_the_rate(upward: bool) -> None:
    sign = -1 if upward else 1
    schedule = make("reduce_on_plateau", lr_shrink=0.5, lr_patience=0)
    rates = feed(schedule, [sign * figure for figure in (5.0, 4.0, 4.0, 4.5, 3.0, 3.5)], upward=upward)
    assert rates == pytest.approx([0.8, 0.8, 0.4, 0.2, 0.2, 0.1])


def test_patience_counts_validations_in_a_row() -> None:
    schedule = make("reduce_on_plateau", lr_shrink=0.1, lr_patience=2)
    assert feed(schedule, [5, 6, 6, 4, 5, 5, 5, 5, 5, 5]) == pytest.approx(
        [0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.08, 0.08, 0.08, 0.008]
    )


@pytest.mark.parametrize(("figure", "improved"), [(98.9, True), (99.1, False)])
def test_the_threshold_is_relative(figure: float, improved: bool) -> None:
    schedule = make("reduce_on_plateau", lr_shrink=0.5, lr_threshold=0.01)
    assert feed(schedule, [100.0, figure])[-1] == (0.8 if improved else 0.4)
    higher = make("reduce_on_plateau", lr_shrink=0.5, lr_threshold=0.01)
    assert feed(higher, [100.0, 200 - figure], upward=True)[-1] == (0.8 if improved else 0.4)


def test_the_warm_up_leads_to_the_shrunken_rate() -> None:
    schedule = make("reduce_on_plateau", lr_shrink=0.5, warmup_updates=10)
    feed(schedule, [1.0, 2.0])
    assert schedule.rate(11) == pytest.approx(0.4)
    assert schedule.rate(5) == pytest.approx(0.2)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("seen", [0, 1, 3, 4])
def test_going_on_from_a_saved_state(name: str, seen: int) -> None:
    figures = [5.0, 4.0, 4.2, 4.1, 3.9, 4.0, 4.0, 4.0]
    settings = {"lr_patience": 1} if name == "reduce_on_plateau" else {}
    whole = make(name, warmup_updates=10, **settings)
    expected = feed(whole, figures)
    before = make(name, warmup_updates=10, **settings)
    feed(before, figures[:seen])
    after = make(name, warmup_updates=10, **settings)
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert feed(after, figures[seen:]) == expected[seen:]
    assert after.state_dict() == whole.state_dict()
    if name == "reduce_on_plateau":
        assert expected[-1] < expected[0]
