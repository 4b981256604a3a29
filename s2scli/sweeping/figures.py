"""What trials are compared by: a validation figure of a run's log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2scli.components import METRICS
from s2scli.configs.score import ScoreConfig
from s2scli.configs.sweep import SweepConfig
from s2scli.configs.train import TrainConfig
from s2scli.errors import UsageError, did_you_mean
from s2scli.files import RUN_LOG
from s2scli.plotting.history import is_number, read_events
from s2scli.scoring.corpus import read_corpus
from s2scli.sweeping.trials import TO_ITS_END, Goal

# What every validation tells, and that less of it is better.
_ALWAYS = ("loss", "ppl")
_NO_FIGURES = ("event", "epoch", "update", "seconds")


def goal_of(config: SweepConfig) -> Goal:
    """What trials are compared by; UsageError where it is not known whether more of it is better."""
    name = config.metric.rpartition("/")[2]
    if config.goal != "auto":
        return Goal(metric=config.metric, upward=config.goal == "max")
    if name in _ALWAYS:
        return Goal(metric=config.metric, upward=False)
    if name not in METRICS:
        raise UsageError(
            f"--metric {config.metric}: is no metric whose better side is known"
            f"{did_you_mean(name, (*_ALWAYS, *METRICS))} or else say it by --goal min or max"
        )
    return Goal(metric=config.metric, upward=bool(METRICS[name].higher_is_better))


def check_is_logged(metric: str, config: TrainConfig) -> None:
    """UsageError for a score of translations, or a split, that a run with these settings does not validate by."""
    split, _, name = metric.rpartition("/")
    if split and split == config.valid_subset[0]:
        raise UsageError(
            f"--metric {metric}: {split} is the first split, whose figures have no prefix; give --metric {name}"
        )
    if split and split not in config.valid_subset[1:]:
        raise UsageError(
            f"--metric {metric}: no trial validates on {split} besides its first split; set valid_subset = "
            f'["{config.valid_subset[0]}", "{split}"] under [train]'
        )
    if name in METRICS and name not in config.metrics:
        logged = ", ".join((*_ALWAYS, *config.metrics))
        raise UsageError(
            f'--metric {metric}: is not logged, only {logged}; set eval_metrics = ["{name}"] under [train], or take '
            "one of those"
        )


def check_is_scored(metric: str) -> None:
    """UsageError for a figure that outputs, which a space's [generate] has found, have not."""
    if metric not in METRICS:
        raise UsageError(
            f"--metric {metric}: is no score of outputs, which trials with [generate] are compared by; known: "
            f"{', '.join(METRICS)}"
        )
    # One that needs an extra is known to lack it before anything is trained.
    METRICS[metric]()


def score_of_outputs(records: Path, metric: str) -> float:
    """A metric of outputs and references in JSON lines, as `s2s generate` writes them of a dataset."""
    scorer = METRICS[metric]()
    corpus = read_corpus(ScoreConfig(sys=(records,)), frozenset(scorer.needs))
    return float(scorer.score(corpus.systems[0], corpus.references, corpus.sources).value)


def validations(run: Path, rung: int) -> dict[int, dict[str, Any]]:
    """Update → what a run has found when it validated, up to a rung; TO_ITS_END: all of it."""
    events = read_events(run / RUN_LOG)["valid"]
    return {update: event for update, event in events.items() if update <= rung or rung == TO_ITS_END}


def best_figure(there: Mapping[int, Mapping[str, Any]], goal: Goal) -> float:
    """The best of the goal's figure that validations have found, NaN where all are that.

    Raises UsageError for a figure that they do not have.
    """
    known = {
        name for event in there.values() for name, value in event.items() if is_number(value)
    }.difference(_NO_FIGURES)
    if there and goal.metric not in known:
        raise UsageError(
            f"--metric {goal.metric}: is no figure of the log{did_you_mean(goal.metric, known)} and give another "
            "--save-dir"
        )
    figures = [float(event[goal.metric]) for event in there.values() if goal.metric in event]
    finite = [figure for figure in figures if math.isfinite(figure)]
    return min(finite, key=goal.badness, default=math.nan)
