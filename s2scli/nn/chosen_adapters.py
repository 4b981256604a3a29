"""Several adapters in one batch, each batch row with its own or none: all are computed, and the others masked out.

With R columns over all adapters, of which those of a row's own are marked by its mask m of 0 and 1, what is added to
W x is B (m ∘ A x), A [R, K] and B [N, R] being those of all adapters one below, and one beside, the other. So a row
gets what its adapter gives alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn import kernels
from s2scli.nn.adapters import Bottleneck, LowRank


class BatchAdapters:
    """Which adapter each batch row has, as layers ask for it: numbers from 0, or -1 for none."""

    def __init__(self) -> None:
        self._numbers = torch.zeros(0, dtype=torch.long)
        self._masks: dict[tuple[int, int, int], Tensor] = {}

    def choose(self, numbers: Tensor) -> None:
        """From now on batch row b has adapter numbers[b], numbers [B]."""
        if numbers is not self._numbers:
            self._numbers, self._masks = numbers, {}

    def mask(self, x: Tensor, columns: Tensor) -> Tensor:
        """1 where a column is of the adapter of a row of x, else 0: [B, 1, R] of x [B, …, D], [B·K, R] of x [B·K, D].

        columns [R]: the adapter that each column is of; the same tensor each time.
        """
        key = id(columns), x.dim(), x.size(0)
        found = self._masks.get(key)
        if found is None:
            found = (self._numbers[:, None] == columns).to(x.dtype)  # [B, R]
            if x.dim() > 2:
                found = found.view(len(found), *[1] * (x.dim() - 2), len(columns))
            else:
                found = found.repeat_interleave(x.size(0) // len(found), dim=0)  # [B·K, R]
            self._masks[key] = found
        return found


class ChosenRows:
    """What the low-rank matrices of several adapters add to the product of a weight [N, K], see `AddedRows`.

    parts: the number of its adapter, the first of its rows, and the matrices. like: what has the type and device.
    """

    def __init__(
        self, batch: BatchAdapters, size: int, parts: Sequence[tuple[int, int, LowRank]], like: Tensor
    ) -> None:
        self._batch = batch
        self._a = torch.cat([part.a.detach() for _, _, part in parts]).to(like)
        self._b = like.new_zeros(size, len(self._a))
        column = 0
        for _, start, part in parts:
            rows, rank = part.b.shape
            self._b[start : start + rows, column : column + rank] = part.scale * part.b.detach()
            column += rank
        columns = [number for number, _, part in parts for _ in range(len(part.a))]
        self._columns = torch.tensor(columns, device=like.device)

    def __call__(self, x: Tensor) -> Tensor:
        """Give [..., N] of x [..., K]."""
        narrow = kernels.linear(x, self._a)
        return kernels.linear(narrow * self._batch.mask(x, self._columns), self._b)


class ChosenBottlenecks:
    """What comes after a layer for the bottlenecks of several adapters, see `Bottleneck`.

    parts: the number of its adapter, and the bottleneck. like: what has the type and device.
    """

    def __init__(self, batch: BatchAdapters, parts: Sequence[tuple[int, Bottleneck]], like: Tensor) -> None:
        self._batch = batch
        modules = [part for _, part in parts]
        self._eps = modules[0].norm.eps
        with torch.no_grad():
            # The norm's own weight and bias are made part of the layer that follows it.
            self._down = torch.cat([part.down.weight * part.norm.weight for part in modules]).to(like)
            shifts = [part.down.weight @ part.norm.bias + part.down.bias for part in modules]
            self._shift = torch.cat(shifts).to(like)
            self._up = torch.cat([part.up.weight for part in modules], dim=1).to(like)
            self._bias = torch.stack([part.up.bias for part in modules], dim=1).to(like)  # [D, parts]
        widths = [number for number, part in parts for _ in range(len(part.down.weight))]
        self._columns = torch.tensor(widths, device=like.device)
        self._numbers = torch.tensor([number for number, _ in parts], device=like.device)

    def __call__(self, x: Tensor) -> Tensor:
        """Give [..., D] of x [..., D]."""
        normalized = F.layer_norm(x, x.shape[-1:], eps=self._eps)
        narrow = F.relu(kernels.linear(normalized, self._down, self._shift))
        added = kernels.linear(narrow * self._batch.mask(x, self._columns), self._up)
        return x + added + kernels.linear(self._batch.mask(x, self._numbers), self._bias)
