"""Transformer layers (Vaswani et al. 2017), over whole sequences and position by position.

Each sublayer has `forward`, over all positions of a sequence, and `step`, over the next position of K hypotheses a
sentence, from the same weights: what they share is written once. Decoding calls `step` without a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn.dropout import Dropout
from s2scli.nn.kernels.dot_product import CachedKeys
from s2scli.nn.kernels.key_value_cache import LayerCache
from s2scli.nn.linear import Linear
from s2scli.nn.multi_head import CrossAttention, LayerConfig, SelfAttention


class LayerNorm(nn.LayerNorm):
    """Layer normalization (Ba et al. 2016)."""

    def forward(self, input: Tensor) -> Tensor:
        """(x - mean) / √(variance + ε) · weight + bias over the last dimension of x [..., D]."""
        # torch's own forward asks for cuDNN, which has no part in this, and takes as long about it as a short operator.
        return torch.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def direct_call(self) -> Callable[[Tensor], Tensor]:
        """What calling it comes to in decoding, see nn/kernels/direct_calls.py: the operator alone."""
        shape, weight, bias, eps = self.normalized_shape, self.weight, self.bias, self.eps
        return partial(torch.layer_norm, normalized_shape=shape, weight=weight, bias=bias, eps=eps)


def make_norm(width: int) -> nn.Module:
    """The norm, [..., D] → [..., D], of every sublayer, at the end of a pre-norm stack and of embeddings."""
    return LayerNorm(width)


def final_norm(config: LayerConfig) -> nn.Module:
    """What follows a stack of layers: a pre-norm one leaves its sum unnormalized (Xiong et al. 2020)."""
    return make_norm(config.width) if config.normalize_before else nn.Identity()


def activated(x: Tensor, activation: str) -> Tensor:
    """relu(x) or gelu(x); of both halves of x [..., 2D] `swiglu` makes silu(gate) · value, [..., D]."""
    if activation == "swiglu":
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value
    return F.relu(x) if activation == "relu" else F.gelu(x)


class FeedForward(nn.Module):
    """Two linear layers with an activation between them (section 3.3); SwiGLU (Shazeer 2020) gates with a third.

    Positions do not meet in it, so that a step is `forward` over one position. First weights are torch's own, as in
    fairseq: with Glorot's, which are larger, a post-norm stack learns more slowly.
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.activation = config.activation
        gated = 2 if config.activation == "swiglu" else 1
        self.inner = Linear(config.width, gated * config.ffn_width)
        self.inner.blocks = gated
        self.outer = Linear(config.ffn_width, config.width)
        self.dropout = Dropout(config.activation_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """W₂ activation(W₁ x + b₁) + b₂ of x [..., D], as [..., D]."""
        outer: Tensor = self.outer(self.dropout(activated(self.inner(x), self.activation)))
        return outer


class Residual(nn.Module):
    """The frame around each sublayer f: post-norm norm(x + f(x)) as in the paper, or pre-norm x + f(norm(x)).

    norm: any module that gives [..., D] of [..., D]. Dropout is applied to f's output (section 5.4).
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.norm = make_norm(config.width)
        self.dropout = Dropout(config.dropout)
        self.normalize_before = config.normalize_before

    def sublayer_input(self, x: Tensor) -> Tensor:
        """What the sublayer is applied to, [..., D]."""
        entering: Tensor = self.norm(x) if self.normalize_before else x
        return entering

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """The sublayer's output joined with its input x [..., D]."""
        if self.normalize_before:
            joined: Tensor = x + self.dropout(sublayer(self.norm(x)))
            return joined
        normalized: Tensor = self.norm(x + self.dropout(sublayer(x)))
        return normalized


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward layer."""

    def __init__(self, config: LayerConfig, self_attention: SelfAttention | None = None) -> None:
        super().__init__()
        self.self_attention = SelfAttention(config) if self_attention is None else self_attention
        self.self_attention_residual = Residual(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = Residual(config)

    def forward(self, x: Tensor, mask: Any) -> Tensor:
        """Encoder states [B, S, D] of x [B, S, D]; mask: as the self-attention has it, [B, 1, 1, S] or a LocalMask."""
        x = self.self_attention_residual(x, lambda x: self.self_attention(x, mask))
        out: Tensor = self.feed_forward_residual(x, self.feed_forward)
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
        """Decoder states [B, T, D] of all target positions x [B, T, D].

        keys and values [B, H, S, D/H] of the encoder states, as `prepare` gives them; mask [B, 1, 1, S].
        """
        return self._over_memory(self._over_targets(x), keys, values, mask)

    def forward_with_weights(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor, heads: int
    ) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and the mean cross-attention weights of the first so many heads, [B, T, S]."""
        x = self._over_targets(x)
        weights = self.weights(x, keys, mask, heads)
        return self._over_memory(x, keys, values, mask), weights

    def attention(self, x: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """How much of its attention `forward` gives to each encoder state, the mean over the heads; [B, T, S]."""
        return self.weights(self._over_targets(x), keys, mask)

    def weights(self, x: Tensor, keys: Tensor, mask: Tensor, heads: int | None = None) -> Tensor:
        """The cross-attention weights [B, Q, S] of states x [B, Q, D] that the self-attention has given.

        They are the mean over the heads, or over the first so many.
        """
        assert self.cross_attention is not None
        queries = self.cross_attention_residual.sublayer_input(x)
        return self.cross_attention.weights(queries, keys, mask, heads)

    def _over_targets(self, x: Tensor) -> Tensor:
        attended: Tensor = self.self_attention_residual(x, lambda x: self.self_attention(x, None))
        return attended

    def _over_memory(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        attention = self.cross_attention
        if attention is not None:
            x = self.cross_attention_residual(x, lambda x: attention(x, keys, values, mask))
        out: Tensor = self.feed_forward_residual(x, self.feed_forward)
        return out

    def step_over_targets(self, x: Tensor, cache: LayerCache, slot: int) -> Tensor:
        """The first half of `forward` for the next position of K hypotheses a sentence, x [B·K, D]: self-attention."""
        attended: Tensor = self.self_attention_residual(x, lambda x: self.self_attention.step(x, cache, slot))
        return attended

    def step_over_memory(self, x: Tensor, memory: CachedKeys) -> Tensor:
        """The second half: attention over the encoder, and the feed-forward layer; x [B·K, D]."""
        attention = self.cross_attention
        if attention is not None:
            x = self.cross_attention_residual(x, lambda x: attention.step(x, memory))
        out: Tensor = self.feed_forward_residual(x, self.feed_forward)
        return out
