"""Transformer decoder layers position by position, for searches: without a gradient, and without dropout but where
that is retained.

Most of a short step is calling operators. So weights and views are looked up once, not in every step, and functions are
called in place of modules, whose call takes as long as a short operator does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn.linear import Linear
from s2scli.nn.transformer import (
    KEYS_MULTIPLE,
    CrossAttention,
    DecoderLayer,
    FeedForward,
    Residual,
    SelfAttention,
    activated,
)


def look(
    queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, heads: int, dropout: float = 0.0
) -> Tensor:
    """What `attention` gives, without a gradient, for a few queries: [B·H, few, D/H].

    keys and values [B·H, S, D/H], S rounded up; bias [B·H, 1, S], added to the scores, is -inf where there is no key.
    """
    if queries.device.type != "cpu":
        queries, keys, values, bias = (
            item.unflatten(0, (-1, heads)) for item in (queries, keys, values, bias.to(queries.dtype))
        )
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias, dropout_p=dropout
        ).flatten(0, 1)
    # On a CPU the fused kernel takes twice the time of its parts, and calling an operator as long as a short product.
    scores = torch.baddbmm(bias, queries, keys.mT, alpha=queries.size(-1) ** -0.5)
    weights = scores.softmax(-1)
    return torch.bmm(F.dropout(weights, dropout) if dropout else weights, values)


def bias_of(hidden: Tensor, times: int, dtype: torch.dtype) -> Tensor:
    """-inf where hidden [B, S] is true, and 0 elsewhere; each row so many times, [B·times, 1, S]."""
    bias = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))
    return bias.repeat_interleave(times, dim=0)[:, None]


class LayerCache(NamedTuple):
    """Views of a layer's keys and values, [B·K·H, capacity, D/H].

    places: both of each of the last KEYS_MULTIPLE positions, [B·K, 2, H, D/H]: the next one is among them.
    """

    places: tuple[Tensor, ...]
    keys: Tensor
    values: Tensor


def layer_caches(cache: Tensor) -> list[LayerCache]:
    """The views of each layer of a cache [layers, 2, B·K, H, capacity, D/H]."""
    return [
        LayerCache(layer[..., -KEYS_MULTIPLE:, :].transpose(0, 1).unbind(3), *layer.flatten(1, 2).unbind(0))
        for layer in cache.unbind(0)
    ]


def _product(layer: Linear) -> Callable[[Tensor], Tensor]:
    return layer.quantized or layer.forward


class _Frame:
    """What a Residual does around its sublayer."""

    def __init__(self, residual: Residual) -> None:
        norm, self._is_before = residual.norm, residual.normalize_before
        self._norm = norm.normalized_shape, norm.weight, norm.bias, norm.eps
        self._dropout = residual.dropout if residual.dropout.training else None

    def before(self, x: Tensor) -> Tensor:
        return torch.layer_norm(x, *self._norm) if self._is_before else x

    def after(self, x: Tensor, output: Tensor) -> Tensor:
        joined = x + (output if self._dropout is None else self._dropout(output))
        return joined if self._is_before else torch.layer_norm(joined, *self._norm)


class _SelfAttentionStep:
    def __init__(self, attention: SelfAttention, residual: Residual) -> None:
        self._heads, self._frame = attention.heads, _Frame(residual)
        self._qkv, self._out = _product(attention.qkv), _product(attention.out)
        self._dropout = attention.dropout if attention.training else 0.0

    def __call__(self, x: Tensor, cache: LayerCache, bias: Tensor, position: int) -> Tensor:
        rows, heads = x.size(0), self._heads
        new = self._qkv(self._frame.before(x)).view(rows, 3, heads, -1)
        cache.places[position - cache.keys.size(1)].copy_(new.narrow(1, 1, 2))
        queries = new.select(1, 0).reshape(rows * heads, 1, -1)
        attended = look(queries, cache.keys, cache.values, bias, heads, self._dropout)
        return self._frame.after(x, self._out(attended.view(rows, -1)))


class _CrossAttentionStep:
    def __init__(self, attention: CrossAttention, residual: Residual) -> None:
        self._heads, self._frame = attention.heads, _Frame(residual)
        self._query, self._out = _product(attention.query), _product(attention.out)
        self._dropout = attention.dropout if attention.training else 0.0

    def __call__(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        rows, heads, width = x.size(0), self._heads, keys.size(2)
        sentences = keys.size(0) // heads
        # [B·K, D] → [B·H, K, D/H]
        queries = self._query(self._frame.before(x)).view(sentences, -1, heads, width).transpose(1, 2)
        queries = queries.reshape(sentences * heads, -1, width)
        attended = look(queries, keys, values, bias, heads, self._dropout)
        merged = attended.view(sentences, heads, -1, width).transpose(1, 2).reshape(rows, -1)
        return self._frame.after(x, self._out(merged))


class _FeedForwardStep:
    def __init__(self, feed_forward: FeedForward, residual: Residual) -> None:
        self._activation, self._frame = feed_forward.activation, _Frame(residual)
        self._inner, self._outer = _product(feed_forward.inner), _product(feed_forward.outer)
        self._dropout = feed_forward.dropout if feed_forward.dropout.training else None

    def __call__(self, x: Tensor) -> Tensor:
        inner = activated(self._inner(self._frame.before(x)), self._activation)
        return self._frame.after(x, self._outer(inner if self._dropout is None else self._dropout(inner)))


class LayerStep:
    """A decoder layer for the next position of K hypotheses a sentence: its sublayers, from [B·K, D] to [B·K, D].

    over_targets(x, cache, bias, position): over the position and those before it, whose keys and values the cache
    holds; those of the position are written into it. bias [B·K·H, 1, capacity], as in `look`.
    over_memory(x, keys, values, bias): over encoder states, all as in `look`; None without an encoder.
    """

    def __init__(self, layer: DecoderLayer) -> None:
        self.over_targets = _SelfAttentionStep(layer.self_attention, layer.self_attention_residual)
        self.over_memory: _CrossAttentionStep | None = None
        if layer.cross_attention is not None:
            self.over_memory = _CrossAttentionStep(layer.cross_attention, layer.cross_attention_residual)
        self.feed_forward = _FeedForwardStep(layer.feed_forward, layer.feed_forward_residual)
