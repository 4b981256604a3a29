"""`s2s average`: the mean of several checkpoints' weights, or a point between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from s2scli.checkpoint import (
    Checkpoint,
    check_finite,
    load_checkpoint,
    restore_config,
    restore_model,
    save_checkpoint,
)
from s2scli.checkpoint_file import find_checkpoint
from s2scli.configs.average import AverageConfig
from s2scli.configs.model import model_differences
from s2scli.console import counted, notice, warn
from s2scli.errors import CheckpointError, UsageError
from s2scli.files import keep_inputs
from s2scli.inference.adapting import put_adapter
from s2scli.models.factory import kept_tensors
from s2scli.needs import note_needs
from s2scli.schema import as_dict
from s2scli.text.sameness import difference
from s2scli.training.epochs import (
    best_to_average,
    check_output,
    epochs_to_average,
    updates_to_average,
)


@dataclass(frozen=True, kw_only=True)
class AverageResult:
    """Which checkpoints were averaged into which."""

    inputs: tuple[Path, ...]
    output: Path


@dataclass(frozen=True)
class _Kind:
    """Checkpoints of a run folder: what they are called, which flag of training keeps them, and which there are."""

    name: str
    kept_by: str
    of: Callable[[Path], tuple[list[Path], list[Path]]]


_KEPT = {
    "--num-epoch-checkpoints": _Kind("epoch", "--keep-last-epochs", epochs_to_average),
    "--num-update-checkpoints": _Kind("update", "--keep-interval-updates", updates_to_average),
    "--num-best-checkpoints": _Kind("best", "--keep-best-checkpoints", best_to_average),
}


def average(config: AverageConfig) -> AverageResult:
    """Write a checkpoint of the mean of the weights of the inputs, each with its share; all else is the last one's.

    Raises UsageError where that would replace an input or a run's own checkpoint, and CheckpointError for inputs that
    are not of one model or whose weights are not finite.
    """
    note_needs(config)
    keep_inputs("--output", config.output, config.inputs)
    check_output(config.output)
    if config.merge_adapter is not None:
        return _merge(config, config.merge_adapter)
    paths = _choose(config)
    last = _load(paths[-1])
    *shares, share = config.weights or [1.0] * len(paths)
    sums = {name: weight.double() * share for name, weight in last.weights.items()}
    for path, own in zip(paths[:-1], shares, strict=True):
        other = _load(path)
        _check_same_model(other, last, path)
        for name, total in sums.items():
            torch.add(total, other.weights[name], alpha=own, out=total)
    whole = 1.0 if config.weights else len(paths)
    weights = {name: (total / whole).to(last.weights[name].dtype) for name, total in sums.items()}
    save_checkpoint(config.output.resolve(), replace(last, weights=weights))
    names = [str(path) if config.weights else path.name for path in paths]
    said = [f"{weight:g} × {name}" for weight, name in zip(config.weights, names, strict=False)] or names
    notice(f"{config.output}: the mean of {', '.join(said)}")
    return AverageResult(inputs=tuple(paths), output=config.output)


def _merge(config: AverageConfig, adapter: Path) -> AverageResult:
    """Write the checkpoint of a model with an adapter in its weights; UsageError where that cannot be."""
    path, of_adapter = find_checkpoint(config.inputs[0]), find_checkpoint(adapter)
    keep_inputs("--output", config.output, [path, of_adapter])
    checkpoint = _load(path)
    model = restore_model(checkpoint, path)
    put_adapter(model, of_adapter, checkpoint, path, must_merge=True)
    weights = {name: item.detach() for name, item in kept_tensors(model).items()}
    save_checkpoint(config.output.resolve(), replace(checkpoint, weights=weights))
    notice(f"{config.output}: {path} with the adapter {of_adapter} in its weights")
    return AverageResult(inputs=(path, of_adapter), output=config.output)


def _load(path: Path) -> Checkpoint:
    checkpoint = load_checkpoint(path)
    check_finite(checkpoint.weights, path)
    return checkpoint


def _check_same_model(one: Checkpoint, other: Checkpoint, path: Path) -> None:
    """CheckpointError where two checkpoints are not of one model over one vocabulary."""
    # Settings that one of them is too old to have are what they are by default.
    settings = [as_dict(restore_config(item).model) for item in (one, other)]
    for name in model_differences(*settings):
        here, there = (item.get(name) for item in settings)
        raise CheckpointError(
            f"{path}: not the others' model: model.{name} = {here!r}, theirs {there!r}; average checkpoints of one run"
        )
    directions = [bool(item.config.get("right_to_left")) for item in (one, other)]
    if directions[0] != directions[1]:
        there = "right to left" if directions[1] else "left to right"
        raise CheckpointError(
            f"{path}: writes from {there}, unlike the others; average checkpoints of one run"
        )
    for side in one.tokenizers:
        if differs := difference(other.tokenizers[side], one.tokenizers[side]):
            raise CheckpointError(
                f"{path}: not the others' {side} vocabulary: {differs}; average checkpoints of one run, or of runs on "
                "datasets with one vocabulary (s2s preprocess --vocab-from)"
            )
    shapes = {name: weight.shape for name, weight in other.weights.items()}
    if {name: weight.shape for name, weight in one.weights.items()} != shapes:
        raise CheckpointError(f"{path}: its weights have other names or shapes than the others'")


def _choose(config: AverageConfig) -> list[Path]:
    """The checkpoints to average, the newest, or the best, last."""
    if not config.numbers:
        for path in config.inputs:
            if path.is_dir():
                raise UsageError(
                    f"--inputs {path}: is a folder; name checkpoint files in it, or give --num-epoch-checkpoints N"
                )
        return list(config.inputs)
    ((flag, wanted),) = config.numbers.items()
    if len(config.inputs) != 1 or not config.inputs[0].is_dir():
        raise UsageError(f"{flag} wants one run folder as --inputs")
    folder, kind = config.inputs[0], _KEPT[flag]
    found, others = kind.of(folder)
    if others:
        warn(
            f"{', '.join(str(path) for path in others)}: left out, since not of the run as it stands (broken, or of "
            "before it was reset or went back to another checkpoint)"
        )
    if not found:
        raise CheckpointError(
            f"{folder}: no {kind.name} checkpoints, {flag} wants {wanted}; train with {kind.kept_by} {wanted}"
        )
    if len(found) < wanted:
        notice(
            f"{folder}: {counted(len(found), f'{kind.name} checkpoint')}, fewer than {flag} {wanted}; the mean is of "
            f"what there is ({kind.kept_by} {wanted} keeps as many in a longer run)"
        )
    return found[-wanted:]
