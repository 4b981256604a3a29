"""`s2s sweep`: search for settings, by trials that are trained, compared, and gone on with where they are good."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from s2scli import document
from s2scli.checkpoint_file import find_checkpoint
from s2scli.components import SAMPLERS, TRIAL_SCHEDULERS
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.sweep import SweepConfig
from s2scli.configs.train import TrainConfig
from s2scli.console import notice
from s2scli.data.dataset import Dataset
from s2scli.errors import Interrupted, S2SError, UsageError
from s2scli.inference.signals import InterruptSignals
from s2scli.needs import note_needs
from s2scli.record import to_json_text
from s2scli.streams import is_open_terminal
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
from s2scli.sweeping.trials import LENGTH, TO_ITS_END, Goal, Trial, read_trials
from s2scli.toml import write_toml

# Combinations of settings of which one at least must be such as training takes.
_TRIES = 20
# What the best settings are without: where the trial was.
_OF_A_TRIAL = {
    "preprocess": ("destdir",),
    "train": ("save_dir",),
    "generate": ("data", "path", "gen_subset", "format", "output"),
}
# Columns of what is no terminal.
_WIDEST = 100_000
# What says when a search without training ends.
_LIMITS = "--max-trials or --max-minutes"


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The trials of a search, what they were compared by, and the config of the best: of train, or of generate."""

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
    bench = Bench(folder=config.save_dir, space=space, goal=goal, data=config.data, path=config.path)
    if config.path is None:
        max_update = _checked_length(bench, config)
    else:
        max_update = TO_ITS_END
        _check_decoding(bench, config)
    scheduler = _scheduler(config, goal, max_update)
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
    paths = []
    for command, settings in bench.settings(best).items():
        paths.append(config.save_dir / ("config.toml" if command == "train" else f"{command}.toml"))
        kept = {key: value for key, value in settings.items() if key not in _OF_A_TRIAL[command]}
        write_toml(paths[-1], kept)
    return SweepResult(trials=tuple(trials), goal=goal, config=paths[0])


def show(config: SweepConfig, result: SweepResult) -> None:
    """Print the trials to standard output, the best first, and say where its settings are."""
    # A file has room for all that there is to say of a trial.
    cuts = is_open_terminal(sys.stdout)
    console = StyledConsole() if cuts else StyledConsole(width=_WIDEST)
    console.print(trials_table(result.trials, result.goal, cuts=cuts))
    use = (
        f"s2s train --config {result.config} --save-dir DIR trains with them"
        if config.path is None
        else f"s2s generate --config {result.config} --path {config.path} decodes with them"
    )
    notice(f"{result.config}: the settings of the best trial; {use}")


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
    if config.scheduler != "none" and any(dimension.key == LENGTH for dimension in bench.space.dimensions):
        raise UsageError(
            f"{bench.space.spelled(LENGTH)}: is what --scheduler {config.scheduler} decides; give one value"
        )
    has_text = bench.space.has("preprocess")
    found, prepared = _first_that_can_be(
        bench,
        config,
        lambda trial: (bench.train_config(trial), bench.preprocess_config(trial) if has_text else None),
    )
    if found.disable_validation:
        raise UsageError("disable_validation = true: a search compares trials by what validations find")
    _check_can_validate(config.space, found, prepared)
    if bench.space.has("generate"):
        check_is_scored(config.metric)
    else:
        check_is_logged(config.metric, found)
    return found.max_update


def _check_can_validate(space: Path, train: TrainConfig, prepared: PreprocessConfig | None) -> None:
    """UsageError where trials would have no validation set to be compared on."""
    split = train.valid_subset[0]
    if prepared is not None:
        if not (
            prepared.validpref or prepared.valid_source or prepared.valid_file or prepared.valid_fraction
        ):
            raise UsageError(
                f"{space}: [preprocess] makes no validation set, on which trials are compared; set validpref or "
                "valid_fraction"
            )
    elif split not in (splits := Dataset.open(train.data).splits):
        raise UsageError(
            f"{train.data}: has no split {split}, on which trials are compared, only {', '.join(splits)}; set "
            "valid_subset under [train], or preprocess with --validpref or --valid-fraction"
        )


Settings = TypeVar("Settings")


def _first_that_can_be(
    bench: Bench, config: SweepConfig, settings_of: Callable[[Trial], Settings]
) -> Settings:
    """The settings of the first trial of which all commands can be; UsageError where none of many can."""
    draws = RandomSampler(space=bench.space, goal=bench.goal, seed=config.seed, startup_trials=0)
    problem: UsageError | None = None
    for number in range(1, _TRIES + 1):
        try:
            trial = Trial(number=number, values=draws.draw(number, ()), rungs=(0,))
            bench.settings(trial)
            return settings_of(trial)
        except UsageError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _check_decoding(bench: Bench, config: SweepConfig) -> None:
    """UsageError for what a search over how a model decodes cannot be; CheckpointError where there is no such model."""
    space, trained = bench.space, f"trials of --path {config.path} are not trained"
    for command in ("preprocess", "train"):
        if space.has(command):
            raise UsageError(f"{space.path}: [{command}]: {trained}; leave it out, or --path")
    if not space.has("generate"):
        raise UsageError(
            f"{space.path}: has no [generate], of which --path {config.path} searches the settings"
        )
    if config.data is None:
        raise UsageError(f"--path {config.path}: needs DATA, whose validation set the trials answer")
    if config.train_config is not None:
        raise UsageError(f"--train-config {config.train_config}: {trained}; leave it out")
    if config.scheduler != "none":
        raise UsageError(f"--scheduler {config.scheduler}: {trained}, but go to their end; leave it out")
    if config.max_total_updates:
        raise UsageError(f"--max-total-updates: {trained}; give {_LIMITS}")
    check_is_scored(config.metric)
    assert config.path is not None
    find_checkpoint(config.path)
    Dataset.open(config.data)
    _first_that_can_be(bench, config, bench.generate_config)


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
    # Searches that train have no such fact, and those of old lack it.
    return found if config.path is None else {**found, "path": str(config.path)}


def _best(trials: list[Trial], goal: Goal) -> Trial:
    ranked = goal.ranked(trials)
    if ranked:
        return ranked[0]
    failed = next((trial for trial in trials if trial.failed), None)
    if failed is not None:
        raise S2SError(f"no trial has a result; trial {failed.number}: {failed.failed}")
    if any(trial.results for trial in trials):
        raise S2SError(f"no trial has a {goal.metric} that is a number: all of them have diverged")
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
