"""Multi-head attention (Vaswani et al. 2017, section 3.2), over whole sequences and position by position."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn.kernels import enabled
from s2scli.nn.kernels.dot_product import CachedKeys, attend_cached, contiguous_for_steps, fused_attention
from s2scli.nn.kernels.key_value_cache import KeyValueCache, LayerCache
from s2scli.nn.kernels.rotation import rotate
from s2scli.nn.norms import NormConfig
from s2scli.nn.projections import from_heads, to_heads
from s2scli.nn.rotary import RotaryCache, RotaryPositions


@dataclass(frozen=True)
class LayerConfig:
    """Settings that all Transformer layers of the encoder, or of the decoder, share.

    head_dim: the width of an attention head, D/H unless it is given; attention_scale: what the products of queries and
    keys are multiplied by, 1/√head_dim unless it is given; kv_heads: the heads of keys and values, each of which is for
    as many of queries, by default H. qk_norm: whether queries and keys are normalized; rotary_base: of the rotations by
    which self-attention tells positions, where it does. linear_bias: whether linear layers have biases. ssru: whether
    decoder layers have an SSRU in place of self-attention.
    """

    width: int
    ffn_width: int
    heads: int
    activation: str
    normalize_before: bool
    dropout: float
    attention_dropout: float
    activation_dropout: float
    norm: NormConfig = field(default_factory=NormConfig)
    linear_bias: bool = True
    head_dim: int | None = None
    attention_scale: float | None = None
    kv_heads: int | None = None
    qk_norm: bool = False
    rotary_base: float | None = None
    ssru: bool = False

    @property
    def head_width(self) -> int:
        """The width of an attention head."""
        return self.width // self.heads if self.head_dim is None else self.head_dim

    @property
    def key_heads(self) -> int:
        """How many heads keys and values have."""
        return self.heads if self.kv_heads is None else self.kv_heads


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, T, D] → [B, H, T, D/H]."""
    split: Tensor = x.unflatten(-1, (heads, -1))
    return split.transpose(1, 2)


def _shared_by_queries(x: Tensor, heads: int) -> Tensor:
    """[B, G, S, D/H] → [B, H, S, D/H]: keys or values for H heads of queries, of which H/G neighbours share each."""
    return x if x.size(1) == heads else x.repeat_interleave(heads // x.size(1), dim=1)


def join_heads(x: Tensor) -> Tensor:
    """[B, H, T, D/H] → [B, T, D]."""
    return x.transpose(1, 2).flatten(2)


def attention_weights(queries: Tensor, keys: Tensor, mask: Tensor, scale: float | None = None) -> Tensor:
    """softmax(scale · QKᵀ), [B, H, Q, S]: the weights of equation 1; scale: 1/√(D/H) where it is None.

    queries [B, H, Q, D/H], keys [B, H, S, D/H]; mask [B or 1, H or 1, Q or 1, S]: true where a query attends to a key,
    or a bias.
    """
    scores = queries @ keys.transpose(-2, -1)  # [B, H, Q, S]
    scores = scores / sqrt(keys.size(-1)) if scale is None else scores * scale
    if mask.dtype != torch.bool:
        return (scores + mask).softmax(-1)
    return scores.masked_fill(~mask, float("-inf")).softmax(-1)


def attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
    causal: bool = False,
) -> Tensor:
    """softmax(scale · QKᵀ) V, [B, H, Q, D/H]: scaled dot-product attention, equation 1.

    queries [B, H, Q, D/H], keys and values [B, H, S, D/H]; mask and scale as in `attention_weights`, without a mask all
    keys are attended to. causal: query t attends to keys 0 to t only; mask must then be None. dropout: the probability
    that a weight is dropped, applied whenever it is not 0; callers pass 0 outside training.
    """
    if enabled():
        return fused_attention(queries, keys, values, mask, scale=scale, dropout=dropout, causal=causal)
    if causal:
        mask = torch.ones(queries.size(2), keys.size(2), dtype=torch.bool, device=keys.device).tril()
    elif mask is None:
        mask = torch.ones((), dtype=torch.bool, device=keys.device)
    weights = F.dropout(attention_weights(queries, keys, mask, scale), dropout)
    return weights @ values


class MultiHeadAttention(nn.Module):
    """What self-attention and cross-attention have in common (section 3.2.2).

    H heads of queries attend over as many heads of keys and values, or over fewer, G of them: H/G neighbouring heads of
    queries share one (Ainslie et al. 2023). dropout: the probability that an attention weight is dropped in training.
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.heads, self.key_heads, self.head_width = config.heads, config.key_heads, config.head_width
        self.group = self.heads // self.key_heads
        self.dropout = config.attention_dropout
        self.attention_scale = config.attention_scale
        self.scale = 1 / sqrt(config.head_width) if config.attention_scale is None else config.attention_scale


class SelfAttention(MultiHeadAttention):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.qkv = to_heads(
            config.width,
            self.head_width,
            (self.heads, self.key_heads, self.key_heads),
            bias=config.linear_bias,
            norm=config.norm if config.qk_norm else None,
        )
        self.out = from_heads(self.heads * self.head_width, config.width, bias=config.linear_bias)
        self.rotary: RotaryPositions | None = None
        if config.rotary_base is not None:
            self.rotary = RotaryPositions(self.head_width, config.rotary_base, self.group + 2)

    def empty_cache(self, layers: int, rows: int, like: Tensor) -> KeyValueCache:
        """The cache of so many layers and rows that have read nothing; like: what has its type and device."""
        return KeyValueCache.empty(layers, rows, self.key_heads, self.head_width, like)

    def project(self, x: Tensor, *sizes: int) -> Tensor:
        """The queries, keys and values [..., H/G + 2, G, D/H] of x [..., D]; sizes: of its dimensions but the last.

        All H + 2G heads have their numbers one after the other, in rows of G: the first H/G rows are the queries', so
        that head h of these, which is in row h // G, attends over head h // (H/G) of the keys.
        """
        qkv: Tensor = self.qkv(x)
        return qkv.view(*sizes, self.group + 2, self.key_heads, -1)

    def project_heads(self, x: Tensor) -> list[Tensor]:
        """The queries, the keys and the values of x [B, T, D], [B, H, T, D/H] each."""
        qkv = self.project(x, x.size(0), x.size(1))  # [B, T, H/G + 2, G, D/H]
        if self.rotary is not None:
            qkv = rotate(qkv, self.rotary(0, x.size(1)))
        parts = qkv.split((self.group, 1, 1), dim=2)
        queries, keys, values = (part.flatten(2, 3).transpose(1, 2) for part in parts)
        return [queries, _shared_by_queries(keys, self.heads), _shared_by_queries(values, self.heads)]

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attention among the positions of x [B, T, D]; mask [B, 1, 1, T] or a bias [B or 1, H, T, T], else causal."""
        queries, keys, values = self.project_heads(x)
        dropout = self.dropout if self.training else 0.0
        heads = attention(
            queries, keys, values, mask, scale=self.attention_scale, dropout=dropout, causal=mask is None
        )
        out: Tensor = self.out(join_heads(heads))
        return out

    def step(self, x: Tensor, cache: LayerCache, slot: int) -> Tensor:
        """Attention of the next position of each hypothesis, x [B·K, D], over those before it and itself.

        The cache holds the keys and values of earlier positions; those of x are written into `slot`, which
        `KeyValueCache.open_slot` gave. A slot's index is not the token's position, as sentences may join a batch
        later.
        """
        qkv = self.project(x, x.size(0))  # [B·K, H/G + 2, G, D/H]
        cache.write(slot, qkv.narrow(1, self.group, 2))
        return self._attend(qkv.narrow(1, 0, self.group), cache)

    def _attend(self, queries: Tensor, cache: LayerCache) -> Tensor:
        """Attention of queries [B·K, H/G, G, D/H], one of each hypothesis, over what is in the cache; [B·K, D]."""
        rows = queries.size(0)
        heads = attend_cached(
            # By their numbers, H/G heads that share a head of keys stand together: no transpose is wanted.
            queries.reshape(rows * self.key_heads, self.group, -1),  # [B·K·G, H/G, D/H]
            cache.attended,
            scale=self.scale,
            heads=self.key_heads,
            dropout=self.dropout if self.training else 0.0,
        )
        out: Tensor = self.out(heads.view(rows, -1))  # [B·K, D]
        return out


class RotarySelfAttention(SelfAttention):
    """Self-attention whose queries and keys are rotated by their positions, in steps too (Su et al. 2021)."""

    def empty_cache(self, layers: int, rows: int, like: Tensor) -> KeyValueCache:
        """The cache of so many layers and rows that have read nothing; like: what has its type and device."""
        assert self.rotary is not None
        return RotaryCache.over(super().empty_cache(layers, rows, like), self.rotary)

    def step(self, x: Tensor, cache: LayerCache, slot: int) -> Tensor:
        """Attention of the next position of each hypothesis, see SelfAttention; the cache has the rotations."""
        assert cache.rotations is not None
        qkv = rotate(self.project(x, x.size(0)), cache.rotations)  # [B·K, H/G + 2, G, D/H]
        cache.write(slot, qkv.narrow(1, self.group, 2))
        return self._attend(qkv.narrow(1, 0, self.group), cache)


class CrossAttention(MultiHeadAttention):
    """Multi-head attention of the decoder over encoder states (section 3.2.3)."""

    def __init__(self, config: LayerConfig, memory_width: int) -> None:
        super().__init__(config)
        norm, bias = config.norm if config.qk_norm else None, config.linear_bias
        self.query = to_heads(config.width, self.head_width, (self.heads, 0, 0), bias=bias, norm=norm)
        sizes = 0, self.key_heads, self.key_heads
        self.key_value = to_heads(memory_width, self.head_width, sizes, bias=bias, norm=norm)
        self.out = from_heads(self.heads * self.head_width, config.width, bias=bias)

    def prepare(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, G, S, D/H] of encoder states [B, S, encoder width], once per sentence."""
        keys, values = self.key_value(memory).chunk(2, dim=-1)
        keys, values = _split_heads(keys, self.key_heads), _split_heads(values, self.key_heads)
        return contiguous_for_steps(keys), contiguous_for_steps(values)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Attention of target positions x [B, T, D] over prepared keys and values; mask [B, 1, 1, S]."""
        queries = _split_heads(self.query(x), self.heads)
        keys, values = _shared_by_queries(keys, self.heads), _shared_by_queries(values, self.heads)
        dropout = self.dropout if self.training else 0.0
        heads = attention(queries, keys, values, mask, scale=self.attention_scale, dropout=dropout)
        out: Tensor = self.out(join_heads(heads))
        return out

    def step(self, x: Tensor, memory: CachedKeys) -> Tensor:
        """Attention of the next position of each hypothesis, x [B·K, D], over its sentence's keys and values."""
        rows, heads, width = x.size(0), self.key_heads, memory.keys.size(2)
        sentences = memory.keys.size(0) // heads
        queries = self.query(x).view(sentences, -1, heads, self.group * width).transpose(1, 2)
        queries = queries.reshape(sentences * heads, -1, width)  # [B·G, K·H/G, D/H]
        attended = attend_cached(
            queries, memory, scale=self.scale, heads=heads, dropout=self.dropout if self.training else 0.0
        )
        joined = attended.view(sentences, heads, -1, self.group * width).transpose(1, 2)
        out: Tensor = self.out(joined.reshape(rows, -1))  # [B·K, D]
        return out

    def weights(self, x: Tensor, keys: Tensor, mask: Tensor, heads: int | None = None) -> Tensor:
        """The attention weights of `forward`, before dropout, [B, Q, S]: averaged over all heads, or over the first
        `heads`.

        x [B, Q, D], prepared keys [B, G, S, D/H], mask [B, 1, 1, S].
        """
        queries = _split_heads(self.query(x), self.heads)
        keys = _shared_by_queries(keys, self.heads)
        return attention_weights(queries[:, :heads], keys[:, :heads], mask, self.attention_scale).mean(1)
