"""Multi-head attention (Vaswani et al. 2017, section 3.2), over whole sequences and position by position."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn.kernels import enabled
from s2scli.nn.kernels.dot_product import CachedKeys, attend_cached, contiguous_for_steps, fused_attention
from s2scli.nn.kernels.key_value_cache import LayerCache
from s2scli.nn.linear import Linear

# Initial weights as in fairseq: Glorot's, with a smaller gain for queries, keys and values.
_ATTENTION_GAIN = 2**-0.5


@dataclass(frozen=True)
class LayerConfig:
    """Settings that all Transformer layers of the encoder, or of the decoder, share."""

    width: int
    ffn_width: int
    heads: int
    activation: str
    normalize_before: bool
    dropout: float
    attention_dropout: float
    activation_dropout: float


def _input_projection(inputs: int, outputs: int, *, blocks: int = 1) -> Linear:
    """A linear layer whose weight is `blocks` matrices of one shape, one below the other, each drawn by itself."""
    layer = Linear(inputs, outputs)
    layer.blocks = blocks
    for block in layer.weight.chunk(blocks):
        nn.init.xavier_uniform_(block, _ATTENTION_GAIN)
    return layer


def _output_projection(width: int) -> Linear:
    """From the joined heads back to the layer's width."""
    layer = Linear(width, width)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, T, D] → [B, H, T, D/H]."""
    split: Tensor = x.unflatten(-1, (heads, -1))
    return split.transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """[B, H, T, D/H] → [B, T, D]."""
    return x.transpose(1, 2).flatten(2)


def score_divisor(width: int) -> float:
    """√(D/H), what each product of a query and a key is divided by; width: of a head, D/H."""
    return sqrt(width)


def attention_weights(queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    """softmax(QKᵀ / √(D/H)), [B, H, Q, S]: the weights of equation 1; mask: true where a query attends to a key.

    queries [B, H, Q, D/H], keys [B, H, S, D/H]; mask [B or 1, 1, Q or 1, S].
    """
    scores = queries @ keys.transpose(-2, -1) / score_divisor(keys.size(-1))  # [B, H, Q, S]
    return scores.masked_fill(~mask, float("-inf")).softmax(-1)


def attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    dropout: float = 0.0,
    causal: bool = False,
) -> Tensor:
    """softmax(QKᵀ / √(D/H)) V, [B, H, Q, D/H]: scaled dot-product attention, equation 1.

    queries [B, H, Q, D/H], keys and values [B, H, S, D/H]; mask as in `attention_weights`, without one all keys are
    attended to. causal: query t attends to keys 0 to t only; mask must then be None. dropout: the probability that a
    weight is dropped, applied whenever it is not 0; callers pass 0 outside training.
    """
    if enabled():
        scale = 1 / score_divisor(keys.size(-1))
        return fused_attention(queries, keys, values, mask, scale=scale, dropout=dropout, causal=causal)
    if causal:
        mask = torch.ones(queries.size(2), keys.size(2), dtype=torch.bool, device=keys.device).tril()
    elif mask is None:
        mask = torch.ones((), dtype=torch.bool, device=keys.device)
    weights = F.dropout(attention_weights(queries, keys, mask), dropout)
    return weights @ values


class MultiHeadAttention(nn.Module):
    """What self-attention and cross-attention have in common (section 3.2.2).

    dropout: the probability that an attention weight is dropped in training.
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.attention_dropout
        self.scale = 1 / score_divisor(config.width // config.heads)


class SelfAttention(MultiHeadAttention):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.qkv = _input_projection(config.width, 3 * config.width, blocks=3)
        self.out = _output_projection(config.width)

    def project(self, x: Tensor, *sizes: int) -> Tensor:
        """The queries, keys and values [..., 3, H, D/H] of x [..., D]; sizes: of its dimensions but the last."""
        qkv: Tensor = self.qkv(x)
        return qkv.view(*sizes, 3, self.heads, -1)

    def project_heads(self, x: Tensor) -> list[Tensor]:
        """The queries, the keys and the values of x [B, T, D], [B, H, T, D/H] each."""
        return [item.transpose(1, 2) for item in self.project(x, x.size(0), x.size(1)).unbind(2)]

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attention among the positions of x [B, T, D]; mask [B, 1, 1, T], without one it is causal."""
        queries, keys, values = self.project_heads(x)
        heads = attention(
            queries, keys, values, mask, dropout=self.dropout if self.training else 0.0, causal=mask is None
        )
        out: Tensor = self.out(join_heads(heads))
        return out

    def step(self, x: Tensor, cache: LayerCache, slot: int) -> Tensor:
        """Attention of the next position of each hypothesis, x [B·K, D], over those before it and itself.

        The cache holds the keys and values of earlier positions; those of x are written into `slot`, which
        `KeyValueCache.open_slot` gave. A slot's index is not the token's position, as sentences may join a batch
        later.
        """
        rows = x.size(0)
        qkv = self.project(x, rows)  # [B·K, 3, H, D/H]
        cache.write(slot, qkv.narrow(1, 1, 2))
        queries = qkv.select(1, 0).reshape(rows * self.heads, 1, -1)  # [B·K·H, 1, D/H]
        heads = attend_cached(
            queries,
            cache.attended,
            scale=self.scale,
            heads=self.heads,
            dropout=self.dropout if self.training else 0.0,
        )
        out: Tensor = self.out(heads.view(rows, -1))  # [B·K, D]
        return out


class CrossAttention(MultiHeadAttention):
    """Multi-head attention of the decoder over encoder states (section 3.2.3)."""

    def __init__(self, config: LayerConfig, memory_width: int) -> None:
        super().__init__(config)
        self.query = _input_projection(config.width, config.width)
        self.key_value = _input_projection(memory_width, 2 * config.width, blocks=2)
        self.out = _output_projection(config.width)

    def prepare(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, S, D/H] of encoder states [B, S, encoder width], once per sentence."""
        keys, values = self.key_value(memory).chunk(2, dim=-1)
        keys, values = _split_heads(keys, self.heads), _split_heads(values, self.heads)
        return contiguous_for_steps(keys), contiguous_for_steps(values)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Attention of target positions x [B, T, D] over prepared keys and values; mask [B, 1, 1, S]."""
        queries = _split_heads(self.query(x), self.heads)
        heads = attention(queries, keys, values, mask, dropout=self.dropout if self.training else 0.0)
        out: Tensor = self.out(join_heads(heads))
        return out

    def step(self, x: Tensor, memory: CachedKeys) -> Tensor:
        """Attention of the next position of each hypothesis, x [B·K, D], over its sentence's keys and values."""
        rows, heads, width = x.size(0), self.heads, memory.keys.size(2)
        sentences = memory.keys.size(0) // heads
        queries = self.query(x).view(sentences, -1, heads, width).transpose(1, 2)  # [B, H, K, D/H]
        queries = queries.reshape(sentences * heads, -1, width)  # [B·H, K, D/H]
        attended = attend_cached(
            queries, memory, scale=self.scale, heads=heads, dropout=self.dropout if self.training else 0.0
        )
        joined = attended.view(sentences, heads, -1, width).transpose(1, 2).reshape(rows, -1)  # [B·K, D]
        out: Tensor = self.out(joined)
        return out

    def weights(self, x: Tensor, keys: Tensor, mask: Tensor, heads: int | None = None) -> Tensor:
        """The attention weights of `forward`, before dropout, [B, Q, S]: averaged over all heads, or over the first
        `heads`.

        x [B, Q, D], prepared keys [B, H, S, D/H], mask [B, 1, 1, S].
        """
        queries = _split_heads(self.query(x), self.heads)
        return attention_weights(queries[:, :heads], keys[:, :heads], mask).mean(1)
