"""Self-attention within a window, in memory linear in the length (Longformer, Beltagy et al. 2020)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn.kernels.dot_product import rounded_length
from s2scli.nn.multi_head import LayerConfig, SelfAttention, attention, join_heads


class LocalMask(NamedTuple):
    """Which keys a query attends to, where it does not attend to all.

    Queries are taken in blocks of R, the window's reach to either side, of which a source of length S has ⌈S/R⌉. The
    keys of a block are its own, those of the block on either side, and the global ones: C in all.
    window [B·blocks, 1, R, C]: for the queries of each block; whole [B, 1, 1, S]: for a global query.
    """

    window: Tensor
    whole: Tensor


def local_mask(mask: Tensor, reach: int, num_global: int) -> LocalMask:
    """Let tokens attend to those at most `reach` positions away; the first `num_global` to, and from, all; mask [B, S].

    Padding attends to itself alone: a query must attend to something.
    """
    missing = -mask.size(1) % reach
    is_token = F.pad(mask, (reach, reach + missing)).unfold(1, 3 * reach, reach)  # [B, blocks, 3R]
    in_window = mask.clone()
    in_window[:, :num_global] = False  # they have columns of their own
    in_window = F.pad(in_window, (reach, reach + missing)).unfold(1, 3 * reach, reach)  # [B, blocks, 3R]
    rows, columns = (torch.arange(size, device=mask.device) for size in (reach, 3 * reach))
    distance = columns - rows[:, None] - reach  # [R, 3R]
    is_near = (distance.abs() <= reach) & in_window[:, :, None]  # [B, blocks, R, 3R]
    window = is_near | (distance == 0) & ~is_token[:, :, None]
    to_global = mask[:, None, None, :num_global].expand(*window.shape[:3], -1)
    window = torch.cat([window, to_global], dim=-1)  # [B, blocks, R, C]
    window = F.pad(window, (0, rounded_length(window.size(-1)) - window.size(-1)))
    return LocalMask(window.flatten(0, 1)[:, None], mask[:, None, None])


def local_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: LocalMask,
    num_global: int,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """What `attention` gives where queries attend to what the mask says; all [B, H, S, D/H].

    Of the scores S × C are in memory at once: section 3.1, "sliding window" and "global attention". Unlike
    Longformer's, global tokens have no projections of their own, so that a window over everything is full attention.
    """
    length, (reach, columns) = queries.size(2), mask.window.shape[-2:]
    missing = -length % reach
    blocks = (
        F.pad(queries, (0, 0, 0, missing)).unflatten(2, (-1, reach)).transpose(1, 2)
    )  # [B, blocks, H, R, D/H]
    block_keys, block_values = (
        _around_blocks(item, reach, missing, num_global, columns - 3 * reach) for item in (keys, values)
    )
    heads = attention(
        blocks.flatten(0, 1), block_keys, block_values, mask.window, scale=scale, dropout=dropout
    )
    heads = heads.unflatten(0, (-1, blocks.size(1))).transpose(1, 2).flatten(2, 3)  # [B, H, blocks·R, D/H]
    local: Tensor = heads[:, :, :length]
    if not num_global:
        return local
    first = attention(queries[:, :, :num_global], keys, values, mask.whole, scale=scale, dropout=dropout)
    return torch.cat([first, local[:, :, num_global:]], dim=2)


def _around_blocks(x: Tensor, reach: int, missing: int, num_global: int, global_columns: int) -> Tensor:
    """The keys or values [B·blocks, H, C, D/H] that the queries of each block attend over, of x [B, H, S, D/H]."""
    blocks = F.pad(x, (0, 0, reach, reach + missing)).unflatten(2, (-1, reach)).transpose(1, 2)
    first = x[:, :, :num_global]
    first = F.pad(first, (0, 0, 0, global_columns - first.size(2)))  # [B, H, C - 3R, D/H]
    first = first[:, None].expand(-1, blocks.size(1) - 2, -1, -1, -1)
    return torch.cat([blocks[:, :-2], blocks[:, 1:-1], blocks[:, 2:], first], dim=3).flatten(0, 1)


class LocalSelfAttention(SelfAttention):
    """Multi-head self-attention in which most tokens attend to a window of tokens around them."""

    def __init__(self, config: LayerConfig, num_global: int) -> None:
        super().__init__(config)
        self.num_global = num_global

    def forward(self, x: Tensor, mask: Tensor | LocalMask | None) -> Tensor:
        """Attention among the positions of x [B, S, D], as the mask says; with a plain one [B, 1, 1, S] over all."""
        if not isinstance(mask, LocalMask):
            everywhere: Tensor = super().forward(x, mask)
            return everywhere
        queries, keys, values = self.project_heads(x)
        dropout = self.dropout if self.training else 0.0
        heads = local_attention(
            queries, keys, values, mask, self.num_global, scale=self.attention_scale, dropout=dropout
        )
        out: Tensor = self.out(join_heads(heads))
        return out
