"""Normalization of states: layer normalization, and root mean square normalization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from s2scli.nn import kernels


@dataclass(frozen=True)
class NormConfig:
    """What all norms of a model have in common.

    kind: "layer" or "rms"; eps: ε, which is added to what the root is taken of; bias: whether a layer norm has one.
    """

    kind: str = "layer"
    eps: float = 1e-5
    bias: bool = True


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


class RMSNorm(nn.Module):
    """Root mean square normalization (Zhang and Sennrich 2019, equation 4)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Give x / √(mean of x² + ε) · weight over the last dimension of x [..., D]."""
        return kernels.rms_norm(x, self.weight, self.eps)

    def direct_call(self) -> Callable[[Tensor], Tensor]:
        """What calling it comes to in decoding, see nn/kernels/direct_calls.py."""
        return kernels.rms_norm_in_steps(self.weight, self.eps)


def make_norm(width: int, config: NormConfig) -> nn.Module:
    """A norm, [..., width] → [..., width]."""
    if config.kind == "rms":
        return RMSNorm(width, config.eps)
    return LayerNorm(width, config.eps, bias=config.bias)
