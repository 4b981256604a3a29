"""The training loop: epochs of updates, with validations and checkpoints between them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.optim import Optimizer

from s2scli.checkpoint import BEST, LAST, Checkpoint, epoch_checkpoint, epoch_checkpoints, save_checkpoint
from s2scli.configs.train import TrainConfig
from s2scli.data.batch import Batch
from s2scli.data.batching import BatchPlan, Indices, load_batch
from s2scli.data.dataset import Dataset, Split
from s2scli.inference.engine import Engine
from s2scli.models.base import Model, unique_parameters
from s2scli.optim.schedules import Schedule
from s2scli.schema import as_dict
from s2scli.training.log import Log, Window
from s2scli.training.objectives.base import Objective
from s2scli.training.state import Position, optimizer_tensors
from s2scli.training.step import train_update
from s2scli.training.validation import higher_is_better, validate


@dataclass(kw_only=True)
class Run:
    """Everything a run is made of; `position` is where it stands."""

    config: TrainConfig
    dataset: Dataset
    model: Model
    objective: Objective
    optimizer: Optimizer
    schedule: Schedule
    device: torch.device
    train_split: Split
    train_plan: BatchPlan
    valid_split: Split | None
    valid_plan: BatchPlan | None
    engine: Engine
    log: Log
    position: Position = field(default_factory=Position)
    interrupted: bool = False

    @property
    def save_dir(self) -> Path:
        """Where checkpoints go."""
        return self.config.save_dir


def run_training(run: Run) -> None:
    """Train until the config says stop, or a signal does; the run is saved either way."""
    with catch_signals(run):
        run.model.train()
        while not run.position.finished and not run.interrupted:
            train_epoch(run)
    run.log.close()


def train_epoch(run: Run) -> None:
    """Go through what is left of the current epoch, then validate and save."""
    position, config = run.position, run.config
    batches = run.train_plan.epoch(position.epoch)
    updates_in_epoch = -(-len(batches) // config.update_freq)
    window = Window(started=time.perf_counter())
    for group in updates(batches[position.batch :], config.update_freq):
        started = time.perf_counter()
        make_update(run, group, window)
        position.batch += len(group)
        position.seconds += time.perf_counter() - started
        if position.update % config.log_interval == 0 or position.update == 1:
            report_progress(run, window, updates_in_epoch)
            window = Window(started=time.perf_counter())
        run.log.tick(position.update, total_updates(run, updates_in_epoch))
        interval = config.validate_interval_updates
        if position.update == config.max_update:
            position.finished = f"--max-update {config.max_update}"
        elif interval and position.update % interval == 0:
            validate_and_keep(run)
            window = Window(started=time.perf_counter())
        if position.finished or run.interrupted:
            break
    end_epoch(run, whole=position.batch == len(batches))


def end_epoch(run: Run, *, whole: bool) -> None:
    """Validate and save at the end of an epoch, or where the run ends within one."""
    position, config = run.position, run.config
    epoch = position.epoch
    if whole:
        validate_and_keep(run)
        position.epoch, position.batch = epoch + 1, 0
        if epoch == config.max_epoch:
            position.finished = f"--max-epoch {config.max_epoch}"
    save(run, LAST, resumable=True)
    if config.keep_last_epochs and (whole or position.finished):
        save(run, epoch_checkpoint(epoch), resumable=False)
        for path in list(epoch_checkpoints(run.save_dir).values())[: -config.keep_last_epochs]:
            path.unlink()
    if position.finished and not whole:
        # A run that is resumed to go further must not remember a validation that it would not have made.
        validate_and_keep(run)


def updates(batches: list[Indices], update_freq: int) -> Iterator[list[Indices]]:
    """Groups of batches whose gradients make one update."""
    stream = iter(batches)
    while group := list(islice(stream, update_freq)):
        yield group


def make_update(run: Run, group: list[Indices], window: Window) -> None:
    """Make the next update and add its figures to the window."""
    position, config = run.position, run.config
    position.update += 1
    batches: list[Batch] = [load_batch(run.train_split, indices) for indices in group]
    result = train_update(
        run.model,
        run.objective,
        run.optimizer,
        [batch.to(run.device) for batch in batches],
        rate=run.schedule.rate(position.update),
        clip_norm=config.clip_norm,
        precision=config.precision,
        seed=config.seed,
        update=position.update,
    )
    window.updates += 1
    window.loss += result.loss
    window.nll += result.nll
    window.gradient_norm += result.gradient_norm
    for batch in batches:
        assert batch.target is not None
        window.source_tokens += int(batch.source.lengths.sum())
        window.target_tokens += int(batch.target.lengths.sum())
        window.slots += batch.source.ids.numel() + batch.target.ids.numel()


def total_updates(run: Run, updates_in_epoch: int) -> int | None:
    """The update at which the run ends at the latest, or None where only --patience ends it."""
    config, position = run.config, run.position
    ends = [config.max_update] if config.max_update else []
    if config.max_epoch:
        done_in_epoch = -(-position.batch // config.update_freq)
        ends.append(
            position.update + (config.max_epoch - position.epoch + 1) * updates_in_epoch - done_in_epoch
        )
    return min(ends) if ends else None


def report_progress(run: Run, window: Window, updates_in_epoch: int) -> None:
    """Log the window's figures and the time left."""
    position = run.position
    total = total_updates(run, updates_in_epoch)
    left = None if total is None else (total - position.update) * position.seconds / position.update
    run.log.progress(
        {
            "epoch": position.epoch,
            "update": position.update,
            **window.summary(),
            "lr": run.schedule.rate(position.update),
            "seconds": round(position.seconds, 1),
            "seconds_left": left,
        }
    )


def validate_and_keep(run: Run) -> None:
    """Validate, tell the schedule, and save the best checkpoint; not twice, nor without a validation split."""
    position, config = run.position, run.config
    if run.valid_split is None or run.valid_plan is None or position.validated == position.update:
        return
    position.validated = position.update
    metrics = list(config.eval_metrics)
    best_by = config.best_checkpoint_metric
    if best_by not in ("loss", "ppl", *metrics):
        metrics.append(best_by)
    validation = validate(
        run.model,
        run.objective,
        run.valid_split,
        run.valid_plan,
        run.engine,
        metrics=metrics,
        num_samples=config.eval_samples,
    )
    for record in validation.samples:
        run.log.say(
            f"  source:    {record.source}\n  output:    {record.text}\n  reference: {record.reference}"
        )
    figure, upward = validation.figures[best_by], higher_is_better(best_by)
    run.schedule.validated(figure, higher_is_better=upward)
    is_best = position.best is None or (figure > position.best if upward else figure < position.best)
    position.stale = 0 if is_best else position.stale + 1
    if is_best:
        position.best = figure
    run.log.validation({"epoch": position.epoch, "update": position.update, **validation.figures}, is_best)
    if is_best:
        save(run, BEST, resumable=False)
    if config.patience and position.stale >= config.patience:
        position.finished = f"--patience {config.patience}"


def save(run: Run, name: str, *, resumable: bool) -> None:
    """Write a checkpoint; a resumable one holds the optimizer's state too."""
    parameters = unique_parameters(run.model)
    state: dict[str, Any] = {**run.position.as_dict(), "schedule": run.schedule.state_dict()}
    save_checkpoint(
        run.save_dir / name,
        Checkpoint(
            config=as_dict(run.config),
            tokenizers=run.engine.tokenizers,
            dataset=dataset_facts(run.dataset),
            weights={name: parameter.detach() for name, parameter in parameters.items()},
            run=state,
            optimizer=optimizer_tensors(run.optimizer, parameters) if resumable else {},
        ),
    )


def dataset_facts(dataset: Dataset) -> dict[str, Any]:
    """What a checkpoint remembers of the dataset, for generating and for resuming on the same one."""
    return {
        "source_lang": dataset.source_lang,
        "target_lang": dataset.target_lang,
        "limits": dataset.meta["limits"],
        "vocabularies": {side: dataset.tokenizer(side).fingerprint for side in ("source", "target")},
        "train": dataset.fingerprint("train"),
    }


@contextmanager
def catch_signals(run: Run) -> Iterator[None]:
    """End the run after the current update on SIGINT or SIGTERM; a second SIGINT ends it at once."""

    def note(number: int, frame: FrameType | None) -> None:
        del number, frame
        run.interrupted = True
        signal.signal(signal.SIGINT, previous[signal.SIGINT])

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
