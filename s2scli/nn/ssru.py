"""The simpler simple recurrent unit (Kim et al. 2019, section 3.1), in place of a decoder's self-attention."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from s2scli.nn import kernels
from s2scli.nn.linear import Linear
from s2scli.nn.multi_head import LayerConfig


class SSRUCache:
    """The states of what hypotheses have read, of every layer's SSRU.

    tensor [N, B·K, D]; lengths [B]: how many tokens each sentence's hypotheses have read, `most` of them at most. A
    step changes the states in place, so that a cache which was given to one must not be used again.
    """

    def __init__(self, tensor: Tensor, lengths: Tensor, most: int) -> None:
        self.tensor, self.lengths, self.most = tensor, lengths, most
        # Each layer's part, [B·K, D].
        self.layers = tensor.unbind(0)

    @property
    def beam(self) -> int:
        """How many hypotheses each sentence has, K."""
        return self.tensor.size(1) // len(self.lengths)

    def open_slot(self) -> int:
        """Count the newest tokens, and give a number that no token's position is above."""
        self.lengths, self.most = self.lengths + 1, self.most + 1
        return self.most - 1

    def select(self, sentences: Tensor, hypotheses: Tensor) -> Self:
        """A cache of some sentences [any] and their hypotheses, which are rows."""
        return type(self)(self.tensor.index_select(1, hypotheses), self.lengths[sentences], self.most)

    def join(self, other: Self) -> Self:
        """A cache of these sentences' hypotheses and then of as many of others."""
        tensor = torch.cat([self.tensor, other.tensor], dim=1)
        return type(self)(tensor, torch.cat([self.lengths, other.lengths]), max(self.most, other.most))

    def reorder(self, hypotheses: Tensor) -> Self:
        """A cache whose rows are some of this one's, [B·K], as many of each sentence."""
        hypotheses = hypotheses.to(self.tensor.device, non_blocking=True)
        return type(self)(self.tensor.index_select(1, hypotheses), self.lengths, self.most)


class SSRU(nn.Module):
    """relu(c_t), with f_t = σ(W_f x_t + b_f) and c_t = f_t ⊙ c_(t-1) + (1 - f_t) ⊙ W x_t.

    has_loop: its forward pass loops over positions, which is not to be compiled.
    """

    has_loop = True

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        # W_f, and below it W.
        self.input = Linear(config.width, 2 * config.width, bias=False)
        self.input.blocks = 2
        for block in self.input.weight.chunk(2):
            nn.init.xavier_uniform_(block)
        self.forget_bias = nn.Parameter(torch.zeros(config.width))

    def empty_cache(self, layers: int, rows: int, like: Tensor) -> SSRUCache:
        """The cache of so many layers and rows that have read nothing; like: what has its type and device."""
        lengths = torch.zeros(rows, dtype=torch.long, device=like.device)
        return SSRUCache(like.new_zeros(layers, rows, len(self.forget_bias)), lengths, 0)

    def gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The gate f and W x, [..., D] each, of x [..., D]."""
        forget, entering = self.input(x).chunk(2, dim=-1)
        return torch.sigmoid(forget + self.forget_bias), entering

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """The outputs [B, T, D] of all positions of x [B, T, D]; there is no attention that a bias is for."""
        del bias
        return kernels.gated_sums(*self.gates(x)).to(x.dtype).relu()

    def step(self, x: Tensor, state: Tensor, slot: int) -> Tensor:
        """The output [B·K, D] of the next position of each hypothesis, x [B·K, D]; the state [B·K, D] becomes c_t."""
        del slot
        forget, entering = self.gates(x)
        return torch.lerp(entering, state, forget, out=state).relu()
