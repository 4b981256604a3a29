"""Rotary position embeddings: queries and keys rotated by angles that grow with the position (Su et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s2scli.nn.kernels.key_value_cache import LayerCache, PositionedCache
from s2scli.nn.positions import longer_table


def rotary_frequencies(width: int, base: float) -> Tensor:
    """By which angles a position turns the pairs of a head of a width, base^(-2i / width), [width/2]."""
    return 1 / base ** (torch.arange(0, width, 2) / width)


def rotations(length: int, width: int, base: float) -> Tensor:
    """Cosines and sines [length, width/2, 2] of the angles t · base^(-2i / width) of positions t and pairs i."""
    half = width // 2
    if torch.get_default_device().type == "meta":
        # There is nothing to compute, for which torch would import its compiler.
        return torch.empty(length, half, 2)
    angles = torch.arange(length)[:, None] * rotary_frequencies(width, base)  # [length, width/2]
    return torch.stack([angles.cos(), angles.sin()], dim=-1)  # [length, width/2, 2]


class RotaryPositions(nn.Module):
    """The rotations of positions, for heads of a width, which come in blocks: queries, then keys, then values.

    blocks: how many there are; the last, of values, is not rotated. The table grows as needed.
    """

    def __init__(self, width: int, base: float, blocks: int, initial_length: int = 256) -> None:
        super().__init__()
        self.width, self.base, self.blocks = width, base, blocks
        self.table: Tensor
        # Like the table of sinusoids no part of a checkpoint.
        self.register_buffer("table", self._rows(initial_length), persistent=False)

    def forward(self, start: int, length: int) -> Tensor:
        """Rotations [length, blocks, 1, width/2, 2] of the positions from `start` on, which is counted from 0."""
        return self._table_of(start + length)[start : start + length]

    def at(self, positions: Tensor, length: int) -> Tensor:
        """Rotations [B, blocks, 1, width/2, 2] of some positions, [B], all of them below `length`."""
        return self._table_of(length)[positions]

    def _table_of(self, length: int) -> Tensor:
        if length > self.table.size(0):
            self.table = longer_table(self.table, 2 * length, self._rows)
        return self.table

    def _rows(self, length: int) -> Tensor:
        turned = rotations(length, self.width, self.base)[:, None, None]
        still = rotations(1, self.width, self.base)[:, None, None]  # by the angle 0
        return torch.cat(
            [turned.expand(-1, self.blocks - 1, -1, -1, -1), still.expand(length, -1, -1, -1, -1)], dim=1
        )


class RotaryCache(PositionedCache[RotaryPositions]):
    """A cache of rotated keys that has the rotations of the newest tokens in each layer, [B·K, blocks, 1, D/2H, 2]."""

    @property
    def layers(self) -> list[LayerCache]:
        """Each layer's part; the rotations are one tensor for all."""
        if not self._layers:
            rotations = self.positions.table
            rotations = rotations.new_empty(self.tensor.size(2), *rotations.shape[1:])
            self._layers = [layer._replace(rotations=rotations) for layer in super().layers]
        return self._layers

    def open_slot(self) -> int:
        """The slot of the newest tokens, with the rotations of their positions."""
        slot = super().open_slot()
        newest = self.positions.at(self.lengths - 1, slot + 1).repeat_interleave(self.beam, dim=0)
        rotations = self.layers[0].rotations
        assert rotations is not None
        rotations.copy_(newest)
        return slot
