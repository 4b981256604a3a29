"""Transformer layers (Vaswani et al. 2017) over whole sequences; stepping.py has decoder layers step by step."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn.dropout import Dropout
from s2scli.nn.linear import Linear

# Initial weights as in fairseq. Attention has Glorot's, with a smaller gain for queries, keys and values; the
# feed-forward layers keep torch's own, which are smaller still: with Glorot's, a post-norm stack learns more slowly.
_ATTENTION_GAIN = 2**-0.5
# torch's softmax takes ten times as long for a row on a CPU when its length is not a multiple of a vector's.
KEYS_MULTIPLE = 16


@dataclass(frozen=True)
class LayerConfig:
    """What the layers of one side have in common."""

    width: int
    ffn_width: int
    heads: int
    activation: str
    normalize_before: bool
    dropout: float
    attention_dropout: float
    activation_dropout: float


def _input_projection(inputs: int, outputs: int, *, blocks: int = 1) -> Linear:
    """To queries, keys and values: `blocks` matrices side by side, drawn as single ones."""
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


def _heads(x: Tensor, heads: int) -> Tensor:
    """[B, T, D] → [B, H, T, D/H]."""
    split: Tensor = x.unflatten(-1, (heads, -1))
    return split.transpose(1, 2)


def _merge(x: Tensor) -> Tensor:
    """[B, H, T, D/H] → [B, T, D]."""
    return x.transpose(1, 2).flatten(2)


def round_up(length: int) -> int:
    """The length that keys are padded to where one query looks at them at a time: see stepping.look."""
    return length + -length % KEYS_MULTIPLE


def attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    dropout: float = 0.0,
    causal: bool = False,
) -> Tensor:
    """softmax(queries keysᵀ / √width) values, equation 1; queries [B, H, Q, D/H], the others [B, H, S, D/H]."""
    if queries.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        # On a CPU, torch's bf16 kernel has a backward pass several times slower than its float32 one.
        with torch.autocast("cpu", enabled=False):
            return attention(
                queries.float(), keys.float(), values.float(), mask, dropout=dropout, causal=causal
            )
    return F.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, dropout_p=dropout, is_causal=causal
    )


class SelfAttention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values (section 3.2.2)."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.attention_dropout
        self.qkv = _input_projection(config.width, 3 * config.width, blocks=3)
        self.out = _output_projection(config.width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, H, T, D/H] of x [B, T, D]."""
        queries, keys, values = self.qkv(x).chunk(3, dim=-1)
        return _heads(queries, self.heads), _heads(keys, self.heads), _heads(values, self.heads)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attention among the positions of x [B, T, D]; without a mask it is causal."""
        queries, keys, values = self.project(x)
        dropout = self.dropout if self.training else 0.0
        heads = attention(queries, keys, values, mask, dropout=dropout, causal=mask is None)
        merged: Tensor = self.out(_merge(heads))
        return merged


class CrossAttention(nn.Module):
    """Multi-head attention of the decoder over encoder states (section 3.2.3)."""

    def __init__(self, config: LayerConfig, memory_width: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.attention_dropout
        self.query = _input_projection(config.width, config.width)
        self.key_value = _input_projection(memory_width, 2 * config.width, blocks=2)
        self.out = _output_projection(config.width)

    def prepare(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, S, D/H] of encoder states [B, S, encoder width], once per sentence."""
        keys, values = self.key_value(memory).chunk(2, dim=-1)
        return _heads(keys, self.heads), _heads(values, self.heads)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Attention of target positions x [B, T, D] over prepared states; mask [B, 1, 1, S]."""
        dropout = self.dropout if self.training else 0.0
        queries = _heads(self.query(x), self.heads)
        heads = attention(queries, keys, values, mask, dropout=dropout)
        merged: Tensor = self.out(_merge(heads))
        return merged

    def weights(self, x: Tensor, keys: Tensor, mask: Tensor, heads: int | None = None) -> Tensor:
        """What `forward` weighs the values by, softmax(queries keysᵀ / √width), [B, Q, S].

        It is the mean over the heads, or over the first so many.
        """
        queries = _heads(self.query(x), self.heads)[:, :heads]
        scores = queries @ keys[:, :heads].transpose(-2, -1) / sqrt(keys.size(-1))
        return scores.masked_fill(~mask, float("-inf")).softmax(-1).mean(1)


def activated(x: Tensor, activation: str) -> Tensor:
    """relu(x) or gelu(x); of both halves of x [..., 2D] `swiglu` makes silu(gate) · value, [..., D]."""
    if activation == "swiglu":
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value
    return F.relu(x) if activation == "relu" else F.gelu(x)


class FeedForward(nn.Module):
    """Two linear layers with an activation between them; SwiGLU (Shazeer 2020) gates with a third."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.activation = config.activation
        gated = 2 if config.activation == "swiglu" else 1
        self.inner = Linear(config.width, gated * config.ffn_width)
        self.inner.blocks = gated
        self.outer = Linear(config.ffn_width, config.width)
        self.dropout = Dropout(config.activation_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] → [..., D]."""
        outer: Tensor = self.outer(self.dropout(activated(self.inner(x), self.activation)))
        return outer


class Residual(nn.Module):
    """The frame of each sublayer: post-norm LN(x + f(x)) as in the paper, or pre-norm x + f(LN(x))."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.dropout = Dropout(config.dropout)
        self.normalize_before = config.normalize_before

    def before(self, x: Tensor) -> Tensor:
        """What the sublayer is applied to."""
        normalized: Tensor = self.norm(x) if self.normalize_before else x
        return normalized

    def after(self, x: Tensor, output: Tensor) -> Tensor:
        """The sublayer's output joined with its input."""
        joined: Tensor = x + self.dropout(output)
        return joined if self.normalize_before else self.norm(joined)


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward layer."""

    def __init__(self, config: LayerConfig, self_attention: SelfAttention | None = None) -> None:
        super().__init__()
        self.self_attention = SelfAttention(config) if self_attention is None else self_attention
        self.self_attention_residual = Residual(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = Residual(config)

    def forward(self, x: Tensor, mask: Any) -> Tensor:
        """Encoder states [B, S, D]; mask: as the self-attention has it, [B, 1, 1, S] or a LocalMask."""
        frame = self.self_attention_residual
        x = frame.after(x, self.self_attention(frame.before(x), mask))
        frame = self.feed_forward_residual
        out: Tensor = frame.after(x, self.feed_forward(frame.before(x)))
        return out


class DecoderLayer(nn.Module):
    """Causal self-attention, attention over the encoder and a feed-forward layer.

    memory_width: of the encoder states; 0: there is no encoder, and no attention over it.
    """

    def __init__(self, config: LayerConfig, memory_width: int) -> None:
        super().__init__()
        self.self_attention = SelfAttention(config)
        self.self_attention_residual = Residual(config)
        self.cross_attention: CrossAttention | None = None
        if memory_width:
            self.cross_attention = CrossAttention(config, memory_width)
            self.cross_attention_residual = Residual(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = Residual(config)

    def prepare(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, S, D/H] of encoder states [B, S, encoder width], once per sentence."""
        assert self.cross_attention is not None
        return self.cross_attention.prepare(memory)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Decoder states [B, T, D] of all target positions; keys, values and mask of the encoder states."""
        return self._feed_forward(self._over_memory(self._over_targets(x), keys, values, mask))

    def pointing(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor, heads: int
    ) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and the mean attention of the first so many heads, [B, T, S]."""
        x = self._over_targets(x)
        weights = self.weights(x, keys, mask, heads)
        return self._feed_forward(self._over_memory(x, keys, values, mask)), weights

    def attention(self, x: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """How much of its attention `forward` gives to each encoder state, the mean over heads; [B, T, S]."""
        return self.weights(self._over_targets(x), keys, mask)

    def weights(self, x: Tensor, keys: Tensor, mask: Tensor, heads: int | None = None) -> Tensor:
        """The same for states [B, Q, D] that have looked at the targets, the mean over the first so many heads."""
        assert self.cross_attention is not None
        return self.cross_attention.weights(self.cross_attention_residual.before(x), keys, mask, heads)

    def _over_targets(self, x: Tensor) -> Tensor:
        frame = self.self_attention_residual
        return frame.after(x, self.self_attention(frame.before(x), None))

    def _over_memory(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        if self.cross_attention is None:
            return x
        frame = self.cross_attention_residual
        return frame.after(x, self.cross_attention(frame.before(x), keys, values, mask))

    def _feed_forward(self, x: Tensor) -> Tensor:
        frame = self.feed_forward_residual
        out: Tensor = frame.after(x, self.feed_forward(frame.before(x)))
        return out


def initial_embedding(vocabulary: int, width: int, padding: int) -> nn.Embedding:
    """An embedding table drawn from N(0, 1/width), zero at the padding symbol."""
    table = nn.Embedding(vocabulary, width, padding_idx=padding)
    nn.init.normal_(table.weight, std=width**-0.5)
    with torch.no_grad():
        table.weight[padding].zero_()
    return table
