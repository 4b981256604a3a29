"""What has changed since a checkpoint was written: what a run may go on with, and what that takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from s2scli.checkpoint import Checkpoint
from s2scli.checkpoint_file import LAST
from s2scli.configs.model import training_only
from s2scli.configs.sections import COMPONENTS, SECTIONS
from s2scli.configs.train import TrainConfig
from s2scli.console import counted, notice
from s2scli.data.tokenizers import check_vocabularies
from s2scli.errors import CheckpointError
from s2scli.schema import as_dict, by_epoch, defaults_of, names_that_decide
from s2scli.training.run import Run

# Settings that decide what the checkpoint's contents mean; each with what is to be reset so that the run does
# without those. An entry "section." stands for all of a section.
_NEEDED_BY: dict[str, tuple[str, ...]] = {
    "model.": (),
    "adapter.": (),
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
# Settings without which the figures of validations cannot be compared: of all of them, of the loss, and of what scores
# translations.
_FIGURES_NEED = ("max_source_length",)
_LOSS_NEEDS = ("objective.", "noise.")
_SCORES_NEED = ("eval_beam", "decode_and_evaluate")
# The components of sections that earlier versions did not have, and settings that were not what they are by default.
_BEFORE = {"noise": {"name": "none"}}
EARLIER = {"matrix_products": "onednn"}
RESETS = ("reset_optimizer", "reset_lr_scheduler", "reset_dataloader", "reset_meters")
ANEW = "give another --save-dir to start anew"


def check_changes(run: Run, checkpoint: Checkpoint, path: Path, resets: set[str]) -> None:
    """Say which settings have changed; CheckpointError where the vocabulary, the data or what must stay has.

    resets: names of RESETS, what the run goes on without.
    """
    check_same_vocabularies(run, checkpoint, path)
    _check_text(run, checkpoint, path, resets)
    _check_settings(run, checkpoint, path, resets)


def flag_of(name: str) -> str:
    """reset_optimizer → --reset-optimizer."""
    return "--" + name.replace("_", "-")


def _flags(names: Collection[str]) -> str:
    return " ".join(flag_of(name) for name in RESETS if name in names)


def check_same_vocabularies(run: Run, checkpoint: Checkpoint, path: Path) -> None:
    """CheckpointError where a checkpoint's vocabularies are not those of the run's data."""
    remedy = f"make the dataset with the model's own vocabulary: s2s preprocess --vocab-from {path}"
    if path == run.save_dir / LAST:
        remedy = f"go on with data that has the run's own vocabulary (s2s preprocess --vocab-from {path}), or {ANEW}"
    check_vocabularies(checkpoint.tokenizers, path, run.translator.tokenizers, run.config.data, remedy)


def _meters(run: Run) -> set[str]:
    """What is to be reset for figures of validations to begin anew."""
    return {"reset_meters", *(["reset_lr_scheduler"] if run.learner.schedule.state_dict() else [])}


def _check_text(run: Run, checkpoint: Checkpoint, path: Path, resets: set[str]) -> None:
    """CheckpointError where the position in the training data, or the best figure, is of other data."""
    problems, missing = [], set()
    for split, what, needs in (
        ("train", "trained on another training split", {"reset_dataloader"}),
        ("valid", "its best figure is of another validation split", _meters(run)),
    ):
        if split not in run.data.splits or (split == "valid" and checkpoint.run.get("best") is None):
            continue
        # Checkpoints of earlier versions do not know what they were validated on.
        before, now = checkpoint.dataset.get(split), run.data.dataset.fingerprint(run.data.splits[split])
        if before and before != now and needs - resets:
            problems.append(f"{what} ({before}, that of {run.config.data} is {now})")
            missing |= needs - resets
    if problems:
        raise CheckpointError(
            f"{path}: {', and '.join(problems)}; give {_flags(missing)} to go on with "
            f"{'this one' if len(problems) == 1 else 'these'}, or "
            f"{_other_way(run, path)}"
        )


def _needed_by(run: Run, checkpoint: Checkpoint) -> dict[str, tuple[str, ...]]:
    """_NEEDED_BY, with what this run and its best figure need."""
    needed = _NEEDED_BY | (_NEEDED_BY_RATE if run.learner.schedule.state_dict() else {})
    if not run.data.validated_on or checkpoint.run.get("best") is None:
        return needed
    metric = run.config.best_checkpoint_metric
    keys = _FIGURES_NEED + {"loss": _LOSS_NEEDS, "ppl": ()}.get(metric, _SCORES_NEED)
    return needed | {key: (*needed.get(key, ()), *_meters(run)) for key in keys}


def _check_settings(run: Run, checkpoint: Checkpoint, path: Path, resets: set[str]) -> None:
    """Say which settings have changed; CheckpointError for those that the checkpoint's contents depend on."""
    before, now = _flat(_with_defaults(checkpoint.config, run.config)), _flat(as_dict(run.config))
    needed_by = _needed_by(run, checkpoint)
    decisive = names_that_decide(TrainConfig)
    free = {f"model.{name}" for name in training_only(type(run.config.model))}
    allowed, refused, missing = [], [], set()
    for key in sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key)):
        change = f"{key} = {before.get(key)!r} before, {now.get(key)!r} now"
        needs = next((names for start, names in needed_by.items() if key.startswith(start)), None)
        if needs is None or key in free:
            if "." in key or key in decisive:
                allowed.append(change)
        elif not needs or set(needs) - resets:
            refused.append(change)
            missing |= set(needs) - resets or {"model"}
    if refused:
        it = "it" if len(refused) == 1 else "them"
        ways = [f"set {it} back{arch_of(checkpoint, run)}"]
        if "model" not in missing:
            ways.append("give " + _flags(missing))
        if "model" not in missing or path == run.save_dir / LAST:
            ways.append(_other_way(run, path))
        raise CheckpointError(
            f"{path}: {', '.join(refused)}; a run that goes on must keep {it}: {', or '.join(ways)}"
        )
    for change in allowed:
        notice(f"resuming with {change}")


def arch_of(checkpoint: Checkpoint, run: Run) -> str:
    """What to add to a remedy where a checkpoint has another preset than the run."""
    arch = checkpoint.config.get("arch", run.config.arch)
    return "" if arch == run.config.arch else f" (its preset is --arch {arch})"


def _other_way(run: Run, path: Path) -> str:
    """What else to do where a run cannot go on as it is asked to."""
    if path == run.save_dir / LAST:
        return ANEW
    return f"begin anew with its weights alone by --finetune-from-model {path}"


def compare_updates(run: Run, checkpoint: Checkpoint) -> None:
    """Say so where an update is now made of another number of batches."""
    saved = checkpoint.config["update_freq"]
    epoch = run.position.epoch
    before = by_epoch(tuple(saved) if isinstance(saved, list) else saved, epoch)
    before *= checkpoint.run.get("processes", 1)
    if before != run.batches_per_update:
        notice(
            f"resuming with {counted(run.batches_per_update, 'batch')} an update "
            f"({by_epoch(run.config.update_freq, epoch)} × "
            f"{counted(run.processes.size, 'process')}), {before} before"
        )


def _with_defaults(saved: Mapping[str, Any], config: TrainConfig) -> dict[str, Any]:
    """A checkpoint's settings, those that its version did not have being what they were then, or are by default.

    Where it has another component than the config, as another optimizer, its settings are those that it has.
    """
    filled = {**defaults_of(TrainConfig), **EARLIER, **saved}
    for section in (*COMPONENTS, *SECTIONS):
        own, cls = saved.get(section, _BEFORE.get(section, {})), type(getattr(config, section))
        defaults = defaults_of(cls)
        filled[section] = {**(defaults if own.get("name") in (None, defaults.get("name")) else {}), **own}
    return filled


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
