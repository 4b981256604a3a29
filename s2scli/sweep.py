"""`s2s sweep`: search for settings, by trials that are trained, compared, and gone on with where they are good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from s2scli import document
from s2scli.components import SAMPLERS, TRIAL_SCHEDULERS
from s2scli.configs.sweep import SweepConfig
from s2scli.console import notice
from s2scli.data.dataset import Dataset
from s2scli.errors import Interrupted, S2SError, UsageError
from s2scli.inference.signals import InterruptSignals
from s2scli.needs import note_needs
from s2scli.record import to_json_text
from s2scli.styled import StyledConsole
from s2scli.sweeping.figures import check_is_logged, check_is_scored, goal_of
from s2scli.sweeping.journal import read_journal
from s2scli.sweeping.progress_table import Following, trials_table
from s2scli.sweeping.running import Bench
from s2scli.sweeping.samplers import RandomSampler, Sampler
from s2scli.sweeping.schedulers import TrialScheduler
from s2scli.sweeping.search import SettingsSearch
from s2scli.sweeping.space import Space
from s2scli.sweeping.space_file import read_space
from s2scli.sweeping.trials import Goal, Trial, read_trials
from s2scli.toml import write_toml

# Combinations of settings of which one at least must be such as training takes.
_TRIES = 20
# What the best settings are without: where the trial was.
_OF_A_TRIAL = {
    "preprocess": ("destdir",),
    "train": ("save_dir",),
    "generate": ("data", "path", "gen_subset", "format", "output"),
}


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The trials of a search, what they were compared by, and the config of the best."""

    trials: tuple[Trial, ...]
    goal: Goal
    config: Path


def sweep(config: SweepConfig) -> SweepResult:
    """Search as the config says, in its folder, until its budget is spent; write the best settings as config.toml.

    A repeated command goes on where it was, and other processes may do the same search in the same folder meanwhile.
    Raises UsageError for a space that cannot be, and for a folder of another search.
    """
    note_needs(config)
    space, goal = read_space(config.space, config.train_config), goal_of(config)
    if config.data is not None and space.has("preprocess"):
        raise UsageError(
            f"DATA {config.data}: the trials prepare datasets of their own, as [preprocess] of {config.space} says; "
            "leave one out"
        )
    sampler: Sampler = SAMPLERS[config.sampler](
        space=space, goal=goal, seed=config.seed, startup_trials=config.startup_trials
    )
    following = Following(goal)
    bench = Bench(folder=config.save_dir, space=space, goal=goal, data=config.data)
    scheduler = _scheduler(config, goal, _checked_length(bench, config))
    if not (config.is_limited or scheduler.num_trials or sampler.num_trials):
        raise UsageError(
            "nothing says when the search ends; give --max-trials, --max-total-updates or --max-minutes"
        )
    bench = replace(bench, meanwhile=lambda: following.told(read_trials(read_journal(config.save_dir))))
    search = SettingsSearch(
        config=config,
        facts=_facts(config, space),
        sampler=sampler,
        scheduler=scheduler,
        bench=bench,
        told=following.told,
    )
    with _going_on(config), InterruptSignals().caught() as signals, following.live():
        trials = search.run(signals)
    best = _best(trials, goal)
    path = config.save_dir / "config.toml"
    for command, settings in bench.settings(best).items():
        name = "config.toml" if command == "train" else f"{command}.toml"
        kept = {key: value for key, value in settings.items() if key not in _OF_A_TRIAL[command]}
        write_toml(config.save_dir / name, kept)
    return SweepResult(trials=tuple(trials), goal=goal, config=path)


def show(config: SweepConfig, result: SweepResult) -> None:
    """Print the trials to standard output, the best first, and say where its settings are."""
    del config
    StyledConsole().print(trials_table(result.trials, result.goal))
    notice(
        f"{result.config}: the settings of the best trial; s2s train --config {result.config} --save-dir DIR "
        "trains with them"
    )


def _scheduler(config: SweepConfig, goal: Goal, max_update: int) -> TrialScheduler:
    made: TrialScheduler = TRIAL_SCHEDULERS[config.scheduler](
        goal=goal, max_update=max_update, min_update=config.min_update, factor=config.reduction_factor
    )
    return made


def _checked_length(bench: Bench, config: SweepConfig) -> int:
    """The max_update of trials; UsageError where no combination of settings can be trained, or does not say the metric.

    The settings that decide it are those of the first trial that can be: max_update is not searched where trials are
    compared on their way.
    """
    draws = RandomSampler(space=bench.space, goal=bench.goal, seed=config.seed, startup_trials=0)
    if config.scheduler != "none" and any(
        dimension.key == "train.max_update" for dimension in bench.space.dimensions
    ):
        raise UsageError(
            f"{bench.space.spelled('train.max_update')}: is what --scheduler {config.scheduler} decides; give one value"
        )
    problem: UsageError | None = None
    for number in range(1, _TRIES + 1):
        try:
            trial = Trial(number=number, values=draws.draw(number, ()), rungs=(0,))
            bench.settings(trial)
            found = bench.train_config(trial)
        except UsageError as error:
            problem = problem or error
            continue
        if found.disable_validation:
            raise UsageError("disable_validation = true: a search compares trials by what validations find")
        if not bench.space.has("preprocess"):
            Dataset.open(found.data)
        if bench.space.has("generate"):
            check_is_scored(config.metric)
        else:
            check_is_logged(config.metric, found)
        return found.max_update
    assert problem is not None
    raise problem


def _facts(config: SweepConfig, space: Space) -> dict[str, object]:
    """What decides which trials there are and how far they go, as JSON has it; not what says when the search ends."""
    names = (
        "metric",
        "goal",
        "sampler",
        "scheduler",
        "reduction_factor",
        "min_update",
        "seed",
        "startup_trials",
    )
    facts: dict[str, object] = {name: getattr(config, name) for name in names}
    found: dict[str, object] = document.parse(
        to_json_text({**space.as_facts(), **facts, "data": str(config.data or "")})
    )
    return found


def _best(trials: list[Trial], goal: Goal) -> Trial:
    ranked = goal.ranked(trials)
    if ranked:
        return ranked[0]
    failed = next((trial for trial in trials if trial.failed), None)
    if failed is not None:
        raise S2SError(f"no trial has a result; trial {failed.number}: {failed.failed}")
    raise UsageError(
        "the budget leaves room for no trial; raise --max-total-updates, --max-minutes or --max-trials"
    )


@contextmanager
def _going_on(config: SweepConfig) -> Iterator[None]:
    """Say, where a signal ends the search, how it goes on."""
    try:
        yield
    except Interrupted as stop:
        raise Interrupted(
            f"interrupted; {config.save_dir} has what was done, repeat the command to go on", stop.number
        ) from None
