"""The tree-structured Parzen estimator (Bergstra et al. 2011), as Optuna has it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s2scli.errors import S2SError
from s2scli.sweeping.dimensions import Dimension, Range
from s2scli.sweeping.samplers import Sampler, Values
from s2scli.sweeping.trials import Trial


@dataclass(frozen=True, kw_only=True)
class TpeSampler(Sampler):
    """Draws where the better of the trials before have been, and the others not.

    It is told of all trials anew each time, so that nothing but the journal is kept: a trial that was paused counts by
    its figure at the rung that it has reached, one that runs as a bad one (a constant liar), one that failed not at
    all. Raises S2SError where optuna is not installed.
    """

    def __post_init__(self) -> None:
        try:
            import optuna  # noqa: F401
        except ImportError:
            raise S2SError(
                "--sampler tpe needs optuna, which is not installed: pip install 's2scli[sweep]'"
            ) from None

    def draw(self, number: int, trials: Sequence[Trial]) -> Values:
        """The settings of trial `number`, one after the other as their conditions say."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(
            # numpy takes seeds of 32 bits.
            seed=(self.seed * 1_000_003 + number) % 2**32,
            n_startup_trials=self.startup_trials,
            constant_liar=True,
        )
        study = optuna.create_study(sampler=sampler, direction="maximize" if self.goal.upward else "minimize")
        distributions = {dimension.key: _distribution(dimension) for dimension in self.space.dimensions}
        for trial in trials:
            study.add_trial(self._as_known(trial, distributions))
        asked, values = study.ask(), Values()
        for dimension in self.space.dimensions:
            if dimension.applies(values):
                values[dimension.key] = _suggested(asked, dimension)
        return values

    def _as_known(self, trial: Trial, distributions: Mapping[str, Any]) -> Any:
        """A trial as Optuna knows it: choices by their number."""
        import optuna

        states = optuna.trial.TrialState
        known = {dimension.key: dimension for dimension in self.space.dimensions}
        state, value, steps = states.RUNNING, None, {}
        if trial.failed:
            state = states.FAIL
        elif trial.results and math.isfinite(trial.figure):
            steps = {result.rung: result.figure for result in trial.results if math.isfinite(result.figure)}
            state, value = (states.COMPLETE, trial.figure) if trial.is_done else (states.PRUNED, None)
        params = {
            key: known[key].values.index(value) if known[key].values else value
            for key, value in trial.values.items()
        }
        return optuna.trial.create_trial(
            state=state,
            value=value,
            params=params,
            distributions={key: distributions[key] for key in params},
            intermediate_values=steps,
        )


def _suggested(asked: Any, dimension: Dimension) -> Any:
    """What a trial of Optuna draws of a setting."""
    if isinstance(dimension, Range):
        draw = asked.suggest_int if dimension.whole else asked.suggest_float
        return draw(dimension.key, **_interval(dimension))
    return dimension.values[asked.suggest_categorical(dimension.key, [*range(len(dimension.values))])]


def _distribution(dimension: Dimension) -> Any:
    """What that draws by: choices by their number, since they may be lists."""
    from optuna import distributions as known

    if isinstance(dimension, Range):
        kind = known.IntDistribution if dimension.whole else known.FloatDistribution
        return kind(**_interval(dimension))
    return known.CategoricalDistribution([*range(len(dimension.values))])


def _interval(dimension: Range) -> dict[str, Any]:
    """What Optuna calls the ends of a range and its step; it warns where the upper end is no step."""
    low, high, step = dimension.low, dimension.high, dimension.step or (1 if dimension.whole else None)
    if dimension.step:
        high = low + (dimension.number_of_steps(dimension.step) - 1) * dimension.step
    return {"low": low, "high": high, "log": dimension.log, "step": step}
