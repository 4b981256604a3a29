from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from s2scli.sweeping.dimensions import Choices, Range
from s2scli.sweeping.samplers import RandomSampler, Sampler
from s2scli.sweeping.space import Space
from s2scli.sweeping.trials import Goal, Result, Trial

optuna = pytest.importorskip("optuna")

LOSS = Goal(metric="loss", upward=False)
SPACE = Space(
    path=Path("space.toml"),
    base={},
    fixed={},
    dimensions=(
        Choices(key="train.optimizer.name", when={}, values=("adam", "sgd")),
        Range(key="train.optimizer.lr", when={}, low=1e-5, high=1.0, log=True),
        Range(key="train.optimizer.momentum", when={"train.optimizer.name": ("sgd",)}, low=0.0, high=1.0),
    ),
)


def bowl(values: dict[str, float]) -> float:
    """Least, 0, with adam at a rate of 0.001."""
    return abs(math.log10(values["train.optimizer.lr"]) + 3) + (values["train.optimizer.name"] == "sgd")  # type: ignore[comparison-overlap]


def best_of(sampler: Sampler, number: int) -> float:
    trials: list[Trial] = []
    for at in range(1, number + 1):
        values = sampler.draw(at, trials)
        assert values is not None
        assert ("train.optimizer.momentum" in values) == (values["train.optimizer.name"] == "sgd")
        result = Result(rung=0, updates=1, figure=bowl(values), seconds=1.0)
        trials.append(Trial(number=at, values=values, rungs=(0,), results=(result,)))
    return min(trial.figure for trial in trials)


def test_it_comes_nearer_to_the_least_value_than_drawing_at_random() -> None:
    from s2scli.sweeping.tpe import TpeSampler

    found = {
        cls: [best_of(cls(space=SPACE, goal=LOSS, seed=seed, startup_trials=5), 25) for seed in range(6)]
        for cls in (RandomSampler, TpeSampler)
    }
    assert sum(found[TpeSampler]) < sum(found[RandomSampler])


def test_any_seed_will_do() -> None:
    from s2scli.sweeping.tpe import TpeSampler

    draws = [
        TpeSampler(space=SPACE, goal=LOSS, seed=seed, startup_trials=2).draw(1, [])
        for seed in (1, 12345, 2**63)
    ]
    assert len({draw["train.optimizer.lr"] for draw in draws if draw}) == 3


def test_a_range_in_steps_need_not_end_with_one() -> None:
    from s2scli.sweeping.tpe import TpeSampler

    key = "train.model.dropout"
    space = replace(SPACE, dimensions=(Range(key=key, when={}, low=0.1, high=0.55, step=0.2),))
    sampler = TpeSampler(space=space, goal=LOSS, seed=1, startup_trials=2)
    trials: list[Trial] = []
    for number in range(1, 13):
        values = sampler.draw(number, trials)
        result = Result(rung=0, updates=1, figure=values[key], seconds=1.0)
        trials.append(Trial(number=number, values=values, rungs=(0,), results=(result,)))
    assert {round(trial.values[key], 9) for trial in trials} == {0.1, 0.3, 0.5}


def test_what_it_draws_follows_from_seed_number_and_trials_alone() -> None:
    from s2scli.sweeping.tpe import TpeSampler

    trials = [
        Trial(
            number=at,
            values={"train.optimizer.name": "adam", "train.optimizer.lr": 10.0**-at},
            rungs=(9, 27),
            results=() if at == 3 else (Result(rung=9, updates=9, figure=float(at), seconds=1.0),),
            failed="it diverged" if at == 4 else "",
        )
        for at in range(1, 6)
    ]
    draws = [TpeSampler(space=SPACE, goal=LOSS, seed=7, startup_trials=2).draw(6, trials) for _ in range(2)]
    assert draws[0] == draws[1]
    assert draws[0] != TpeSampler(space=SPACE, goal=LOSS, seed=8, startup_trials=2).draw(6, trials)
