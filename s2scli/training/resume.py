"""Going on with a run, and starting one from another's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from s2scli.checkpoint import (
    BEST,
    LAST,
    Checkpoint,
    check_vocabularies,
    find_checkpoint,
    load_checkpoint,
    load_weights,
)
from s2scli.configs.models import TRAINING_ONLY, model_differences
from s2scli.configs.sampling import SamplingConfig
from s2scli.configs.train import TrainConfig
from s2scli.console import notice
from s2scli.document import blaming
from s2scli.errors import CheckpointError, UsageError
from s2scli.schema import as_dict, by_epoch, defaults_of
from s2scli.training.ending import still_finished
from s2scli.training.run import Run
from s2scli.training.state import Position, copy_tensors, restore_optimizer, saved_run

# Settings that decide what the checkpoint's contents mean; each with what is to be reset so that the run does
# without those. An entry "section." stands for all of a section.
_NEEDED_BY: dict[str, tuple[str, ...]] = {
    "model.": (),
    "right_to_left": (),
    "optimizer.name": ("reset_optimizer",),
    "lr_scheduler.name": ("reset_lr_scheduler",),
    "seed": ("reset_dataloader",),
    "max_tokens": ("reset_dataloader",),
    "batch_size": ("reset_dataloader",),
    "max_source_length": ("reset_dataloader",),
    "sampling.curriculum": ("reset_dataloader",),
    "sampling.corpus_": ("reset_dataloader",),
    "best_checkpoint_metric": ("reset_meters",),
}
# And where the schedule has found its rate by itself, from the figures of validations.
_NEEDED_BY_RATE: dict[str, tuple[str, ...]] = {
    "optimizer.lr": ("reset_lr_scheduler",),
    "best_checkpoint_metric": ("reset_meters", "reset_lr_scheduler"),
}
_FREE = frozenset(f"model.{name}" for name in TRAINING_ONLY)
# Where things are, and how a run shows itself: not worth a word.
_SILENT = (
    "data",
    "save_dir",
    "arch",
    "restore_file",
    "finetune_from_model",
    "tensorboard",
    "threads",
    "num_workers",
    "verify",
    "param_init",
    "param_init_scale",
    "embed_init",
    "embed_init_scale",
    "encoder_embed_path",
    "decoder_embed_path",
)
_RESETS = ("reset_optimizer", "reset_lr_scheduler", "reset_dataloader", "reset_meters")
_ANEW = "give another --save-dir to start anew"


def starting_point(config: TrainConfig) -> Path | None:
    """The checkpoint that a run begins from: its own last one, or else the one that is given; None: from scratch.

    Raises UsageError for flags that contradict each other, and CheckpointError where there is no such checkpoint.
    """
    last = config.save_dir / LAST
    if last.exists():
        return last
    resets = [_flag(name) for name in _RESETS if getattr(config, name)]
    if config.finetune_from_model is not None:
        others = [*(["--restore-file"] if config.restore_file else []), *resets]
        if others:
            raise UsageError(
                f"--finetune-from-model takes a model's weights and begins anew, but {' '.join(others)} "
                f"{'is' if len(others) == 1 else 'are'} for going on with a run; give one or the other"
            )
        return find_checkpoint(config.finetune_from_model)
    if config.restore_file is not None:
        return find_checkpoint(config.restore_file, (LAST, BEST))
    if resets:
        raise UsageError(
            f"{' '.join(resets)}: there is nothing to reset; {config.save_dir} holds no run and no --restore-file "
            "is given"
        )
    return None


def saved_choices(config: TrainConfig) -> TrainConfig:
    """The config with what a run that goes on has settled before, where it says auto: --precision and --max-tokens."""
    path = starting_point(config)
    if path is None or (path != config.save_dir / LAST and config.finetune_from_model is not None):
        return config
    saved = load_checkpoint(path).config
    # Batches that begin anew, perhaps with other data, may be of another size.
    anew = config.reset_dataloader and not saved.get("reset_dataloader")
    settled = {name: saved[name] for name in ("precision", "max_tokens") if getattr(config, name) == "auto"}
    return replace(config, **({"precision": settled.get("precision", config.precision)} if anew else settled))


def begin(run: Run) -> None:
    """Put a fresh run where it goes on: at its own last checkpoint, or else at the one it is to start from.

    Raises CheckpointError where the vocabulary, the dataset or a setting that must stay has changed.
    """
    config, path = run.config, starting_point(run.config)
    if path is None:
        return
    checkpoint = load_checkpoint(path, resume=True)
    resets = {name for name in _RESETS if getattr(config, name)}
    if path == run.save_dir / LAST:
        # A repeated command resets what it resets once, not at each restart.
        done = {name for name in resets if checkpoint.config.get(name)}
        resets -= done
        _say_what_is_done(run, checkpoint, path, done)
    elif config.finetune_from_model is not None:
        _check_vocabularies(run, checkpoint, path)
        _load_weights_of_another(run, checkpoint, path)
        if run.average is not None:
            copy_tensors(run.average.tensors, checkpoint.weights)
        notice(f"starting from the weights of {path}")
        return
    elif not checkpoint.resumable and "reset_optimizer" not in resets:
        raise CheckpointError(
            f"{path}: holds no optimizer state, so there is no run to go on with; give a {LAST} as --restore-file, "
            f"or --finetune-from-model {path} to begin anew with its weights"
        )
    _check_vocabularies(run, checkpoint, path)
    _check_text(run, checkpoint, path, resets)
    _check_settings(run, checkpoint, path, resets)
    restore(run, checkpoint, path, resets)
    run.shortlist = run.shortlist or checkpoint.shortlist
    _compare_updates(run, checkpoint)
    run.position.finished = still_finished(run, ended=bool(checkpoint.run.get("finished")))
    if run.position.finished and path != run.save_dir / LAST:
        raise UsageError(
            f"--restore-file {path}: stands at update {run.position.update}, epoch {run.position.epoch}, and so has "
            f"nothing left to do under {run.position.finished}; raise that, or leave it out"
        )


def _flag(name: str) -> str:
    """reset_optimizer → --reset-optimizer."""
    return "--" + name.replace("_", "-")


def _say_what_is_done(run: Run, checkpoint: Checkpoint, path: Path, done: set[str]) -> None:
    """Say which flags have no effect, as a run goes on with its own last checkpoint."""
    if done:
        flags = " ".join(_flag(name) for name in _RESETS if name in done)
        notice(
            f"{flags}: done at an earlier start of this run, and not again; going on from {path} "
            "(to reset once more, first go on without)"
        )
    for name in ("restore_file", "finetune_from_model"):
        given = getattr(run.config, name)
        if given not in (None, path, run.save_dir) and str(given) != checkpoint.config.get(name):
            notice(f"{_flag(name)} {given}: not used; {run.save_dir} holds a run, which goes on from {path}")


def _load_weights_of_another(run: Run, checkpoint: Checkpoint, path: Path) -> None:
    """Take a checkpoint's weights, whose model may have been trained with other settings."""
    before, now = checkpoint.config["model"], as_dict(run.config.model)
    changes = [
        f"model.{key} = {before.get(key)!r} there, {now.get(key)!r} here"
        for key in model_differences(before, now)
    ]
    try:
        load_weights(run.model, checkpoint.weights, path)
    except CheckpointError as error:
        if not changes:
            raise
        raise CheckpointError(f"{error}; {', '.join(changes)}: give the settings that it has there") from None
    for change in changes:
        notice(f"{path}: {change}")


def restore(run: Run, checkpoint: Checkpoint, path: Path, resets: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Put a run where a checkpoint left it, but for what is reset."""
    saved = saved_run(checkpoint, path)
    load_weights(run.model, checkpoint.weights, path)
    objective = {
        name.removeprefix("objective."): item
        for name, item in run.parameters.items()
        if name.startswith("objective.")
    }
    for name, item in checkpoint.objective.items():
        if name in objective and item.shape != objective[name].shape:
            raise CheckpointError(
                f"{path}: objective.{name} has shape {tuple(item.shape)}, the objective wants "
                f"{tuple(objective[name].shape)}"
            )
    for name in copy_tensors(objective, checkpoint.objective):
        notice(f"{path}: has no {name}, which the objective needs; it begins anew")
    if run.average is not None and copy_tensors(run.average.tensors, checkpoint.ema or checkpoint.weights):
        raise CheckpointError(f"{path}: its moving average is of another model")
    schedule, scale = saved.get("schedule", {}), saved.get("loss_scale")
    position = Position(**{name: saved[name] for name in Position().as_dict().keys() & saved.keys()})
    if "reset_optimizer" not in resets:
        restore_optimizer(run.updater.optimizer, run.parameters, checkpoint.optimizer)
        if scale is not None and run.updater.scale.dynamic and checkpoint.config["precision"] == "fp16":
            run.updater.scale.value, run.updater.scale.good_updates = scale["value"], scale["good_updates"]
    if "reset_lr_scheduler" in resets:
        position.schedule_start, position.rate_factor = position.update, 1.0
    else:
        with blaming(path, "take another checkpoint of the run", CheckpointError):
            run.schedule.load_state_dict(schedule)
    if "reset_dataloader" in resets:
        position.epoch, position.part, position.batch = 1, 0, 0
    if "reset_meters" in resets:
        position.best, position.stale, position.validated, position.seconds = None, 0, 0, 0.0
    position.finished = ""
    run.position = position


def _check_vocabularies(run: Run, checkpoint: Checkpoint, path: Path) -> None:
    remedy = f"make the dataset with the model's own vocabulary: s2s preprocess --vocab-from {path}"
    if path == run.save_dir / LAST:
        remedy = f"go on with data that has the run's own vocabulary (s2s preprocess --vocab-from {path}), or {_ANEW}"
    check_vocabularies(checkpoint.tokenizers, path, run.engine.tokenizers, run.config.data, remedy)


def _check_text(run: Run, checkpoint: Checkpoint, path: Path, resets: set[str]) -> None:
    """CheckpointError where the place in the training data is one in other data."""
    before, now = checkpoint.dataset["train"], run.dataset.fingerprint("train")
    if before != now and "reset_dataloader" not in resets:
        raise CheckpointError(
            f"{path}: trained on another training split ({before}, that of {run.config.data} is {now}); give "
            f"--reset-dataloader to go on with this one, or {_other_way(run, path)}"
        )


def _check_settings(run: Run, checkpoint: Checkpoint, path: Path, resets: set[str]) -> None:
    """Say which settings have changed; CheckpointError for those that the checkpoint's contents depend on."""
    # A run from before there was a setting had what that is by default.
    saved = checkpoint.config
    before = _flat(
        {**defaults_of(TrainConfig), "sampling": as_dict(SamplingConfig()), **saved}
        | {"model": {**as_dict(type(run.config.model)()), **saved["model"]}}
    )
    now = _flat(as_dict(run.config))
    needed_by = _NEEDED_BY | (_NEEDED_BY_RATE if run.schedule.state_dict() else {})
    allowed, refused, missing = [], [], set()
    for key in sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key)):
        change = f"{key} = {before.get(key)!r} before, {now.get(key)!r} now"
        needs = next((names for start, names in needed_by.items() if key.startswith(start)), None)
        if needs is None or key in _FREE:
            if key not in (*_SILENT, *_RESETS):
                allowed.append(change)
        elif not needs or set(needs) - resets:
            refused.append(change)
            missing |= set(needs) - resets or {"model"}
    if refused:
        it = "it" if len(refused) == 1 else "them"
        ways = [f"set {it} back"]
        if "model" not in missing:
            ways.append("give " + " ".join(_flag(name) for name in _RESETS if name in missing))
        if "model" not in missing or path == run.save_dir / LAST:
            ways.append(_other_way(run, path))
        raise CheckpointError(
            f"{path}: {', '.join(refused)}; a run that goes on must keep {it}: {', or '.join(ways)}"
        )
    for change in allowed:
        notice(f"resuming with {change}")


def _other_way(run: Run, path: Path) -> str:
    """What else to do where a run cannot go on as it is asked to."""
    if path == run.save_dir / LAST:
        return _ANEW
    return f"begin anew with its weights alone by --finetune-from-model {path}"


def _compare_updates(run: Run, checkpoint: Checkpoint) -> None:
    """Say so where an update is now made of another number of batches."""
    saved = checkpoint.config["update_freq"]
    epoch = run.position.epoch
    before = by_epoch(tuple(saved) if isinstance(saved, list) else saved, epoch)
    before *= checkpoint.run.get("processes", 1)
    if before != run.batches_per_update:
        notice(
            f"resuming with {run.batches_per_update} batches an update ({by_epoch(run.config.update_freq, epoch)} × "
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
