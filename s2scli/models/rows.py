"""The rows of memories and states: how those of several batches are joined, and those of a beam numbered."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def join_padded(one: Tensor, other: Tensor, dim: int) -> Tensor:
    """Two tensors [B, …] one after the other, padded with zeros at the end to one size of a dimension."""
    size = max(one.size(dim), other.size(dim))
    behind = (0, 0) * (one.dim() - 1 - dim)
    return torch.cat([F.pad(item, (*behind, 0, size - item.size(dim))) for item in (one, other)])


def join_present(one: Tensor | None, other: Tensor | None, dim: int) -> Tensor | None:
    """What `join_padded` gives of two tensors that are there both or neither; None where they are not."""
    return None if one is None or other is None else join_padded(one, other, dim)


def beam_rows(beams: Tensor, width: int, sentences: Tensor | None = None) -> Tensor:
    """The indices [B·K] of hypotheses among the rows [B·width] of a state that has those of all sentences in one list.

    beams [B, K], or [K] for every sentence alike: which hypotheses of each sentence, from 0 to width - 1.
    sentences [B]: which sentences, by default all in their order.
    """
    if sentences is None:
        sentences = torch.arange(beams.size(0), device=beams.device)
    return (beams + sentences[:, None] * width).flatten()


def rows_beside(beams: Tensor, width: int, state: Tensor) -> Tensor:
    """`beam_rows` of all sentences in the memory of a state, which the beams may not be in."""
    return beam_rows(beams, width).to(state.device, non_blocking=True)
