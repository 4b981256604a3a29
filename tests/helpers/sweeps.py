"""Searches for tests: spaces, and trials whose figures are computed and not trained for."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from s2scli.configs.sweep import SweepConfig
from s2scli.inference.signals import InterruptSignals
from s2scli.schema import build
from s2scli.sweeping.dimensions import Choices, Range
from s2scli.sweeping.running import Bench
from s2scli.sweeping.samplers import RandomSampler, Sampler
from s2scli.sweeping.schedulers import Asha, TrialScheduler
from s2scli.sweeping.search import SettingsSearch
from s2scli.sweeping.space import Space
from s2scli.sweeping.trials import Goal, Result, Trial

LOSS = Goal(metric="loss", upward=False)
LR, DROPOUT = "train.optimizer.lr", "train.model.dropout"
SPACE = Space(
    path=Path("space.toml"),
    base={},
    fixed={"train.max_update": 27},
    dimensions=(
        Range(key=LR, when={}, low=1e-4, high=1.0, log=True),
        Choices(key=DROPOUT, when={}, values=(0.0, 0.1, 0.3)),
    ),
)


def computed_loss(trial: Trial, updates: int) -> float:
    """A loss that falls with the updates, the less the farther the rate is from 0.01."""
    return abs(math.log10(trial.values[LR]) + 2) + trial.values[DROPOUT] + 5 / updates


@dataclass(frozen=True, kw_only=True)
class ComputedBench(Bench):
    """Trials without training. Each leaves a file, and fails where another process has left the same one.

    pause: seconds that each takes. broken: the trials that fail.
    """

    pause: float = 0.0
    broken: tuple[int, ...] = ()

    def run(self, trial: Trial, claim: int) -> dict[str, Any]:
        assert claim >= 0
        home = self.home(trial)
        running = home / "running"
        os.close(os.open(running, os.O_CREAT | os.O_EXCL))
        try:
            time.sleep(self.pause)
            if trial.number in self.broken:
                from s2scli.sweeping.child import CommandFailed

                raise CommandFailed("s2s train: error: out of memory")
        finally:
            running.unlink()
        figure = computed_loss(trial, trial.rung)
        return {"updates": trial.rung, "figure": figure, "seconds": 60.0}


def make_search(
    folder: Path,
    *,
    scheduler: TrialScheduler | None = None,
    sampler: Sampler | None = None,
    pause: float = 0.0,
    broken: tuple[int, ...] = (),
    facts: Mapping[str, Any] | None = None,
    **settings: Any,
) -> SettingsSearch:
    """A search in a folder by ASHA with the rungs 1, 3, 9 and 27, of trials that are not trained."""
    config = build(SweepConfig, {"space": "space.toml", "save_dir": folder, "max_trials": 12, **settings})
    return SettingsSearch(
        config=config,
        facts=dict(facts or {"seed": config.seed}),
        sampler=sampler or RandomSampler(space=SPACE, goal=LOSS, seed=config.seed, startup_trials=1),
        scheduler=scheduler or Asha(goal=LOSS, max_update=27, min_update=1, factor=3),
        bench=ComputedBench(folder=folder, space=SPACE, goal=LOSS, data=None, pause=pause, broken=broken),
        told=len,
    )


def run_search(folder: Path, **settings: Any) -> list[Trial]:
    """The trials of such a search, when it is at its end."""
    return make_search(folder, **settings).run(InterruptSignals())


def search_in_process(folder: str, pause: float, **settings: Any) -> None:
    """Be a process that searches."""
    run_search(Path(folder), pause=pause, **settings)


def with_results(number: int, rungs: tuple[int, ...], *figures: float, **facts: Any) -> Trial:
    """A trial that has these figures at its first rungs."""
    results = tuple(
        Result(rung=rung, updates=rung, figure=figure, seconds=1.0)
        for rung, figure in zip(rungs, figures, strict=False)
    )
    trial = Trial(number=number, values={LR: 0.1, DROPOUT: 0.0}, rungs=rungs, results=results)
    return replace(trial, **{"parts": len(results), **facts})
