"""When a run ends: the limits that its settings set, whichever is reached first."""

from __future__ import annotations

import time

from s2scli.configs.train import TrainConfig
from s2scli.console import counted
from s2scli.training.observers import Observer, ValidationReport
from s2scli.training.run import Run

_SECONDS_AN_HOUR = 3600


def reached_limit(run: Run) -> str:
    """The limit that the run has reached after its last update, as its flag and value; nothing where there is none.

    Every process must ask.
    """
    config, position = run.config, run.position
    if config.max_update and position.update >= config.max_update:
        return f"--max-update {config.max_update}"
    # Clocks differ between processes, which must end together.
    if config.stop_time_hours and run.processes.any(
        position.seconds >= config.stop_time_hours * _SECONDS_AN_HOUR
    ):
        return f"--stop-time-hours {config.stop_time_hours:g}"
    warmed_up = position.update - position.schedule_start >= config.lr_scheduler.warmup_updates
    if config.stop_min_lr and warmed_up and run.rate(ahead=1) <= config.stop_min_lr:
        return f"--stop-min-lr {config.stop_min_lr:g}"
    return ""


class Patience(Observer):
    """Asks a run to stop after so many validations without a better figure (--patience), 0: never."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def validated(self, report: ValidationReport) -> str:
        """Ask for a stop where the best validation was too long ago."""
        return self.verdict(report.since_best)

    def verdict(self, since_best: int) -> str:
        """Why a run is to stop that many validations after its best one, or nothing."""
        return f"--patience {self._limit}" if self._limit and since_best >= self._limit else ""


def still_finished(run: Run, *, ended: bool) -> str:
    """Why a resumed run has nothing left to do under its present limits, or nothing.

    ended: whether it had come to an end; otherwise the validation at its end may be to be made yet.
    """
    config, position = run.config, run.position
    within_epoch = position.part or position.batch
    limit = reached_limit(run)
    if limit and (ended or not within_epoch):
        return limit
    if config.max_epoch and position.epoch > config.max_epoch:
        return f"--max-epoch {config.max_epoch}"
    return Patience(config.patience).verdict(position.stale)


def begin_to_count(run: Run) -> None:
    """What time passes from here on is the run's."""
    run.counted_until = time.perf_counter()


def count_time(run: Run) -> None:
    """Add the time that has passed since the last call, or the beginning, to what the run has taken."""
    now = time.perf_counter()
    run.position.seconds += now - run.counted_until
    run.counted_until = now


def ends(config: TrainConfig, *, validates: bool) -> str:
    """What ends a run under the config, whichever comes first, in words; nothing where it goes on until stopped."""
    found = []
    if config.max_epoch:
        found.append(counted(config.max_epoch, "epoch"))
    if config.max_update:
        found.append(counted(config.max_update, "update"))
    if config.stop_time_hours:
        found.append(f"{config.stop_time_hours:g} hours")
    if config.patience and validates:
        found.append(
            f"{counted(config.patience, 'validation')} without a better {config.best_checkpoint_metric}"
        )
    if config.stop_min_lr:
        found.append(f"a learning rate of {config.stop_min_lr:g}")
    return " or ".join(found)
