"""`s2s import`: a checkpoint of ours of another toolkit's model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from s2scli.checkpoint import (
    Checkpoint,
    outline,
    save_checkpoint,
    special_symbols,
    vocabulary_sizes,
)
from s2scli.checkpoint_file import BEST, LAST
from s2scli.components import FOREIGN_FAMILIES
from s2scli.configs.importing import ImportConfig
from s2scli.configs.train import TrainConfig
from s2scli.console import counted, notice
from s2scli.errors import CheckpointError, UsageError, did_you_mean
from s2scli.foreign.base import ForeignFamily, ForeignModel
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.weights import to_ours
from s2scli.io import write_atomically
from s2scli.needs import note_needs
from s2scli.schema import as_dict
from s2scli.toml import to_toml


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """The checkpoint that was written, what kind of model it was made of, and how many parameters it has."""

    checkpoint: Path
    family: str
    parameters: int


def import_model(config: ImportConfig) -> ImportResult:
    """Write a checkpoint with the weights, settings and tokenizers of another toolkit's model.

    Raises UsageError where --save-dir holds a run, and DataError or CheckpointError, which names the file and the field
    or tensor, where the model is broken or cannot be one of ours.
    """
    note_needs(config)
    _check_folder(config.save_dir)
    source = ForeignSource(config.source)
    name = config.from_ or _recognized(source)
    family: type[ForeignFamily] = FOREIGN_FAMILIES[name]
    found = family.read(source, config)
    checkpoint = converted(found)
    config.save_dir.mkdir(parents=True, exist_ok=True)
    save_checkpoint(config.save_dir / BEST, checkpoint)
    with write_atomically(config.save_dir / "config.toml") as temporary:
        temporary.write_text(to_toml(checkpoint.config), encoding="utf-8", errors="replace")
    number = sum(tensor.numel() for tensor in checkpoint.weights.values())
    sizes = " and ".join(
        f"{counted(len(tokenizer), f'{side} symbol')}" for side, tokenizer in checkpoint.tokenizers.items()
    )
    notice(f"{config.save_dir / BEST}: {family.title}, {counted(number, 'parameter')}, {sizes}")
    return ImportResult(checkpoint=config.save_dir / BEST, family=name, parameters=number)


def _check_folder(folder: Path) -> None:
    """UsageError where a checkpoint would be lost."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--save-dir {folder}: is a file, not a folder")
    for name in (BEST, LAST):
        if (folder / name).exists():
            raise UsageError(
                f"--save-dir {folder}: holds {name} already, which would be lost; give another folder"
            )


def _recognized(source: ForeignSource) -> str:
    """The kind of model that a source looks like; CheckpointError where it looks like none."""
    for name, family in FOREIGN_FAMILIES.items():
        if family.recognizes(source):
            return name
    kind = source.config.get("model_type")
    if isinstance(kind, str):
        raise CheckpointError(
            f"{source.path}: is of model type {kind!r}, which is not supported{did_you_mean(kind, FOREIGN_FAMILIES)}"
        )
    if source.checkpoint is not None and not source.pytorch:
        raise CheckpointError(
            f"{source.checkpoint}: holds no tensors by name; give a checkpoint with its settings"
        )
    raise CheckpointError(
        f"{source.path}: looks like none of the models that are known; if it is one, say so with --from: "
        f"{', '.join(FOREIGN_FAMILIES)}"
    )


def converted(found: ForeignModel) -> Checkpoint:
    """The checkpoint of a model that its reader has found; CheckpointError where its parts do not fit each other."""
    config = train_config(found)
    symbols, sizes = special_symbols(found.tokenizers), vocabulary_sizes(found.tokenizers)
    like = outline(config.model, sizes, symbols, len(found.table), found.path)
    shapes = {name: tensor.shape for name, tensor in like.items()}
    weights: dict[str, Tensor] = to_ours(found.table, found.weights, shapes, found.path, found.unused)
    return Checkpoint(
        config=as_dict(config),
        tokenizers=found.tokenizers,
        dataset=_dataset(found),
        weights=weights,
        shortlist=found.shortlist,
    )


def train_config(found: ForeignModel) -> TrainConfig:
    """The settings of a training whose model this could be."""
    file = {"arch": found.arch, "data": "data", "precision": "fp32", "model": dict(found.model)}
    try:
        config = TrainConfig.resolve(file, {})
    except UsageError as error:
        raise CheckpointError(f"{found.path}: {error}") from None
    # What is left open is decided: the tensors have said what is tied.
    return replace(config, model=config.model.settled(one_vocabulary=False))


def _dataset(found: ForeignModel) -> Mapping[str, Any]:
    """What a checkpoint says of its dataset, as far as it is known."""
    return {
        "source_lang": found.source_lang,
        "target_lang": found.target_lang,
        "limits": {"max_source_length": 0, "max_target_length": 0, "on_long": "truncate"},
        "source_form": found.source_form.to_meta(),
        "vocabularies": {side: tokenizer.fingerprint for side, tokenizer in found.tokenizers.items()},
    }
