"""Dot-product attention over whole sequences in training on a CPU, by its parts, with its gradients.

The formula is `attention` in nn/multi_head.py, O = m ⊙ softmax(scale · QKᵀ + bias) V, with a mask m of dropout. torch's
fused kernel has no dropout, draws a Bernoulli number for each weight where there is some, and is slow backwards in bf16
and for short sequences: its parts take a half to a third of its time there. Unlike it they keep all weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2scli.nn.kernels.products import product_dtype
from s2scli.nn.kernels.random_masks import random_mask, scale_of, threshold_of
from s2scli.nn.kernels.switch import enabled

# torch's softmax takes ten times as long for a row on a CPU when its length is not a multiple of a vector's.
LENGTH_MULTIPLE = 16
# Without dropout the fused kernel is the better one for more keys than this, in bf16 and in float32.
_MOST_KEYS_BF16, _MOST_KEYS = 1024, 128
# In bf16 oneDNN makes a kernel for every shape, which takes longer than what it saves where there are fewer keys.
_LEAST_KEYS_BF16 = 128


def goes_by_parts(queries: Tensor, keys: Tensor, dropout: float) -> bool:
    """Whether `trained_attention` is faster than the fused kernel for these."""
    if not enabled() or queries.device.type != "cpu" or not torch.is_grad_enabled():
        return False
    if torch.compiler.is_compiling():
        return False
    most = _MOST_KEYS if product_dtype(queries) is torch.float32 else _MOST_KEYS_BF16
    return dropout > 0 or keys.size(2) <= most


def trained_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    *,
    scale: float,
    dropout: float,
    causal: bool,
) -> Tensor:
    """Give m ⊙ softmax(scale · queries keysᵀ) values, [B, H, Q, D/H], in the precision that products have here.

    queries [B, H, Q, D/H], keys and values [B, H, S, D/H]; mask [B or 1, H or 1, Q or 1, S], true where a query attends
    to a key, or a bias; causal: query t attends to keys 0 to t, without a mask. dropout: the
    probability that a weight is dropped, rounded to a multiple of 1/256.
    """
    dtype = product_dtype(queries)
    if dtype is torch.bfloat16 and keys.size(2) < _LEAST_KEYS_BF16:
        dtype = torch.float32
    with torch.autocast("cpu", enabled=False):
        bias = _bias(queries, keys, mask, causal, dtype)
        attended: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
            queries, keys, values, bias, scale, threshold_of(dropout), dtype
        )
    return attended


def _bias(
    queries: Tensor, keys: Tensor, mask: Tensor | None, causal: bool, dtype: torch.dtype
) -> Tensor | None:
    """What is added to scores, [B·H or 1, Q or 1, S], S rounded up; None where that is nothing.

    What is masked is lowest but finite, so that a query which may attend to nothing has no NaN for weights.
    """
    (rows, heads, length), count = queries.shape[:3], keys.size(2)
    missing = -count % LENGTH_MULTIPLE
    lowest = torch.finfo(dtype).min / 2
    if causal:
        mask = torch.ones(1, 1, length, count, dtype=torch.bool).tril_()
    elif mask is None:
        if not missing:
            return None
        mask = torch.ones(1, 1, 1, count, dtype=torch.bool)
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, lowest)
    bias = mask.new_full((*mask.shape[:-1], count + missing), lowest, dtype=dtype)
    bias[..., :count] = mask.clamp(min=lowest)
    if bias.size(0) == bias.size(1) == 1:
        return bias[0]
    return bias.expand(rows, heads, -1, -1).flatten(0, 1)


def _batched(x: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """[B·H, length, D/H] of x [B, H, T, D/H], zeros after the T-th."""
    rows, heads, count, width = x.shape
    if count == length:
        return x.to(dtype).reshape(rows * heads, count, width)
    batched = x.new_empty(rows, heads, length, width, dtype=dtype)
    batched[:, :, :count] = x
    batched[:, :, count:] = 0
    return batched.flatten(0, 1)


class _Attention(torch.autograd.Function):
    """O = W V with W = m ⊙ P / (1 - p) and P = softmax(S) with S = scale · QKᵀ + bias.

    dV = Wᵀ dO, dP = m ⊙ (dO Vᵀ) / (1 - p), dS = P ⊙ (dP - Σ dP ⊙ P), dQ = scale · dS K and dK = scale · dSᵀ Q; the
    bias's is dS, over all that share it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        bias: Tensor | None,
        scale: float,
        threshold: int,
        dtype: torch.dtype,
    ) -> Tensor:
        length = keys.size(2) + -keys.size(2) % LENGTH_MULTIPLE
        q, k, v = (
            _batched(queries, queries.size(2), dtype),
            _batched(keys, length, dtype),
            _batched(values, length, dtype),
        )
        scores = torch.bmm(q, k.mT).mul_(scale) if bias is None else torch.baddbmm(bias, q, k.mT, alpha=scale)
        weights = scores.softmax(-1)  # [B·H, Q, S]
        mask = random_mask(weights.shape, threshold) if threshold else None
        ctx.save_for_backward(q, k, v, weights, mask)
        ctx.scale, ctx.kept_scale = scale, scale_of(threshold)
        ctx.shapes = queries.shape, keys.shape, values.shape
        ctx.bias_shape = None if bias is None else bias.shape
        ctx.dtypes = queries.dtype, keys.dtype, values.dtype
        attended = _scaled(weights if mask is None else weights * mask, v, ctx.kept_scale)
        return attended.view(*queries.shape[:3], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, mask = ctx.saved_tensors
        d_out = _batched(gradients[0], q.size(1), q.dtype)
        dv = _scaled((weights if mask is None else weights * mask).mT, d_out, ctx.kept_scale)
        d_weights = _scaled(d_out, v.mT, ctx.kept_scale)
        if mask is not None:
            d_weights.mul_(mask)
        d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
        dq, dk = _scaled(d_scores, k, ctx.scale), _scaled(d_scores.mT, q, ctx.scale)
        given = (
            item.view(*shape[:2], -1, shape[3])[:, :, : shape[2]].to(dtype)
            for item, shape, dtype in zip((dq, dk, dv), ctx.shapes, ctx.dtypes, strict=True)
        )
        d_bias = d_scores.sum_to_size(ctx.bias_shape) if ctx.needs_input_grad[3] else None
        return (*given, d_bias, None, None, None)


def _scaled(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Give scale · a b for batches of matrices."""
    if scale == 1:
        return torch.bmm(a, b)
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)
