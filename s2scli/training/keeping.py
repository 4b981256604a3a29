"""The checkpoints that a run keeps beside its best and its last one, each without what resuming needs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from s2scli.checkpoint_file import (
    best_checkpoint,
    best_checkpoints,
    epoch_checkpoint,
    epoch_checkpoints,
    update_checkpoint,
    update_checkpoints,
)
from s2scli.training.run import Run
from s2scli.training.validation import higher_is_better


def keep_epoch(run: Run, epoch: int, finished: str) -> None:
    """Keep the weights at an epoch's end, and those of the epochs before it, --keep-last-epochs in all.

    finished: why the run ends there, if it does.
    """
    number = run.config.keep_last_epochs
    if number:
        run.save(epoch_checkpoint(epoch), resumable=False, finished=finished)
        _remove(run, [*epoch_checkpoints(run.save_dir).values()][:-number])


def keep_update(run: Run) -> None:
    """Keep the weights after this update, and those of saves before it, --keep-interval-updates in all."""
    number, position = run.config.keep_interval_updates, run.position
    if number:
        run.save(update_checkpoint(position.epoch, position.update), resumable=False)
        before = [
            path for update, path in update_checkpoints(run.save_dir).items() if update <= position.update
        ]
        _remove(run, before[:-number])


def keep_best(run: Run, figure: float, finished: str) -> None:
    """Keep the weights that a validation gave a figure for if they are among the --keep-best-checkpoints best.

    Of equal figures the earlier one is the better. finished: why the run ends there, if it does.
    """
    number, metric = run.config.keep_best_checkpoints, run.config.best_checkpoint_metric
    if not number or not math.isfinite(figure):
        return
    name = best_checkpoint(metric, figure, run.position.update)
    found = best_checkpoints(run.save_dir, metric)
    found[run.save_dir / name] = figure
    sign = -1 if higher_is_better(metric) else 1
    ranked = sorted(found, key=lambda path: sign * found[path])
    # What the folder holds is for the first process to say: it alone changes that.
    if run.processes.any(run.processes.is_first and run.save_dir / name in ranked[:number]):
        run.save(name, resumable=False, finished=finished)
        _remove(run, ranked[number:])


def _remove(run: Run, paths: Iterable[Path]) -> None:
    if run.processes.is_first:
        for path in paths:
            path.unlink(missing_ok=True)
