"""Going on with a run, and starting one from another's checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from s2scli.checkpoint import (
    Checkpoint,
    check_finite,
    load_adapter,
    load_checkpoint,
    load_weights,
    restore_config,
)
from s2scli.checkpoint_file import BEST, LAST, best_checkpoints, find_checkpoint
from s2scli.configs.model import model_differences
from s2scli.configs.train import TrainConfig
from s2scli.console import notice
from s2scli.document import blaming
from s2scli.errors import CheckpointError, UsageError
from s2scli.models.factory import is_of_head
from s2scli.schema import as_dict
from s2scli.training.adapting import check_same_base, load_base
from s2scli.training.changes import (
    ANEW,
    EARLIER,
    RESETS,
    arch_of,
    check_changes,
    compare_updates,
    flag_of,
)
from s2scli.training.ending import still_finished
from s2scli.training.epochs import kept_checkpoints, later_updates, left_behind, read_state, set_aside
from s2scli.training.fisher import hold_weights
from s2scli.training.other_vocabulary import fitted_weights
from s2scli.training.run import Run
from s2scli.training.state import Position, copy_tensors, of_objective, restore_optimizer, saved_run


def starting_point(config: TrainConfig) -> Path | None:
    """The checkpoint that a run begins from: its own last one, or else the one that is given; None: from scratch.

    Raises UsageError for flags that contradict each other and where the run would replace another's checkpoints, and
    CheckpointError where there is no such checkpoint.
    """
    last = config.save_dir / LAST
    if last.exists():
        return last
    path = _given_start(config)
    _keep_checkpoints_of_another(config, path)
    return path


def _given_start(config: TrainConfig) -> Path | None:
    """The checkpoint that the flags name; None: there is none."""
    resets = [flag_of(name) for name in RESETS if getattr(config, name)]
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


def _keep_checkpoints_of_another(config: TrainConfig, start: Path | None) -> None:
    """UsageError where a run that begins in a folder would replace checkpoints that a run has left there.

    One that goes on from a checkpoint of that folder replaces none but with a better one.
    """
    left = [path for path in (config.save_dir / BEST, *kept_checkpoints(config.save_dir)) if path.exists()]
    own = start is not None and any(path.samefile(start) for path in left)
    if not left or (own and config.finetune_from_model is None):
        return
    raise UsageError(
        f"--save-dir {config.save_dir}: holds {', '.join(path.name for path in left[:3])}"
        f"{' …' if len(left) > 3 else ''} of a run but no {LAST} to go on from, and a new run would replace what is "
        f"there; give another --save-dir, go on with --restore-file {left[0]} --reset-optimizer, or move "
        f"{'it' if len(left) == 1 else 'them'} elsewhere"
    )


def _read(path: Path, config: TrainConfig, *, resume: bool = False) -> Checkpoint:
    """The checkpoint that a run begins from; CheckpointError, with what else to go on from, where it is broken."""
    try:
        checkpoint = load_checkpoint(path, resume=resume, may_be_adapter=config.adapter.tunes)
        check_finite(checkpoint.weights, path)
    except CheckpointError as error:
        if path != config.save_dir / LAST:
            raise
        others = {}
        for other in (config.save_dir / BEST, *kept_checkpoints(config.save_dir)):
            with suppress(CheckpointError):
                others[other] = read_state(other)["update"]
        if not others:
            raise CheckpointError(f"{error}; {ANEW}, or remove it to begin anew there") from None
        latest = max(others, key=lambda other: others[other])
        raise CheckpointError(
            f"{error}; remove it and go on from update {others[latest]} with --restore-file {latest} "
            f"--reset-optimizer, or {ANEW}"
        ) from None
    return checkpoint


def saved_choices(config: TrainConfig) -> TrainConfig:
    """The config with what a run that goes on has settled before, where it says auto.

    That is --precision, --matrix-products and --max-tokens.
    """
    path = starting_point(config)
    if path is None or (path != config.save_dir / LAST and config.finetune_from_model is not None):
        return config
    saved = {**EARLIER, **_read(path, config).config}
    # Batches that begin anew, perhaps with other data, may be of another size.
    anew = config.reset_dataloader and not saved.get("reset_dataloader")
    kept = ("precision", "matrix_products", *(() if anew else ("max_tokens",)))
    return replace(config, **{name: saved[name] for name in kept if getattr(config, name) == "auto"})


def begin(run: Run) -> str:
    """Restore a fresh run from its own last checkpoint, or else from the one that the settings name.

    Returns why nothing is left to do, or nothing. Raises CheckpointError where the vocabulary, the dataset or a setting
    that must stay has changed.
    """
    config, path = run.config, starting_point(run.config)
    if path is None:
        return ""
    if config.adapter.tunes:
        load_base(run)
        if path != run.save_dir / LAST:
            return ""
    checkpoint = _read(path, config, resume=True)
    run.has_last = path == run.save_dir / LAST
    resets = {name for name in RESETS if getattr(config, name)}
    if path == run.save_dir / LAST:
        # A repeated command resets what it resets once, not at each restart.
        done = {name for name in resets if checkpoint.config.get(name)}
        resets -= done
        check_same_base(run, checkpoint, path)
        _say_what_is_done(run, checkpoint, path, done)
    elif config.finetune_from_model is not None:
        checkpoint = replace(checkpoint, weights=_fitted(run, checkpoint, path))
        _load_weights_of_another(run, checkpoint, path)
        if run.learner.average is not None:
            copy_tensors(run.learner.average.tensors, checkpoint.weights)
        notice(f"starting from the weights of {path}")
        if run.learner.updater.consolidation is not None:
            hold_weights(run, run.learner.updater.consolidation)
        return ""
    elif not checkpoint.resumable and "reset_optimizer" not in resets:
        raise CheckpointError(
            f"{path}: holds no optimizer state, so there is no run to go on with; give a {LAST} as --restore-file, "
            f"or --finetune-from-model {path} to begin anew with its weights"
        )
    check_changes(run, checkpoint, path, resets)
    restore(run, checkpoint, path, resets)
    run.resets = frozenset(resets) if run.has_last else frozenset()
    run.shortlist = run.shortlist or checkpoint.shortlist
    compare_updates(run, checkpoint)
    finished = still_finished(run, ended=bool(checkpoint.run.get("finished")))
    if finished and path != run.save_dir / LAST:
        raise UsageError(
            f"--restore-file {path}: stands at update {run.position.update}, epoch {run.position.epoch}, and so has "
            f"nothing left to do under {finished}; raise that, or leave it out"
        )
    if run.processes.is_first and not finished:
        _set_aside(run, resets)
    return finished


def _set_aside(run: Run, resets: set[str]) -> None:
    """Move checkpoints elsewhere that the run would come to replace, delete or count as its own, and say so."""
    position, best = run.position, run.save_dir / BEST
    state = position.as_dict()
    paths = [*left_behind(run.save_dir, state), *later_updates(run.save_dir, state)]
    if "reset_meters" in resets and best.exists():
        # The first validation from here on is the best one, be it worse.
        paths += [best, *best_checkpoints(run.save_dir)]
    folder = set_aside(paths, position.update)
    if folder is not None:
        notice(
            f"{', '.join(path.name for path in paths)}: moved to {folder}, since the run goes on without "
            f"{'it' if len(paths) == 1 else 'them'}"
        )


def _say_what_is_done(run: Run, checkpoint: Checkpoint, path: Path, done: set[str]) -> None:
    """Say which flags have no effect, as a run goes on with its own last checkpoint."""
    if done:
        flags = " ".join(flag_of(name) for name in RESETS if name in done)
        notice(
            f"{flags}: done at an earlier start of this run, and not again; going on from {path} "
            "(to reset once more, first go on without)"
        )
    for name in ("restore_file", "finetune_from_model", "init_encoder", "init_decoder"):
        given = getattr(run.config, name)
        if name == "finetune_from_model" and run.config.adapter.tunes:
            continue  # the weights beside which an adapter is trained, at each start
        if given not in (None, path, run.save_dir) and str(given) != checkpoint.config.get(name):
            notice(
                f"{flag_of(name)} {given}: not used; {run.save_dir} holds a run, which goes on from {path}"
            )


def _fitted(run: Run, checkpoint: Checkpoint, path: Path) -> Mapping[str, Tensor]:
    """A checkpoint's weights by the vocabularies of the run's data."""
    tokenizers, config = run.translator.tokenizers, run.config
    return fitted_weights(
        checkpoint, path, run.learner.model, tokenizers, config.data, anew=config.new_embeddings
    )


def _load_weights_of_another(run: Run, checkpoint: Checkpoint, path: Path) -> None:
    """Take a checkpoint's weights, whose model may have been trained with other settings."""
    # Settings that a checkpoint is too old to have are what they are by default.
    before, now = as_dict(restore_config(checkpoint).model), as_dict(run.config.model)
    changes = [
        f"model.{key} = {before.get(key)!r} there, {now.get(key)!r} here"
        for key in model_differences(before, now)
    ]
    try:
        load_weights(run.learner.model, checkpoint.weights, path)
    except CheckpointError as error:
        if not changes:
            raise
        remedy = f"give the settings that it has there{arch_of(checkpoint, run)}"
        raise CheckpointError(f"{error}; {', '.join(changes)}: {remedy}") from None
    for change in changes:
        notice(f"{path}: {change}")


def restore(run: Run, checkpoint: Checkpoint, path: Path, resets: Collection[str]) -> None:
    """Put a run where a checkpoint left it, but for what is reset."""
    saved = saved_run(checkpoint, path)
    load_part = load_adapter if run.base else load_weights
    load_part(run.learner.model, checkpoint.weights, path)
    objective = of_objective(run.learner.parameters)
    for name, item in checkpoint.objective.items():
        if name in objective and item.shape != objective[name].shape:
            raise CheckpointError(
                f"{path}: objective.{name} has shape {tuple(item.shape)}, the objective wants "
                f"{tuple(objective[name].shape)}"
            )
    for name in copy_tensors(objective, checkpoint.objective):
        notice(f"{path}: has no {name}, which the objective needs; it begins anew")
    average = {} if run.learner.average is None else run.learner.average.tensors
    missing = copy_tensors(average, checkpoint.ema or checkpoint.weights)
    if not all(map(is_of_head, missing)):
        raise CheckpointError(f"{path}: its moving average is of another model")
    if run.learner.updater.consolidation is not None:
        run.learner.updater.consolidation.restore(checkpoint.ewc, path)
    schedule, scale = saved.get("schedule", {}), saved.get("loss_scale")
    position = Position(**{name: saved[name] for name in Position().as_dict().keys() & saved.keys()})
    if "reset_optimizer" not in resets:
        restore_optimizer(run.learner.updater.optimizer, run.learner.parameters, checkpoint.optimizer)
        if (
            scale is not None
            and run.learner.updater.scale.dynamic
            and checkpoint.config["precision"] == "fp16"
        ):
            run.learner.updater.scale.value, run.learner.updater.scale.good_updates = (
                scale["value"],
                scale["good_updates"],
            )
    if "reset_lr_scheduler" in resets:
        position.schedule_start, position.rate_factor = position.update, 1.0
    else:
        with blaming(path, "take another checkpoint of the run", CheckpointError):
            run.learner.schedule.load_state_dict(schedule)
    if "reset_dataloader" in resets:
        position.epoch, position.part, position.batch = 1, 0, 0
    if "reset_meters" in resets:
        position.best, position.stale, position.validated = None, 0, 0
        position.seconds, position.timed_from = 0.0, position.update
    run.position = position
