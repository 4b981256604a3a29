"""Going on with a run, and starting one from another's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from s2scli.checkpoint import (
    LAST,
    Checkpoint,
    check_vocabularies,
    find_checkpoint,
    load_checkpoint,
    load_weights,
)
from s2scli.configs.train import TrainConfig
from s2scli.console import notice
from s2scli.errors import CheckpointError, UsageError
from s2scli.schema import as_dict
from s2scli.training.run import Run, dataset_facts
from s2scli.training.state import Position, copy_tensors, restore_optimizer

# Settings that decide what the checkpoint's contents mean; each with the flag by which the run does without those.
# An entry "section." stands for all of a section.
_NEEDED_BY = {
    "model.": "",
    "optimizer.name": "--reset-optimizer",
    "lr_scheduler.name": "--reset-lr-scheduler",
    "seed": "--reset-dataloader",
    "max_tokens": "--reset-dataloader",
    "batch_size": "--reset-dataloader",
    "best_checkpoint_metric": "--reset-meters",
}
# Of the model's settings, those that change neither its weights' shapes nor what they mean.
_FREE = ("model.dropout", "model.attention_dropout", "model.activation_dropout")
# Where things are, and how a run shows itself: not worth a word.
_SILENT = ("data", "save_dir", "arch", "restore_file", "finetune_from_model", "tensorboard", "threads")
_RESETS = ("reset_optimizer", "reset_lr_scheduler", "reset_dataloader", "reset_meters")


def saved_choices(config: TrainConfig) -> TrainConfig:
    """The config with what was settled when the run began where it says auto: --precision and --max-tokens."""
    path = config.save_dir / LAST
    if not path.exists():
        return config
    saved = load_checkpoint(path).config
    open_settings = {
        name: saved[name] for name in ("precision", "max_tokens") if getattr(config, name) == "auto"
    }
    return replace(config, **open_settings)


def begin(run: Run) -> None:
    """Put a fresh run where it goes on: at its own last checkpoint, or else at the one it is to start from.

    Raises CheckpointError where the vocabulary, the dataset or a setting that must stay has changed.
    """
    config, last = run.config, run.save_dir / LAST
    if last.exists():
        checkpoint = load_checkpoint(last, resume=True)
        # A repeated command resets what it resets once, not at each restart.
        resets = {name for name in _RESETS if getattr(config, name) and not checkpoint.config.get(name)}
        done = [name for name in _RESETS if getattr(config, name) and checkpoint.config.get(name)]
        for name in done:
            notice(f"--{name.replace('_', '-')} was done when this run began; going on from {last}")
        _check_data(run, checkpoint, last, same_text="reset_dataloader" not in resets)
        _check_settings(run, checkpoint, last, resets)
        restore(run, checkpoint, last, resets)
        _compare_updates(run, checkpoint)
    elif config.restore_file is not None:
        path = find_checkpoint(config.restore_file)
        checkpoint = load_checkpoint(path, resume=True)
        resets = {name for name in _RESETS if getattr(config, name)}
        if not checkpoint.optimizer and "reset_optimizer" not in resets:
            raise CheckpointError(
                f"{path}: holds weights only, nothing to go on training with; give --finetune-from-model {path}, or "
                f"a {LAST} as --restore-file"
            )
        _check_data(run, checkpoint, path, same_text="reset_dataloader" not in resets)
        _check_settings(run, checkpoint, path, resets)
        restore(run, checkpoint, path, resets)
    elif config.finetune_from_model is not None:
        path = find_checkpoint(config.finetune_from_model)
        checkpoint = load_checkpoint(path)
        _check_data(run, checkpoint, path, same_text=False)
        load_weights(run.model, checkpoint.weights, path)
        if run.average is not None:
            copy_tensors(run.average.tensors, checkpoint.weights)
        notice(f"starting from the weights of {path}")
    elif any(getattr(config, name) for name in _RESETS):
        given = next(name for name in _RESETS if getattr(config, name))
        raise UsageError(
            f"--{given.replace('_', '-')}: there is nothing to reset; {run.save_dir} holds no run and no "
            "--restore-file is given"
        )
    run.position.finished = _still_finished(run)


def restore(run: Run, checkpoint: Checkpoint, path: Path, resets: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Put a run where a checkpoint left it, but for what is reset."""
    load_weights(run.model, checkpoint.weights, path)
    objective = {
        name.removeprefix("objective."): item
        for name, item in run.parameters.items()
        if name.startswith("objective.")
    }
    for name in copy_tensors(objective, checkpoint.objective):
        notice(f"{path}: has no {name}, which the objective needs; it begins anew")
    if run.average is not None and copy_tensors(run.average.tensors, checkpoint.ema or checkpoint.weights):
        raise CheckpointError(f"{path}: its moving average is of another model")
    state = {name: value for name, value in checkpoint.run.items() if name != "processes"}
    schedule, scale = state.pop("schedule"), state.pop("loss_scale", None)
    position = Position(**state)
    if "reset_optimizer" not in resets:
        restore_optimizer(run.updater.optimizer, run.parameters, checkpoint.optimizer)
        if scale is not None and run.updater.scale.dynamic:
            run.updater.scale.value, run.updater.scale.good_updates = scale["value"], scale["good_updates"]
    if "reset_lr_scheduler" in resets:
        position.schedule_start, position.rate_factor = position.update, 1.0
    else:
        run.schedule.load_state_dict(schedule)
    if "reset_dataloader" in resets:
        position.epoch, position.batch = 1, 0
    if "reset_meters" in resets:
        position.best, position.stale, position.validated, position.seconds = None, 0, 0, 0.0
    position.finished = ""
    run.position = position


def _check_data(run: Run, checkpoint: Checkpoint, path: Path, *, same_text: bool) -> None:
    remedy = (
        "give another --save-dir to start anew"
        if path.parent == run.save_dir
        else "preprocess the data with the vocabulary of the model's"
    )
    check_vocabularies(checkpoint, path, run.engine.tokenizers, run.config.data, remedy)
    before, now = checkpoint.dataset["train"], dataset_facts(run.dataset)["train"]
    if same_text and before != now:
        raise CheckpointError(
            f"{path}: trained on another training split ({before}, that of {run.config.data} is {now}); give "
            "--reset-dataloader to go on with this one, or another --save-dir to start anew"
        )


def _check_settings(run: Run, checkpoint: Checkpoint, path: Path, resets: set[str]) -> None:
    """Say which settings have changed; CheckpointError for one that the checkpoint's contents depend on."""
    before, now = _flat(checkpoint.config), _flat(as_dict(run.config))
    changed = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
    for key in sorted(changed):
        change = f"{key} = {before.get(key)!r} before, {now.get(key)!r} now"
        needed_by = next((flag for start, flag in _NEEDED_BY.items() if key.startswith(start)), None)
        if needed_by is None or key in _FREE:
            if key not in (*_SILENT, *_RESETS):
                notice(f"resuming with {change}")
        elif needed_by.removeprefix("--").replace("-", "_") not in resets:
            remedy = f"give {needed_by}, or" if needed_by else "give"
            raise CheckpointError(
                f"{path}: {change}; a resumed run must keep it: {remedy} another --save-dir to start anew"
            )


def _compare_updates(run: Run, checkpoint: Checkpoint) -> None:
    """Say so where an update is now made of another number of batches."""
    before = checkpoint.config["update_freq"] * checkpoint.run.get("processes", 1)
    if before != run.batches_per_update:
        notice(
            f"resuming with {run.batches_per_update} batches an update ({run.config.update_freq} × "
            f"{run.processes.size} processes), {before} before"
        )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """{"model": {"dropout": 0.3}} → {"model.dropout": 0.3}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= (
            {f"{key}.{name}": item for name, item in value.items()}
            if isinstance(value, dict)
            else {key: value}
        )
    return flat


def _still_finished(run: Run) -> str:
    """Why a resumed run has nothing left to do under its present limits, or nothing."""
    config, position = run.config, run.position
    if config.max_update and position.update >= config.max_update:
        return f"--max-update {config.max_update}"
    if config.max_epoch and position.epoch > config.max_epoch:
        return f"--max-epoch {config.max_epoch}"
    if config.patience and position.stale >= config.patience:
        return f"--patience {config.patience}"
    return ""
