"""`s2s average`: the mean of several checkpoints' weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from s2scli.checkpoint import Checkpoint, epoch_checkpoints, load_checkpoint, save_checkpoint
from s2scli.configs.average import AverageConfig
from s2scli.console import counted, notice
from s2scli.errors import CheckpointError, UsageError
from s2scli.needs import note_needs
from s2scli.text.sameness import difference


@dataclass(frozen=True, kw_only=True)
class AverageResult:
    """Which checkpoints were averaged into which."""

    inputs: tuple[Path, ...]
    output: Path


def average(config: AverageConfig) -> AverageResult:
    """Write a checkpoint whose weights are the mean of those of the inputs; all else is the last one's."""
    note_needs(config)
    paths = _choose(config)
    last = load_checkpoint(paths[-1])
    sums = {name: weight.double() for name, weight in last.weights.items()}
    for path in paths[:-1]:
        other = load_checkpoint(path)
        _check_same_model(other, last, path)
        for name, total in sums.items():
            torch.add(total, other.weights[name], out=total)
    weights = {name: (total / len(paths)).to(last.weights[name].dtype) for name, total in sums.items()}
    save_checkpoint(config.output.resolve(), replace(last, weights=weights))
    notice(f"{config.output}: the mean of {', '.join(path.name for path in paths)}")
    return AverageResult(inputs=tuple(paths), output=config.output)


def _check_same_model(one: Checkpoint, other: Checkpoint, path: Path) -> None:
    """CheckpointError where two checkpoints are not of one model over one vocabulary."""
    if one.config["model"] != other.config["model"]:
        differing = sorted(one.config["model"].items() ^ other.config["model"].items())
        raise CheckpointError(f"{path}: not the others' model; first difference: model.{differing[0][0]}")
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
    if not config.num_epoch_checkpoints:
        for path in config.inputs:
            if path.is_dir():
                raise UsageError(
                    f"--inputs {path}: is a folder; name checkpoint files in it, or give --num-epoch-checkpoints N"
                )
        return list(config.inputs)
    if len(config.inputs) != 1 or not config.inputs[0].is_dir():
        raise UsageError("--num-epoch-checkpoints wants one run folder as --inputs")
    found = list(epoch_checkpoints(config.inputs[0]).values())
    if len(found) < config.num_epoch_checkpoints:
        raise CheckpointError(
            f"{config.inputs[0]}: {counted(len(found), 'epoch checkpoint')}, --num-epoch-checkpoints wants "
            f"{config.num_epoch_checkpoints}; train with --keep-last-epochs {config.num_epoch_checkpoints}"
        )
    return found[-config.num_epoch_checkpoints :]
