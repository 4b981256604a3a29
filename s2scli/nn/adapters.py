"""What adapters compute: low-rank matrices beside weights, and narrow feed-forward layers after layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn import kernels
from s2scli.nn.dropout import Dropout


class LowRank(nn.Module):
    """scale · B A x, [..., N], of x [..., K]: what is added to W x (Hu et al. 2021, equation 3).

    A [rank, K] is drawn as the weights of torch's linear layers are, B [N, rank] is zero at first, so that nothing is
    added. dropout: of x.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, inputs))
        self.b = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.a, a=sqrt(5))
        self.scale = scale
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Give scale · B A x."""
        return self.scale * kernels.linear(kernels.linear(self.dropout(x), self.a), self.b)

    def matrix(self) -> Tensor:
        """The matrix scale · B A, [N, K], which may be added to W."""
        return self.scale * (self.b @ self.a)


class AddedRows:
    """What low-rank matrices of some rows of a weight [N, K] add to its product, [..., N]; 0 for the other rows.

    parts: each with the first of its rows, in order. It is called, but is no module: its parts are an adapter's.
    """

    def __init__(self, size: int, parts: Sequence[tuple[int, LowRank]]) -> None:
        self.size, self.parts = size, parts

    def __call__(self, x: Tensor) -> Tensor:
        """Give [..., N] of x [..., K]."""
        found: list[Tensor] = []
        end = 0
        for start, part in self.parts:
            added = part(x)
            if start > end:
                found.append(added.new_zeros(*added.shape[:-1], start - end))
            found.append(added)
            end = start + added.size(-1)
        if end < self.size:
            found.append(found[-1].new_zeros(*found[-1].shape[:-1], self.size - end))
        return found[0] if len(found) == 1 else torch.cat(found, dim=-1)

    @torch.no_grad()
    def merge_into(self, weight: Tensor) -> None:
        """Add the matrices to the weight itself."""
        for start, part in self.parts:
            matrix = part.matrix()
            weight[start : start + len(matrix)] += matrix


class Bottleneck(nn.Module):
    """x + W₂ relu(W₁ norm(x) + b₁) + b₂, [..., D], of x [..., D] (Bapna and Firat 2019, section 2.1).

    width: of the narrow layer. W₂ and b₂ are zero at first, so that x stays what it is.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.down = nn.Linear(size, width)
        self.up = nn.Linear(width, size)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Give x and what is added to it."""
        narrow = F.relu(kernels.linear(self.norm(x), self.down.weight, self.down.bias))
        joined: Tensor = x + kernels.linear(narrow, self.up.weight, self.up.bias)
        return joined


class After:
    """What comes after a layer, as a function that is no module: its parameters are an adapter's."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, x: Tensor) -> Tensor:
        """Give [..., D] of the layer's output x [..., D]."""
        out: Tensor = self.module(x)
        return out
