"""Position embeddings."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.errors import DataError


def sinusoids(length: int, width: int) -> Tensor:
    """The sinusoidal table [length, width] of Vaswani et al. 2017, section 3.5.

    As in fairseq and tensor2tensor, all sines come before all cosines, and frequency i of width/2 is
    10000^(-i / (width/2 - 1)): the same functions as the paper's, up to their order and spacing.
    """
    half = width // 2
    if torch.get_default_device().type == "meta":
        # There is nothing to compute, for which torch would import its compiler.
        return torch.empty(length, 2 * half)
    frequencies = torch.exp(torch.arange(half) * -(math.log(10000) / max(half - 1, 1)))  # [half]
    angles = torch.arange(length)[:, None] * frequencies  # [length, half]
    return torch.cat([angles.sin(), angles.cos()], dim=1)  # [length, width]


class SinusoidalPositions(nn.Module):
    """Fixed position embeddings of width D for any length; the table grows as needed."""

    def __init__(self, width: int, initial_length: int = 256) -> None:
        super().__init__()
        self.width = width
        self.table: Tensor
        # A buffer, so that it goes to the device and the precision of the model; not persistent, as it is computed: how
        # far it has grown is no part of a model, and no checkpoint has it.
        self.register_buffer("table", sinusoids(initial_length, width), persistent=False)

    def forward(self, start: int, length: int) -> Tensor:
        """Embeddings [length, D] of the positions from `start` on, which is counted from 0."""
        return self._table_of(start + length)[start : start + length]

    def at(self, positions: Tensor, length: int) -> Tensor:
        """Embeddings [B, D] of some positions, [B], all of them below `length`."""
        return F.embedding(positions, self._table_of(length))

    def _table_of(self, length: int) -> Tensor:
        if length > self.table.size(0):
            self.table = sinusoids(2 * length, self.width).to(self.table)
        return self.table


class LearnedPositions(nn.Module):
    """A trained embedding of width D for each position; a sequence beyond the last one is a DataError."""

    def __init__(self, width: int, max_positions: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_positions, width).normal_(std=width**-0.5))

    def forward(self, start: int, length: int) -> Tensor:
        """Embeddings [length, D] of the positions from `start` on, which is counted from 0."""
        if start + length > self.weight.size(0):
            raise DataError(
                f"a sequence of {start + length} tokens is longer than the {self.weight.size(0)} positions that the "
                "model has learned; shorten it, or preprocess with --max-source-length and --max-target-length"
            )
        return self.weight[start : start + length]

    def at(self, positions: Tensor, length: int) -> Tensor:
        """Embeddings [B, D] of some positions, [B], all of them below `length`."""
        del length
        return F.embedding(positions, self.weight)


Positions = SinusoidalPositions | LearnedPositions


def make_positions(kind: str, width: int, max_positions: int) -> Positions:
    """Position embeddings of a kind, "sinusoidal" or "learned"; max_positions: how many are learned."""
    if kind == "sinusoidal":
        return SinusoidalPositions(width)
    return LearnedPositions(width, max_positions)
