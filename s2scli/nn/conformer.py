"""The Conformer's layer: self-attention and a convolution between two half feed-forward layers (Gulati et al. 2020).

Its convolution module has a layer norm where the paper has a batch norm, whose statistics depend on the batch.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn import kernels
from s2scli.nn.linear import Linear
from s2scli.nn.multi_head import LayerConfig, SelfAttention, attention, join_heads
from s2scli.nn.norms import make_norm
from s2scli.nn.positions import sinusoids
from s2scli.nn.transformer import FeedForward, Layer, Residual


class ConformerMask(NamedTuple):
    """What the layers of a stack know of the positions of a batch.

    present [B, S]: true where there is no padding; distances [2S-1, D]: the sinusoids of the distances from S-1 down to
    -(S-1), query position - key position.
    """

    present: Tensor
    distances: Tensor


def conformer_mask(present: Tensor, like: Tensor) -> ConformerMask:
    """The mask of a batch with present [B, S]; like [B, S, D]: what has the type and the device of the states."""
    size, width = present.size(1), like.size(2)
    # Ascending from 1 - S, then the other way round.
    return ConformerMask(present, sinusoids(2 * size - 1, width, "paper", 1 - size).to(like).flip(0))


class DistanceSelfAttention(SelfAttention):
    """Self-attention that tells positions by their distance (Dai et al. 2019, section 3.3, as the Conformer has it).

    softmax_j ([(q_i + u) · k_j + (q_i + v) · W r_(i-j)] / √d_k) v_j, with r the sinusoids of a distance; u and v, [H,
    d_k], are trained vectors for each head.
    """

    vectors = ("content_bias", "distance_bias")

    def __init__(self, config: LayerConfig) -> None:
        super().__init__(config)
        self.distance = Linear(config.width, self.heads * self.head_width, bias=False)  # W
        bound = sqrt(3 / self.head_width)  # Glorot's, of [H, d_k]
        self.content_bias = nn.Parameter(
            torch.empty(self.heads, self.head_width).uniform_(-bound, bound)
        )  # u
        self.distance_bias = nn.Parameter(
            torch.empty(self.heads, self.head_width).uniform_(-bound, bound)
        )  # v

    def forward(self, x: Tensor, mask: ConformerMask) -> Tensor:  # type: ignore[override]
        """Attention among the positions of x [B, S, D]."""
        queries, keys, values = self.project_heads(x)  # [B, H, S, D/H]
        distances = (
            self.distance(mask.distances).unflatten(-1, (self.heads, -1)).transpose(0, 1)
        )  # [H, 2S-1, D/H]
        u, v = self.content_bias[:, None], self.distance_bias[:, None]
        by_distance = self.scale * (queries + v) @ distances.mT  # [B, H, S, 2S-1]
        bias = kernels.by_position(by_distance).masked_fill(
            ~mask.present[:, None, None], float("-inf")
        )  # [B, H, S, S]
        dropout = self.dropout if self.training else 0.0
        heads = attention(queries + u, keys, values, bias, scale=self.attention_scale, dropout=dropout)
        out: Tensor = self.out(join_heads(heads))
        return out


class ConvolutionModule(nn.Module):
    """Pointwise, GLU, depthwise convolution, norm, swish, pointwise (figure 2); the norm before is its residual's.

    kernel: the positions that the depthwise convolution reads, odd.
    """

    def __init__(self, config: LayerConfig, kernel: int) -> None:
        super().__init__()
        width = config.width
        self.entering = Linear(width, 2 * width, config.linear_bias)
        self.entering.blocks = 2
        self.depthwise = nn.Conv1d(
            width, width, kernel, padding=kernel // 2, groups=width, bias=config.linear_bias
        )
        self.norm = make_norm(width, config.norm)
        self.leaving = Linear(width, width, config.linear_bias)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Give [B, S, D] of x [B, S, D]; present [B, S]."""
        x = F.glu(self.entering(x), dim=-1)
        # Here and no earlier: the bias of the layer before would make something of the zeros.
        x = x * present[..., None]
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.leaving(F.silu(self.norm(x)))
        return out


class ConformerLayer(Layer):
    """x + ½ FFN, + self-attention, + convolution, + ½ FFN, and a norm of it all (equation 1)."""

    def __init__(self, config: LayerConfig, kernel: int) -> None:
        super().__init__(config.width)
        self.first_feed_forward, self.first_residual = FeedForward(config), Residual(config)
        self.self_attention, self.self_attention_residual = DistanceSelfAttention(config), Residual(config)
        self.convolution, self.convolution_residual = ConvolutionModule(config, kernel), Residual(config)
        self.second_feed_forward, self.second_residual = FeedForward(config), Residual(config)
        self.norm = make_norm(config.width, config.norm)

    def forward(self, x: Tensor, mask: ConformerMask) -> Tensor:
        """Encoder states [B, S, D] of x [B, S, D]."""
        x = self.first_residual(x, lambda x: 0.5 * self.first_feed_forward(x))
        x = self.self_attention_residual(x, lambda x: self.self_attention(x, mask))
        x = self.convolution_residual(x, lambda x: self.convolution(x, mask.present))
        x = self.second_residual(x, lambda x: 0.5 * self.second_feed_forward(x))
        return self.finished(self.norm(x))
