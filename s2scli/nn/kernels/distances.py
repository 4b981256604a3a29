"""Scores by distance as scores by position, without an index for each: rows of a matrix read with a shift.

The formula is a gather: of scores [..., S, 2S-1], whose columns are the distances i - j from S-1 down to -(S-1),
those of query i and key j stand in column S - 1 - (i - j).
"""

from __future__ import annotations

import torch
from torch import Tensor

from s2scli.nn.kernels.switch import enabled


def by_position(by_distance: Tensor) -> Tensor:
    """Scores [..., S, S] of query i and key j, of by_distance [..., S, 2S-1], whose columns fall from S-1 to 1-S."""
    size = by_distance.size(-2)
    if not enabled() or size == 1:
        positions = torch.arange(size, device=by_distance.device)
        column = size - 1 - (positions[:, None] - positions)  # [S, S]
        return by_distance.gather(-1, column.expand(*by_distance.shape[:-2], -1, -1))
    # From one row to the next the wanted columns begin one earlier: each 2S - 2 numbers after those of the row before.
    numbers = by_distance.flatten(-2)[..., size - 1 : size - 1 + size * (2 * size - 2)]
    shifted: Tensor = numbers.unflatten(-1, (size, 2 * size - 2))
    return shifted[..., :size]
