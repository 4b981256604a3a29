"""A model whose symbols have the ids of a folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from s2scli.foreign.vocabularies import OrderedVocabulary
from s2scli.models.transformer import TransformerModel


def renumbered(own: TransformerModel, orders: Mapping[str, OrderedVocabulary]) -> TransformerModel:
    """A copy of a model, in float32, whose symbols have the ids of the orders."""
    model = copy.deepcopy(own).float()
    assert model.encoder_embedder is not None
    tables: list[tuple[nn.Module, str, str]] = [
        (model.encoder_embedder.table, "weight", "source"),
        (model.decoder_embedder.table, "weight", "target"),
        (model.output, "weight", "target"),
        (model.output, "bias", "target"),
    ]
    found = [(module, name, getattr(module, name), orders[side]) for module, name, side in tables]
    # What is tied stays so: for each table of ours, the one that takes its place.
    made: dict[int, nn.Parameter] = {}
    for module, name, table, vocabulary in found:
        if table is not None and not vocabulary.is_same:
            rows = torch.tensor(vocabulary.order).argsort()
            made.setdefault(id(table), nn.Parameter(table.detach()[rows]))
            module.register_parameter(name, made[id(table)])
    return model
