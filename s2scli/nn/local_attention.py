"""Self-attention within a window, in memory linear in the length (Longformer, Beltagy et al. 2020)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn.transformer import KEYS_MULTIPLE, LayerConfig, SelfAttention, attention


class LocalMask(NamedTuple):
    """Which keys a query may see where it does not see all.

    Queries are taken in N blocks of R, the window's reach to each side; the keys of a block are its own, those of the
    block on either side, and the global ones, C in all. near [B·N, 1, R, C]; whole [B, 1, 1, S]: of a global query.
    """

    near: Tensor
    whole: Tensor


def local_mask(mask: Tensor, reach: int, num_global: int) -> LocalMask:
    """Let tokens see those at most `reach` places away; the first `num_global` see, and are seen by, all; mask [B, S].

    What is no token sees itself alone, so that every row has something to see.
    """
    length = mask.size(1)
    missing = -length % reach
    present = F.pad(mask, (reach, reach + missing)).unfold(1, 3 * reach, reach)  # [B, N, 3R]
    near = mask.clone()
    near[:, :num_global] = False  # they have columns of their own
    near = F.pad(near, (reach, reach + missing)).unfold(1, 3 * reach, reach)
    rows, columns = (torch.arange(size, device=mask.device) for size in (reach, 3 * reach))
    ahead = columns - rows[:, None] - reach  # [R, 3R]
    seen = (ahead.abs() <= reach) & near[:, :, None] | (ahead == 0) & ~present[:, :, None]  # [B, N, R, 3R]
    first = mask[:, None, None, :num_global].expand(*seen.shape[:3], -1)
    seen = torch.cat([seen, first], dim=-1)
    # As in stepping.look: torch's softmax wants rows of such a length.
    seen = F.pad(seen, (0, -seen.size(-1) % KEYS_MULTIPLE))
    return LocalMask(seen.flatten(0, 1)[:, None], mask[:, None, None])


def local_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: LocalMask, num_global: int, *, dropout: float = 0.0
) -> Tensor:
    """What `attention` gives where queries see what the mask says; all [B, H, S, D/H].

    The scores that are there at once are S × C: section 3.1, "sliding window" and "global attention". Unlike
    Longformer's, global tokens have no projections of their own, so that a window over everything is full attention.
    """
    length, (reach, columns) = queries.size(2), mask.near.shape[-2:]
    missing = -length % reach
    blocks = F.pad(queries, (0, 0, 0, missing)).unflatten(2, (-1, reach)).transpose(1, 2)  # [B, N, H, R, D/H]
    near_keys, near_values = (
        _around(item, reach, missing, num_global, columns - 3 * reach) for item in (keys, values)
    )
    heads = attention(blocks.flatten(0, 1), near_keys, near_values, mask.near, dropout=dropout)
    heads = heads.unflatten(0, (-1, blocks.size(1))).transpose(1, 2).flatten(2, 3)  # [B, H, N·R, D/H]
    near: Tensor = heads[:, :, :length]
    if not num_global:
        return near
    first = attention(queries[:, :, :num_global], keys, values, mask.whole, dropout=dropout)
    return torch.cat([first, near[:, :, num_global:]], dim=2)


def _around(x: Tensor, reach: int, missing: int, num_global: int, room: int) -> Tensor:
    """The keys or values [B·N, H, C, D/H] of each block of queries; room: for the global ones."""
    blocks = F.pad(x, (0, 0, reach, reach + missing)).unflatten(2, (-1, reach)).transpose(1, 2)
    first = x[:, :, :num_global]
    first = F.pad(first, (0, 0, 0, room - first.size(2)))[:, None].expand(-1, blocks.size(1) - 2, -1, -1, -1)
    return torch.cat([blocks[:, :-2], blocks[:, 1:-1], blocks[:, 2:], first], dim=3).flatten(0, 1)


class LocalSelfAttention(SelfAttention):
    """Multi-head self-attention in which most tokens see a window of tokens around them."""

    def __init__(self, config: LayerConfig, num_global: int) -> None:
        super().__init__(config)
        self.num_global = num_global

    def forward(self, x: Tensor, mask: Tensor | LocalMask | None) -> Tensor:
        """Attention among the positions of x [B, S, D], as the mask says; a plain one: each sees all."""
        if not isinstance(mask, LocalMask):
            everywhere: Tensor = super().forward(x, mask)
            return everywhere
        dropout = self.dropout if self.training else 0.0
        heads = local_attention(*self.project(x), mask, self.num_global, dropout=dropout)
        merged: Tensor = self.out(heads.transpose(1, 2).flatten(2))  # [B, S, D]
        return merged
