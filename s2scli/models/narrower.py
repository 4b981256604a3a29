"""Transformers whose feed-forward layers have fewer units: those that weigh least are left out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from s2scli.models.base import Model
from s2scli.nn.transformer import FeedForward


def feed_forwards(model: Model, side: str) -> dict[str, FeedForward]:
    """The feed-forward layers of the encoder or the decoder, side, by their names."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, FeedForward) and name.startswith(f"{side}_layers.")
    }


def unit_weights(inner: Tensor, outer: Tensor) -> Tensor:
    """How much each of F units weighs, [F]: the length of what enters it, times that of what leaves it.

    inner [F·blocks, D]: the first layer's weight, of a gated one the gates' rows and then the values'; outer [D, F]. A
    unit whose either length is 0 gives nothing. This is pruning of whole units by magnitude (Li et al. 2017, of
    filters; Behnke and Heafield 2021, of translation).
    """
    rows: Tensor = inner.float().unflatten(0, (-1, outer.size(1)))  # [F·blocks, D] → [blocks, F, D]
    entering: Tensor = torch.linalg.vector_norm(rows, dim=2).prod(dim=0)
    leaving: Tensor = torch.linalg.vector_norm(outer.float(), dim=0)
    return entering * leaving


def with_fewer_units(weights: Mapping[str, Tensor], layer: str, units: int) -> dict[str, Tensor]:
    """The weights of one feed-forward layer, by name, with the `units` that weigh most, in their order.

    layer: the beginning of its names, with the dot.
    """
    inner, outer = weights[f"{layer}inner.weight"], weights[f"{layer}outer.weight"]
    count = outer.size(1)
    kept = unit_weights(inner, outer).topk(units).indices.sort().values
    rows = torch.cat([kept + start for start in range(0, len(inner), count)])
    narrower = {f"{layer}inner.weight": inner[rows], f"{layer}outer.weight": outer[:, kept].contiguous()}
    bias = weights.get(f"{layer}inner.bias")
    return narrower if bias is None else narrower | {f"{layer}inner.bias": bias[rows]}
