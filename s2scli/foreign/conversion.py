"""Making a checkpoint of ours of a model of another toolkit that a reader has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from s2scli.checkpoint import Checkpoint
from s2scli.components import FOREIGN_FAMILIES
from s2scli.configs.train import TrainConfig
from s2scli.data.facts import ModelColumns
from s2scli.errors import CheckpointError, UsageError, did_you_mean
from s2scli.foreign.base import ForeignModel
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.weights import to_ours
from s2scli.models.factory import kept_tensors
from s2scli.models.outline import outline
from s2scli.schema import as_dict


def recognized(source: ForeignSource) -> str:
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
    """The checkpoint of a model that its reader has found; CheckpointError where its parts do not fit each other.

    Of a model that is an encoder alone it holds no other weights.
    """
    config = _train_config(found)
    # A half has fewer tensors than the model that is built around it.
    most = len(found.table) * (4 if found.only else 1)
    like = outline(config.model, ModelColumns.of(found.tokenizers), most, found.path)
    shapes = {
        name: tensor.shape for name, tensor in kept_tensors(like).items() if name.startswith(found.only)
    }
    weights: dict[str, Tensor] = to_ours(found.table, found.weights, shapes, found.path, found.unused)
    return Checkpoint(
        config=as_dict(config),
        tokenizers=found.tokenizers,
        dataset=_dataset(found),
        weights=weights,
        shortlist=found.shortlist,
    )


def _train_config(found: ForeignModel) -> TrainConfig:
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
