"""Transformer layers (Vaswani et al. 2017), over whole sequences and position by position.

Each sublayer has `forward`, over all positions of a sequence, and `step`, over the next position of K hypotheses a
sentence, from the same weights: what they share is written once. Decoding calls `step` without a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn.dropout import Dropout
from s2scli.nn.kernels.dot_product import CachedKeys
from s2scli.nn.linear import Linear
from s2scli.nn.multi_head import CrossAttention, LayerConfig, RotarySelfAttention, SelfAttention
from s2scli.nn.norms import make_norm
from s2scli.nn.ssru import SSRU


def final_norm(config: LayerConfig) -> nn.Module:
    """What follows a stack of layers: a pre-norm one leaves its sum unnormalized (Xiong et al. 2020)."""
    return make_norm(config.width, config.norm) if config.normalize_before else nn.Identity()


Activation = Callable[[Tensor], Tensor]
_ACTIVATIONS: dict[str, Activation] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "swish": F.silu,
}
_GATES = {"reglu": "relu", "geglu": "gelu", "geglu_new": "gelu_new", "swiglu": "swish"}


class Gated:
    """activation(gate) · value, [..., D], of the two halves of x [..., 2D] (Shazeer 2020, equation 6)."""

    def __init__(self, activation: Activation) -> None:
        self._activation = activation

    def __call__(self, x: Tensor) -> Tensor:
        """Give [..., D] of x [..., 2D]."""
        gate, value = x.chunk(2, dim=-1)
        return self._activation(gate) * value


class FeedForward(nn.Module):
    """Two linear layers with an activation between them (section 3.3); a gated one has a third (Shazeer 2020).

    Positions do not meet in it, so that a step is `forward` over one position. First weights are torch's own, as in
    fairseq: with Glorot's, which are larger, a post-norm stack learns more slowly.
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        gate = _GATES.get(config.activation)
        self.activation: Activation = (
            _ACTIVATIONS[config.activation] if gate is None else Gated(_ACTIVATIONS[gate])
        )
        blocks = 1 if gate is None else 2
        self.inner = Linear(config.width, blocks * config.ffn_width, config.linear_bias)
        self.inner.blocks = blocks
        if gate is not None:
            self.inner.named_rows = {"gate": config.ffn_width, "value": config.ffn_width}
        self.outer = Linear(config.ffn_width, config.width, config.linear_bias)
        self.dropout = Dropout(config.activation_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """W₂ activation(W₁ x + b₁) + b₂ of x [..., D], as [..., D]."""
        outer: Tensor = self.outer(self.dropout(self.activation(self.inner(x))))
        return outer


class Residual(nn.Module):
    """The frame around each sublayer f: post-norm norm(x + f(x)) as in the paper, or pre-norm x + f(norm(x)).

    norm: any module that gives [..., D] of [..., D]. Dropout is applied to f's output (section 5.4).
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.norm = make_norm(config.width, config.norm)
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


class Layer(nn.Module):
    """What the layers of Transformers have in common: a width, and what an adapter may have come after each of them.

    after: called with the layer's output, [..., D], gives what goes on in its place; None: the output goes on.
    """

    after: Callable[[Tensor], Tensor] | None = None

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def finished(self, x: Tensor) -> Tensor:
        """What goes on after the layer's last sublayer has given x [..., D]."""
        return x if self.after is None else self.after(x)


class EncoderLayer(Layer):
    """Self-attention and a feed-forward layer."""

    def __init__(self, config: LayerConfig, self_attention: SelfAttention | None = None) -> None:
        super().__init__(config.width)
        self.self_attention = SelfAttention(config) if self_attention is None else self_attention
        self.self_attention_residual = Residual(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = Residual(config)

    def forward(self, x: Tensor, mask: Any) -> Tensor:
        """Encoder states [B, S, D] of x [B, S, D]; mask: as the self-attention has it."""
        x = self.self_attention_residual(x, lambda x: self.self_attention(x, mask))
        return self.finished(self.feed_forward_residual(x, self.feed_forward))


def _first_sublayer(config: LayerConfig) -> SelfAttention | SSRU:
    """A decoder layer's first sublayer."""
    if config.ssru:
        return SSRU(config)
    return SelfAttention(config) if config.rotary_base is None else RotarySelfAttention(config)


class DecoderLayer(Layer):
    """Causal self-attention or an SSRU in its place, attention over the encoder and a feed-forward layer.

    memory_width: of the encoder states; 0: there is no encoder, and no attention over it.
    """

    def __init__(self, config: LayerConfig, memory_width: int) -> None:
        super().__init__(config.width)
        self.self_attention = _first_sublayer(config)
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

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """Decoder states [B, T, D] of all target positions x [B, T, D].

        keys and values [B, H, S, D/H] of the encoder states, as `prepare` gives them; mask [B, 1, 1, S]; bias
        [1, H, T, T]: of the self-attention, -inf where a target position comes later, which it is without one too.
        """
        return self._over_memory(self._over_targets(x, bias), keys, values, mask)

    def forward_with_weights(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor, bias: Tensor | None, heads: int
    ) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and the mean cross-attention weights of the first so many heads, [B, T, S]."""
        x = self._over_targets(x, bias)
        weights = self.weights(x, keys, mask, heads)
        return self._over_memory(x, keys, values, mask), weights

    def attention(self, x: Tensor, keys: Tensor, mask: Tensor, bias: Tensor | None = None) -> Tensor:
        """How much of its attention `forward` gives to each encoder state, the mean over the heads; [B, T, S]."""
        return self.weights(self._over_targets(x, bias), keys, mask)

    def weights(self, x: Tensor, keys: Tensor, mask: Tensor, heads: int | None = None) -> Tensor:
        """The cross-attention weights [B, Q, S] of states x [B, Q, D] that the self-attention has given.

        They are the mean over the heads, or over the first so many.
        """
        assert self.cross_attention is not None
        queries = self.cross_attention_residual.sublayer_input(x)
        return self.cross_attention.weights(queries, keys, mask, heads)

    def _over_targets(self, x: Tensor, bias: Tensor | None) -> Tensor:
        attended: Tensor = self.self_attention_residual(x, lambda x: self.self_attention(x, bias))
        return attended

    def _over_memory(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        attention = self.cross_attention
        if attention is not None:
            x = self.cross_attention_residual(x, lambda x: attention(x, keys, values, mask))
        return self.finished(self.feed_forward_residual(x, self.feed_forward))

    def step_over_targets(self, x: Tensor, cache: Any, slot: int) -> Tensor:
        """The first half of `forward` for the next position of K hypotheses a sentence, x [B·K, D]: self-attention."""
        attended: Tensor = self.self_attention_residual(x, lambda x: self.self_attention.step(x, cache, slot))
        return attended

    def step_over_memory(self, x: Tensor, memory: CachedKeys) -> Tensor:
        """The second half: attention over the encoder, and the feed-forward layer; x [B·K, D]."""
        attention = self.cross_attention
        if attention is not None:
            x = self.cross_attention_residual(x, lambda x: attention.step(x, memory))
        return self.finished(self.feed_forward_residual(x, self.feed_forward))
