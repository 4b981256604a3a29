"""Position embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.errors import DataError


def sinusoid_frequencies(width: int, spacing: str = "tensor2tensor") -> Tensor:
    """The frequencies [width/2] of the sinusoids of `sinusoids`."""
    half = width // 2
    steps = half if spacing == "paper" else max(half - 1, 1)
    return torch.exp(torch.arange(half) * -(math.log(10000) / steps))


def sinusoids(length: int, width: int, spacing: str = "tensor2tensor", offset: int = 0) -> Tensor:
    """The sinusoidal table [length, width] of Vaswani et al. 2017, section 3.5, from position `offset` on.

    All sines come before all cosines: the same functions as the paper's in another order. Frequency i of width/2 is
    10000^(-i / (width/2 - 1)) as in fairseq, Marian and tensor2tensor, or with the spacing "paper"
    10000^(-i / (width/2)).
    """
    half = width // 2
    if torch.get_default_device().type == "meta":
        # There is nothing to compute, for which torch would import its compiler.
        return torch.empty(length, 2 * half)
    angles = torch.arange(offset, offset + length)[:, None] * sinusoid_frequencies(
        width, spacing
    )  # [length, half]
    return torch.cat([angles.sin(), angles.cos()], dim=1)  # [length, width]


def longer_table(table: Tensor, length: int, rows: Callable[[int], Tensor]) -> Tensor:
    """What `rows` makes of so many positions, as a tensor like the table whose place it takes.

    What a search makes under inference_mode could not be differentiated through later, so it is left for that.
    """
    with torch.inference_mode(mode=False):
        return rows(length).to(table.device, table.dtype)


class SinusoidalPositions(nn.Module):
    """Fixed position embeddings of width D for any length, see `sinusoids`; the table grows as needed."""

    def __init__(
        self, width: int, spacing: str = "tensor2tensor", offset: int = 0, initial_length: int = 256
    ) -> None:
        super().__init__()
        self.width, self.spacing, self.offset = width, spacing, offset
        self.table: Tensor
        # A buffer, so that it goes to the device and the precision of the model; not persistent, as it is computed: how
        # far it has grown is no part of a model, and no checkpoint has it.
        self.register_buffer("table", self._rows(initial_length), persistent=False)

    def forward(self, start: int, length: int) -> Tensor:
        """Embeddings [length, D] of the positions from `start` on, which is counted from 0."""
        return self._table_of(start + length)[start : start + length]

    def at(self, positions: Tensor, length: int) -> Tensor:
        """Embeddings [B, D] of some positions, [B], all of them below `length`."""
        return F.embedding(positions, self._table_of(length))

    def _table_of(self, length: int) -> Tensor:
        if length > self.table.size(0):
            self.table = longer_table(self.table, 2 * length, self._rows)
        return self.table

    def _rows(self, length: int) -> Tensor:
        return sinusoids(length, self.width, self.spacing, self.offset)


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


class NoPositions(nn.Module):
    """Zero for every position, where embeddings do not say it."""

    def __init__(self) -> None:
        super().__init__()
        self.zero: Tensor
        self.register_buffer("zero", torch.zeros(1, 1), persistent=False)

    def forward(self, start: int, length: int) -> Tensor:
        """Zero, [1, 1], for the positions from `start` on."""
        del start, length
        return self.zero

    def at(self, positions: Tensor, length: int) -> Tensor:
        """Zero, [1, 1], for some positions, [B]."""
        del positions, length
        return self.zero


Positions = SinusoidalPositions | LearnedPositions | NoPositions
