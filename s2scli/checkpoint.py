"""The checkpoint: one safetensors file with all that generating, and in the last one resuming, needs.

Tensors: `model.NAME`, `tokenizer.source`, unless there is none, and `tokenizer.target` (documents as bytes), where the
dataset has a shortlist table `shortlist.targets` and `shortlist.frequent` (see data/shortlist.py), and, to resume,
`optimizer.KEY.NAME`, `ema.NAME`, `objective.NAME`, and of elastic weight consolidation `ewc.fisher.NAME` and
`ewc.anchor.NAME`. An adapter's checkpoint holds the weights of that part alone, `model.adapter.NAME`, and no
tokenizers. The header's metadata holds JSON: the format version, the training config with the
model's own, the dataset's languages and limits, and the state of the run. Nothing is unpickled or evaluated.
"""

from __future__ import annotations

import hashlib
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
    FORMAT,
    SIDES,
    VERSION,
    open_checkpoint,
)
from s2scli.configs.model import ModelConfig
from s2scli.configs.train import TrainConfig
from s2scli.console import notice
from s2scli.data.facts import ModelColumns
from s2scli.data.shortlist import Shortlist
from s2scli.data.shortlist_table import SHORTLIST
from s2scli.data.source_form import SourceForm
from s2scli.data.tokenizers import read_tokenizers
from s2scli.errors import CheckpointError, DataError, UsageError
from s2scli.features.form import FeatureForm
from s2scli.io import write_atomically
from s2scli.models.adapters import is_of_adapter
from s2scli.models.base import Model
from s2scli.models.factory import build_model, heads_of, is_of_head, kept_tensors
from s2scli.models.outline import outline
from s2scli.nn.initial import Undrawn
from s2scli.nn.sharded import like
from s2scli.record import to_line
from s2scli.schema import as_dict, spelled
from s2scli.text.tokenizer import Tokenizer

# So many of a tensor's elements are looked at when it is read; training that went wrong spares none of its layers.
_LOOKED_AT = 1 << 16
# Groups of tensors in a checkpoint, "GROUP.NAME" in the file; those after the first are for resuming alone.
_GROUPS = {"model": "weights", "optimizer": "optimizer", "ema": "ema", "objective": "objective", "ewc": "ewc"}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint file holds.

    config: the resolved training settings, as plain values. languages, limits: of the dataset, by side. shortlist: of
    the dataset, if it has one.
    run: position, counters and figures, as JSON values. resumable: whether it holds all that resuming needs; that
    alone needs optimizer, tensors by "KEY.PARAMETER", ema, the weights' moving average, objective, the parameters that
    only training has, and ewc, what weights are held to. Each of them may be empty. base: of an
    adapter's checkpoint, which has no tokenizers, the fingerprint of the model that it is for; else nothing.
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
    ewc: Mapping[str, Tensor] = field(default_factory=dict)
    shortlist: Shortlist | None = None
    base: str = ""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that the file is whole or not there."""
    tensors = {
        f"{group}.{name}": tensor
        for group, attribute in _GROUPS.items()
        for name, tensor in getattr(checkpoint, attribute).items()
    }
    for side, tokenizer in checkpoint.tokenizers.items() if not checkpoint.base else ():
        tensors[f"tokenizer.{side}"] = torch.frombuffer(bytearray(tokenizer.to_bytes()), dtype=torch.uint8)
    if checkpoint.shortlist is not None and not checkpoint.base:
        table = checkpoint.shortlist
        tensors |= dict(zip(SHORTLIST, (table.targets, table.frequent), strict=True))
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "config": to_line(checkpoint.config),
        "dataset": to_line(checkpoint.dataset),
        "run": to_line(checkpoint.run),
        "resumable": json.dumps(checkpoint.resumable),
        **({"base": checkpoint.base} if checkpoint.base else {}),
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


def load_checkpoint(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    resume: bool = False,
    may_be_adapter: bool = False,
) -> Checkpoint:
    """Read a checkpoint's weights, mapped from the file, and with `resume` all that resuming needs.

    Raises CheckpointError for a file that is no checkpoint, is cut short or is of a newer format, and for one that
    holds an adapter alone, unless it may be one.
    """
    with open_checkpoint(path, framework="pt", device=str(device)) as (stream, header):
        if header["base"] and not may_be_adapter:
            raise CheckpointError(
                f"{path}: holds an adapter alone, of the model of fingerprint {header['base']}; give that model, "
                f"and to s2s generate this as --adapter NAME={path}, or make one checkpoint of both: s2s average "
                f"--inputs MODEL --merge-adapter {path}"
            )
        _check_config(header["config"])
        SourceForm.from_meta(header["dataset"].get("source_form", {}))
        FeatureForm.of_source(header["dataset"])
        groups: dict[str, dict[str, Tensor]] = {attribute: {} for attribute in _GROUPS.values()}
        for full_name in stream.keys():  # noqa: SIM118 (not a dict)
            group, _, name = full_name.partition(".")
            if group == "model" or (resume and group in _GROUPS):
                groups[_GROUPS[group]][name] = stream.get_tensor(full_name)
        _check_groups(groups)
        tokenizers = {} if header["base"] else read_tokenizers(stream, header)
        shortlist = _read_shortlist(stream, tokenizers)
    return Checkpoint(
        config=header["config"],
        tokenizers=tokenizers,
        dataset=header["dataset"],
        run=header["run"],
        resumable=resume and header["resumable"],
        shortlist=shortlist,
        base=header["base"],
        **groups,
    )


def check_base(adapter: Checkpoint, path: Path, base: str, name: str) -> None:
    """CheckpointError where the checkpoint at a path is no adapter, or one of another model than the one named.

    base: the fingerprint of that model.
    """
    if not adapter.base:
        raise CheckpointError(f"{path}: holds a whole model, and no adapter; s2s train --adapter makes one")
    if adapter.base != base:
        raise CheckpointError(
            f"{path}: is an adapter of the model of fingerprint {adapter.base}, and {name} has {base}; give the model "
            "that it was trained beside"
        )


def _check_config(config: Mapping[str, Any]) -> None:
    """DataError where a header's training settings cannot be, or are not of the types that settings have."""
    try:
        resolved = as_dict(TrainConfig.resolve(config, {}))
    except UsageError as error:
        raise DataError(f"config: {error}") from None
    for section, values in [
        ("", config),
        *((key, value) for key, value in config.items() if isinstance(value, dict)),
    ]:
        known = resolved.get(section, {}) if section else resolved
        for key, value in values.items():
            if value is not None and key in known and _kind(value) != _kind(known[key]):
                name = f"{section}.{key}" if section else key
                raise DataError(
                    f"config.{name} = {spelled(value)} is not valid; wanted: as {spelled(known[key])}"
                )


def _kind(value: Any) -> type[Any]:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def _check_groups(groups: Mapping[str, Mapping[str, Tensor]]) -> None:
    """DataError where what a checkpoint holds to resume with does not fit its own weights."""
    weights = groups["weights"]
    for name, tensor in groups["ema"].items():
        if name not in weights or tensor.shape != weights[name].shape:
            raise DataError(f"ema.{name} has no weight of its shape {tuple(tensor.shape)}")
    for full_name, tensor in groups["ewc"].items():
        name = full_name.partition(".")[2]
        if name in weights and tensor.shape != weights[name].shape:
            raise DataError(f"ewc.{full_name} has no weight of its shape {tuple(tensor.shape)}")
    own = {f"objective.{name}": tensor for name, tensor in groups["objective"].items()}
    trained = {**weights, **own}
    for full_name, tensor in groups["optimizer"].items():
        shape = trained[name].shape if (name := full_name.partition(".")[2]) in trained else None
        # A number, one for each weight, or one for each row or column.
        if shape is None or (
            tensor.dim()
            and not (
                tensor.dim() == len(shape)
                and all(own in (1, size) for own, size in zip(tensor.shape, shape, strict=True))
            )
        ):
            raise DataError(f"optimizer.{full_name} has no weight that its shape {tuple(tensor.shape)} fits")


def _read_shortlist(stream: Any, tokenizers: Mapping[str, Tokenizer]) -> Shortlist | None:
    """The shortlist table of an open checkpoint, or None; DataError where it is of other vocabularies."""
    found = [name for name in SHORTLIST if name in stream.keys()]  # noqa: SIM118 (not a dict)
    if not found:
        return None
    if len(found) < len(SHORTLIST):
        raise DataError(f"{found[0]} is there without the other of {' and '.join(SHORTLIST)}")
    targets, frequent = (stream.get_tensor(name) for name in SHORTLIST)
    source, target = (len(tokenizers[side]) for side in SIDES)
    for name, table, shape, least in (
        (SHORTLIST[0], targets, (source, *targets.shape[1:2]), -1),
        (SHORTLIST[1], frequent, (target,), 0),
    ):
        is_whole = (
            table.dtype in (torch.int32, torch.int64) and table.shape == shape and table.dim() == len(shape)
        )
        if not is_whole or not bool(((table >= least) & (table < target)).all()):
            raise DataError(f"{name} is of other vocabularies")
    return Shortlist(targets, frequent, tokenizers["target"].special.count)


def first_not_finite(tensors: Mapping[str, Tensor], *, every: bool = True) -> str | None:
    """The name of the first tensor that holds NaN or an infinity, or None.

    every: look at each of its elements; else at some that are evenly spaced, a bounded number of them.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        stride = 1 if every else max(1, tensor.numel() // _LOOKED_AT)
        elements = tensor.flatten()[::stride]
        # A sum shows what is in it ten times as fast as looking at each, but may itself be too large.
        if not elements.sum().isfinite() and not elements.isfinite().all():
            return name
    return None


def fingerprint_of(weights: Mapping[str, Tensor]) -> str:
    """A short hash of weights, with their names and shapes: what is made for a model says by it which that is."""
    found = hashlib.sha256()
    for name in sorted(weights):
        item = weights[name].detach().cpu().contiguous()
        found.update(f"{name} {item.dtype} {tuple(item.shape)}\n".encode())
        found.update(item.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


def check_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    """CheckpointError where a checkpoint's weights are not finite, as where training has diverged."""
    name = first_not_finite(weights, every=False)
    if name is not None:
        raise CheckpointError(
            f"{path}: its weights are not finite ({name} holds NaN or an infinity), so nothing can be done with them: "
            "the training has diverged; take an earlier checkpoint, and train with a lower --lr"
        )


def restore_config(checkpoint: Checkpoint) -> TrainConfig:
    """The training settings a checkpoint was made with."""
    return TrainConfig.resolve(checkpoint.config, {})


def load_weights(model: Model, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copy a checkpoint's weights into a model; CheckpointError names what does not fit, or is not finite.

    A head that the checkpoint does not have stays as it was drawn, and one that the model does not have is left out.
    A model's adapter, if it has one, is a part of its own: see `load_adapter`.
    """
    check_finite(weights, path)
    kept = {name: item for name, item in kept_tensors(model).items() if not is_of_adapter(name)}
    ours, theirs = heads_of(kept), heads_of(weights)
    for name in sorted(ours - theirs):
        notice(f"{path}: has no {name} head; it begins anew")
    for name in sorted(theirs - ours):
        notice(f"{path}: its {name} head is left out")
    kept = {name: item for name, item in kept.items() if not is_of_head(name) or name in weights}
    weights = {name: item for name, item in weights.items() if not is_of_head(name) or name in kept}
    _check_weights(kept, weights, path)
    _copy(weights, kept)


def load_adapter(model: Model, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copy the weights of an adapter's checkpoint into that part of a model; errors as in `load_weights`."""
    check_finite(weights, path)
    kept = {name: item for name, item in kept_tensors(model).items() if is_of_adapter(name)}
    _check_weights(kept, weights, path)
    _copy(weights, kept)


@torch.no_grad()
def _copy(weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        tensor.copy_(like(weights[name], tensor))


def _check_weights(parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Path) -> None:
    """CheckpointError, with the first one, where weights have not the names and shapes of a model's parameters."""
    if parameters.keys() != weights.keys():
        different = sorted(parameters.keys() ^ weights.keys())
        if weights and all(name.startswith("encoder_") for name in weights):
            raise CheckpointError(
                f"{path}: holds an encoder alone; s2s train --init-encoder {path} begins a Transformer's with it"
            )
        raise CheckpointError(f"{path}: the weights are of another model; first difference: {different[0]}")
    for name, parameter in parameters.items():
        if parameter.shape != weights[name].shape:
            raise CheckpointError(
                f"{path}: {name} has shape {tuple(weights[name].shape)}, the model wants {tuple(parameter.shape)}"
            )
        if parameter.is_floating_point() != weights[name].is_floating_point():
            raise CheckpointError(
                f"{path}: {name} is of type {weights[name].dtype}, the model wants {parameter.dtype}"
            )


def restore_model(checkpoint: Checkpoint, path: Path) -> Model:
    """The checkpoint's model, ready to generate with.

    Raises CheckpointError where its settings are not those of its weights, and then has made neither.
    """
    with Undrawn():
        _check_weights(kept_tensors(model_outline(checkpoint, path)), checkpoint.weights, path)
        model = build_model(*_facts_of(checkpoint))
    load_weights(model, checkpoint.weights, path)
    return model.eval()


def model_outline(checkpoint: Checkpoint, path: Path) -> Model:
    """The checkpoint's model without memory for its weights; CheckpointError where its settings are of none."""
    config, columns, heads = _facts_of(checkpoint)
    try:
        return outline(config, columns, len(checkpoint.weights), path, heads)
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _facts_of(checkpoint: Checkpoint) -> tuple[ModelConfig, ModelColumns, set[str]]:
    """What `build_model` makes a checkpoint's model of."""
    columns = ModelColumns.of(checkpoint.tokenizers, FeatureForm.of_source(checkpoint.dataset))
    return restore_config(checkpoint).model, columns, heads_of(checkpoint.weights)
