"""Dot-product attention on a CPU: over whole sequences in training, and over keys that are kept from step to step.

The formula is `attention` in nn/multi_head.py, softmax(scale · QKᵀ) V (Vaswani et al. 2017, equation 1).
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn.kernels.switch import enabled
from s2scli.nn.kernels.trained_attention import LENGTH_MULTIPLE, goes_by_parts, trained_attention


def rounded_length(length: int) -> int:
    """The number of keys that this many are padded to, so that the softmax over them is fast: the next multiple of 16.

    Without kernels it is the length itself.
    """
    return length + -length % LENGTH_MULTIPLE if enabled() else length


def padded_for_steps(x: Tensor, dim: int) -> Tensor:
    """Pad a dimension with zeros (a mask: false) up to `rounded_length`, as decoding reads x again in each step.

    With a gradient there are no steps, and x is as it is.
    """
    missing = rounded_length(x.size(dim)) - x.size(dim)
    if torch.is_grad_enabled() or not missing:
        return x
    return F.pad(x, (*(0, 0) * (x.dim() - 1 - dim), 0, missing))


def contiguous_for_steps(x: Tensor) -> Tensor:
    """Lay x out so that each step of decoding reads it fast; with a gradient there are no steps, and x is as it is."""
    return x if torch.is_grad_enabled() or not enabled() else x.contiguous()


def fused_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    *,
    scale: float | None,
    dropout: float,
    causal: bool,
) -> Tensor:
    """softmax(scale · queries keysᵀ) values by what is fastest; all is as in nn/multi_head.py's `attention`."""
    if goes_by_parts(queries, keys, dropout):
        scale = 1 / sqrt(keys.size(-1)) if scale is None else scale
        return trained_attention(queries, keys, values, mask, scale=scale, dropout=dropout, causal=causal)
    if queries.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        # On a CPU, torch's bf16 kernel has a backward pass several times slower than its float32 one.
        with torch.autocast("cpu", enabled=False):
            return fused_attention(
                queries.float(),
                keys.float(),
                values.float(),
                mask if mask is None or mask.dtype == torch.bool else mask.float(),
                scale=scale,
                dropout=dropout,
                causal=causal,
            )
    return F.scaled_dot_product_attention(
        queries, keys, values, mask, dropout_p=dropout, is_causal=causal, scale=scale
    )


def bias_of(mask: Tensor, times: int, dtype: torch.dtype) -> Tensor:
    """What is added to scores, [B·times, 1, S]: 0 where a mask [B, S] is true and -inf elsewhere, each row repeated."""
    bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))
    return bias.repeat_interleave(times, dim=0)[:, None]


class CachedKeys(NamedTuple):
    """What a few queries attend over in each step of decoding: keys and values [B·H, S, D/H], and a bias [B·H, 1, S].

    B·H is one dimension, as torch.bmm has it; the length S is a `rounded_length`.
    """

    keys: Tensor
    values: Tensor
    bias: Tensor


def attend_cached(
    queries: Tensor, cached: CachedKeys, *, scale: float, heads: int, dropout: float = 0.0
) -> Tensor:
    """softmax(scale · queries keysᵀ + bias) values, [B·H, Q, D/H], without a gradient; queries [B·H, Q, D/H]."""
    keys, values, bias = cached
    if not enabled():
        weights = (scale * (queries @ keys.mT) + bias).softmax(-1)  # [B·H, Q, S]
        return F.dropout(weights, dropout) @ values
    if queries.device.type != "cpu":
        queries, keys, values, bias = (
            item.unflatten(0, (-1, heads)) for item in (queries, keys, values, bias.to(queries.dtype))
        )  # [B, H, …]
        return F.scaled_dot_product_attention(
            queries, keys, values, bias, dropout_p=dropout, scale=scale
        ).flatten(0, 1)
    # On a CPU the fused kernel takes twice the time of its parts, and calling an operator as long as a short product.
    scores = torch.baddbmm(bias, queries, keys.mT, alpha=scale)
    weights = scores.softmax(-1)
    return torch.bmm(F.dropout(weights, dropout) if dropout else weights, values)
