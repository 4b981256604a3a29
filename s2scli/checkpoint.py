"""The checkpoint: one safetensors file with all that generating, and in the last one resuming, needs.

Tensors: `model.NAME`, `tokenizer.source`, unless there is none, and `tokenizer.target` (documents as bytes), where the
dataset has a shortlist table `shortlist.targets` and `shortlist.frequent` (see data/shortlist.py), and, to resume,
`optimizer.KEY.NAME`, `ema.NAME` and `objective.NAME`.
The header's metadata holds JSON: the format version, the training config with the
model's own, the dataset's languages and limits, and the state of the run. Nothing is unpickled or evaluated.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from s2scli.checkpoint_file import (
    BEST,
    FORMAT,
    LAST,
    SIDES,
    VERSION,
    epoch_checkpoint,
    epoch_checkpoints,
    find_checkpoint,
    open_checkpoint,
    sides_of,
)
from s2scli.configs.train import TrainConfig
from s2scli.data.shortlist import Shortlist
from s2scli.errors import CheckpointError
from s2scli.io import write_atomically
from s2scli.models.base import Model, build_model, unique_parameters
from s2scli.nn.sharded import like
from s2scli.text.tokenizer import Tokenizer, load_tokenizer

__all__ = [
    "BEST",
    "LAST",
    "SIDES",
    "Checkpoint",
    "check_vocabularies",
    "epoch_checkpoint",
    "epoch_checkpoints",
    "find_checkpoint",
    "load_checkpoint",
    "load_weights",
    "restore_config",
    "restore_model",
    "save_checkpoint",
    "vocabulary_sizes",
]

# Groups of tensors in a checkpoint, "GROUP.NAME" in the file; those after the first are for resuming alone.
_GROUPS = {"model": "weights", "optimizer": "optimizer", "ema": "ema", "objective": "objective"}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint file holds.

    config: the resolved training settings, as plain values. languages, limits: of the dataset, by side. shortlist: of
    the dataset, if it has one.
    run: position, counters and figures, as JSON values. resumable: whether it holds all that resuming needs; that
    alone needs optimizer, tensors by "KEY.PARAMETER", ema, the weights' moving average, and objective, the parameters
    that only training has. Each of them may be empty.
    """

    config: Mapping[str, Any]
    tokenizers: Mapping[str, Tokenizer]
    dataset: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    run: Mapping[str, Any] = field(default_factory=dict)
    resumable: bool = False
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    ema: Mapping[str, Tensor] = field(default_factory=dict)
    objective: Mapping[str, Tensor] = field(default_factory=dict)
    shortlist: Shortlist | None = None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that the file is whole or not there."""
    tensors = {
        f"{group}.{name}": tensor
        for group, attribute in _GROUPS.items()
        for name, tensor in getattr(checkpoint, attribute).items()
    }
    for side, tokenizer in checkpoint.tokenizers.items():
        tensors[f"tokenizer.{side}"] = torch.frombuffer(bytearray(tokenizer.to_bytes()), dtype=torch.uint8)
    if checkpoint.shortlist is not None:
        tensors |= {f"shortlist.{name}": tensor for name, tensor in vars(checkpoint.shortlist).items()}
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "config": json.dumps(checkpoint.config, ensure_ascii=False),
        "dataset": json.dumps(checkpoint.dataset, ensure_ascii=False),
        "run": json.dumps(checkpoint.run, ensure_ascii=False),
        "resumable": json.dumps(checkpoint.resumable),
    }
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with write_atomically(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata=metadata)
        except SafetensorError as error:
            # safetensors reports a failed write as text: "… No space left on device (os error 28)".
            number = re.search(r"os error (\d+)", str(error))
            raise (
                OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))
            ) from None


def load_checkpoint(path: Path, *, device: torch.device | str = "cpu", resume: bool = False) -> Checkpoint:
    """Read a checkpoint's weights, mapped from the file, and with `resume` all that resuming needs.

    Raises CheckpointError for a file that is no checkpoint, is cut short or is of a newer format.
    """
    with open_checkpoint(path, framework="pt", device=str(device)) as (stream, header):
        groups: dict[str, dict[str, Tensor]] = {attribute: {} for attribute in _GROUPS.values()}
        for full_name in stream.keys():  # noqa: SIM118 (not a dict)
            group, _, name = full_name.partition(".")
            if group == "model" or (resume and group in _GROUPS):
                groups[_GROUPS[group]][name] = stream.get_tensor(full_name)
        tokenizers = {
            side: load_tokenizer(stream.get_tensor(f"tokenizer.{side}").cpu().numpy().tobytes())
            for side in sides_of(header)
        }
        shortlist = _read_shortlist(stream, tokenizers)
    return Checkpoint(
        config=header["config"],
        tokenizers=tokenizers,
        dataset=header["dataset"],
        run=header["run"],
        resumable=resume and header["resumable"],
        shortlist=shortlist,
        **groups,
    )


def _read_shortlist(stream: Any, tokenizers: Mapping[str, Tokenizer]) -> Shortlist | None:
    """The shortlist table of an open checkpoint, or None; ValueError where it is of other vocabularies."""
    if "shortlist.targets" not in stream.keys():  # noqa: SIM118 (not a dict)
        return None
    shortlist = Shortlist(*(stream.get_tensor(f"shortlist.{name}") for name in ("targets", "frequent")))
    if (len(shortlist.targets), len(shortlist.frequent)) != vocabulary_sizes(tokenizers):
        raise ValueError("the shortlist is of other vocabularies")
    return shortlist


def vocabulary_sizes(tokenizers: Mapping[str, Tokenizer]) -> tuple[int, int]:
    """The sizes of the source and the target vocabulary; 0 where there is no source."""
    source, target = (len(tokenizers[side]) if side in tokenizers else 0 for side in SIDES)
    return source, target


def check_vocabularies(
    own: Mapping[str, Tokenizer], path: Path, tokenizers: Mapping[str, Tokenizer], data: Path, remedy: str
) -> None:
    """CheckpointError, naming both vocabularies, where a checkpoint's own are not those of a dataset."""
    for side in own:
        of_model, of_data = own[side], tokenizers[side]
        if of_model.fingerprint != of_data.fingerprint:
            raise CheckpointError(
                f"{path}: trained with {side} vocabulary {of_model.fingerprint} ({len(of_model):,} symbols, "
                f"{of_model.kind}), but {data} has {of_data.fingerprint} ({len(of_data):,} symbols, {of_data.kind}); "
                f"{remedy}"
            )


def restore_config(checkpoint: Checkpoint) -> TrainConfig:
    """The training settings a checkpoint was made with."""
    return TrainConfig.resolve(checkpoint.config, {})


def load_weights(model: Model, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copy a checkpoint's weights into a model; CheckpointError names what does not fit."""
    parameters = unique_parameters(model)
    if parameters.keys() != weights.keys():
        different = sorted(parameters.keys() ^ weights.keys())
        raise CheckpointError(f"{path}: the weights are of another model; first difference: {different[0]}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.shape != weights[name].shape:
                raise CheckpointError(
                    f"{path}: {name} has shape {tuple(weights[name].shape)}, the model wants {tuple(parameter.shape)}"
                )
            parameter.copy_(like(weights[name], parameter))


def restore_model(checkpoint: Checkpoint, path: Path) -> Model:
    """The checkpoint's model, ready to generate with."""
    model = build_model(restore_config(checkpoint).model, *vocabulary_sizes(checkpoint.tokenizers))
    load_weights(model, checkpoint.weights, path)
    return model.eval()
