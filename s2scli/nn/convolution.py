"""Convolutional layers with gated linear units and attention in each (Gehring et al. 2017).

Of the paper's section 3.5: sums of two are scaled by √½, and weights drawn so that layers keep the variance of what
they read; p of dropout counts as √(1 - p).
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn.dropout import Dropout
from s2scli.nn.linear import NormalizedLinear

_ROOT_HALF = sqrt(0.5)


def balanced_sum(x: Tensor, other: Tensor) -> Tensor:
    """√½ (x + other)."""
    return (x + other) * _ROOT_HALF


def dense(inputs: int, outputs: int, dropout: float = 0.0) -> NormalizedLinear:
    """A layer whose output is as it is; dropout: that of its input."""
    return NormalizedLinear(inputs, outputs, std=sqrt((1 - dropout) / inputs))


class GatedConvolution(nn.Module):
    """A convolution to twice the channels, half of them gates: a ⊗ σ(b) (Dauphin et al. 2017), and a residual.

    inputs, outputs: channels; where they differ, the residual goes through a dense layer.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.kernel = kernel
        self.dropout = Dropout(dropout)
        std = sqrt(4 * (1 - dropout) / (kernel * inputs))
        self.product = NormalizedLinear(kernel * inputs, 2 * outputs, std)
        self.residual = dense(inputs, outputs) if inputs != outputs else nn.Identity()

    def over(self, x: Tensor, zeros_before: int) -> Tensor:
        """Gated outputs [B, T, outputs], without the residual, of x [B, T, inputs] with kernel - 1 zeros around it."""
        length = x.size(1)
        padded = F.pad(self.dropout(x), (0, 0, zeros_before, self.kernel - 1 - zeros_before))
        # One product with all columns of the kernel is the fastest on a CPU.
        windows = torch.cat([padded[:, column : column + length] for column in range(self.kernel)], dim=-1)
        return F.glu(self.product(windows), dim=-1)

    def step(self, x: Tensor, recent: Tensor) -> tuple[Tensor, Tensor]:
        """Gated outputs [B, K, outputs] of the newest x [B, K, inputs], and what is recent for the next one.

        recent: the kernel - 1 inputs before x, [B, K, kernel - 1, inputs].
        """
        windows = torch.cat([recent, self.dropout(x)[:, :, None]], dim=2)  # [B, K, kernel, inputs]
        return F.glu(self.product(windows.flatten(2)), dim=-1), windows[:, :, 1:]


class ConvolutionalEncoderLayer(nn.Module):
    """A convolution that sees both sides alike, of a kernel of even width one more after."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.convolution = GatedConvolution(inputs, outputs, kernel, dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encoder states [B, S, outputs] of x [B, S, inputs]; mask [B, S, 1]."""
        convolution = self.convolution
        residual = convolution.residual(x)
        return balanced_sum(convolution.over(x * mask, (convolution.kernel - 1) // 2), residual)


class MultiStepAttention(nn.Module):
    """Attention of one decoder layer (section 3.3).

    With d = W h + b + g, g being the embedding of the token that was read, and m source tokens:
    c = √m · Σ softmax(d · z) (z + e), the weights' sum having the variance of one (section 3.4).
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.query = dense(channels, width)
        self.out = dense(width, channels)

    def weights(self, x: Tensor, embedded: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """How much each of the encoder's states z, keys [B, S, D], counts, [B, Q, S]; mask [B, 1, S]."""
        query = balanced_sum(self.query(x), embedded)
        return (query @ keys.mT).masked_fill(~mask, float("-inf")).softmax(-1)

    def forward(self, x: Tensor, embedded: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """What h, x [B, Q, channels], is with c added to it; embedded [B, Q, D], values z + e [B, S, D]."""
        scale = mask.sum(-1, keepdim=True).sqrt().to(values.dtype)  # [B, 1, 1]
        return balanced_sum(self.out(self.weights(x, embedded, keys, mask) @ values * scale), x)


class ConvolutionalDecoderLayer(nn.Module):
    """A convolution that sees what came before, and attention over the source."""

    def __init__(self, inputs: int, outputs: int, kernel: int, width: int, dropout: float) -> None:
        super().__init__()
        self.convolution = GatedConvolution(inputs, outputs, kernel, dropout)
        self.attention = MultiStepAttention(outputs, width)

    def forward(self, x: Tensor, embedded: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Decoder states [B, T, outputs] of x [B, T, inputs]; the others as for MultiStepAttention."""
        attended = self.attention(self.over_targets(x), embedded, keys, values, mask)
        return balanced_sum(attended, self.convolution.residual(x))

    def over_targets(self, x: Tensor) -> Tensor:
        """What the attention is asked with, h [B, T, outputs]."""
        return self.convolution.over(x, self.convolution.kernel - 1)

    def step(
        self, x: Tensor, recent: Tensor, embedded: Tensor, keys: Tensor, values: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decoder states [B, K, outputs] of K hypotheses; recent, and what is returned: as in GatedConvolution.step."""
        convolved, recent = self.convolution.step(x, recent)
        attended = self.attention(convolved, embedded, keys, values, mask)
        return balanced_sum(attended, self.convolution.residual(x)), recent
