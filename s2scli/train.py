"""`s2s train`: train a model on a dataset folder, or go on where the same command was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from s2scli.checkpoint_file import BEST
from s2scli.components import METRICS
from s2scli.configs.train import TrainConfig
from s2scli.console import counted, notice
from s2scli.errors import UsageError
from s2scli.locks import locked
from s2scli.needs import note_needs
from s2scli.nn.kernels.products import trained_by
from s2scli.nn.runtime import be_deterministic, prepare
from s2scli.schema import as_dict
from s2scli.toml import write_toml
from s2scli.training.building import make_run
from s2scli.training.distributed import Processes, joined
from s2scli.training.ending import ends
from s2scli.training.epochs import read_state
from s2scli.training.log import duration
from s2scli.training.loop import run_training
from s2scli.training.observers import Observer
from s2scli.training.reading import longest_of
from s2scli.training.resume import begin
from s2scli.training.run import Run
from s2scli.training.signals import StopSignals
from s2scli.training.state import trained_parameters
from s2scli.training.warnings import warn_before_start


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended: why, after how many updates, and the best validation figure."""

    save_dir: Path
    finished: str
    updates: int
    best: float | None
    seconds: float


def train(config: TrainConfig, observers: Sequence[Observer] = ()) -> TrainResult:
    """Train as the config says; if its save_dir holds a run, go on with that.

    observers: are told what the run finds, and may ask it to stop, which is then why it has finished; repeated, the run
    goes on from there. Raises Interrupted when a signal stopped the run, which is saved then.
    """
    signals = StopSignals()
    if config.save_dir.exists() and not config.save_dir.is_dir():
        raise UsageError(f"--save-dir {config.save_dir}: is a file, not a folder")
    for name in {config.best_checkpoint_metric, *config.eval_metrics} & set(METRICS):
        METRICS[name]()  # what it needs is lacking now, and not after an epoch
    with signals.caught(), joined(prepare(config.device, config.threads), config.distributed) as processes:
        if config.deterministic:
            be_deterministic()
        guard = locked(
            config.save_dir,
            "wait for its end, give another --save-dir, or remove .lock if that machine is gone",
        )
        with guard if processes.is_first else nullcontext():
            return _train(config, processes, signals, observers)


def _train(
    config: TrainConfig, processes: Processes, signals: StopSignals, observers: Sequence[Observer]
) -> TrainResult:
    """Train in one of the processes; the run is gone when this returns, before the processes part."""
    note_needs(config)
    run = make_run(config, processes, signals, observers)
    finished = begin(run)
    if processes.is_first:
        write_toml(config.save_dir / "config.toml", as_dict(run.config))
    _introduce(run, finished)
    with trained_by(run.config.matrix_products):
        finished = run_training(run, finished)
    processes.wait()
    return _conclude(run, finished)


def _introduce(run: Run, finished: str) -> None:
    """Say what is trained, on what, and from where; finished: why nothing is left to do, if so."""
    config, position, processes = run.config, run.position, run.processes
    parameters = trained_parameters(run.learner.objective).values()
    count, trained = (
        sum(item.numel() for item in items) for items in (parameters, run.learner.updater.parameters.values())
    )
    plan = run.data.train_plan
    batches = plan.part(position.epoch, position.part)
    company = f"{processes.size} × {processes.device.type} ({processes.kind})" if processes.size > 1 else ""
    notice(
        f"{config.arch}: {counted(count, 'parameter')}{f', {trained:,} of them trained,' if trained < count else ''} "
        f"on {company or processes.device} ({counted(torch.get_num_threads(), 'thread')}, {config.precision}); "
        f"{counted(plan.num_pairs, 'training pair')} in {'about ' if plan.parts > 1 else ''}"
        f"{counted(plan.parts * len(batches), 'batch')}, {plan.padding(batches):.1%} padding"
    )
    for split in (run.data.train_split, *(part.split for part in run.data.validated_on)):
        for side, longest in longest_of(config, run.data.dataset).items():
            number, tokens = split.count_cut(side)
            if number:
                reason = "as --max-source-length says"
                if side == "target" or longest != config.max_source_length:
                    reason = (
                        "which is what the model has positions for; "
                        f"--set model.max_{side}_positions=N has more"
                    )
                notice(
                    f"{split.name}: {counted(number, f'{side} sentence')} cut to {counted(longest, 'token')}, "
                    f"{tokens:,} "
                    f"tokens left out, {reason}"
                )
    if not run.data.validated_on:
        why = "--disable-validation" if config.disable_validation else "no validation split"
        notice(f"{why}: the last checkpoint is the result")
    if finished:
        notice(f"nothing is left to do: the run has ended before ({finished}); raise that to go on")
        return
    limits = ends(config, validates=bool(run.data.validated_on))
    notice(f"ends after {limits}" if limits else "goes on until Ctrl-C; --max-epoch or --max-update limit it")
    warn_before_start(run)
    if position.update:
        notice(f"resuming at update {position.update}, epoch {position.epoch}")


def _conclude(run: Run, finished: str) -> TrainResult:
    """Say why the run has ended and what it has found, and return that."""
    position, save_dir = run.position, run.save_dir
    best_path = save_dir / BEST
    best = read_state(best_path).get("best") if best_path.exists() else None
    figure = "" if best is None else f"; best {run.config.best_checkpoint_metric} {best:.3f}"
    done = f"done after {counted(position.update, 'update')} in {duration(position.seconds)}"
    notice(f"{done} ({finished}){figure}; checkpoints in {save_dir}")
    return TrainResult(
        save_dir=save_dir,
        finished=finished,
        updates=position.update,
        best=best,
        seconds=position.seconds,
    )
