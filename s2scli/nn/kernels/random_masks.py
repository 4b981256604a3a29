"""Dropout with a mask that is cheap to draw on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn.kernels.switch import enabled

_LEVELS = 256


def dropout(x: Tensor, p: float) -> Tensor:
    """Give x · m / (1 - p), m being 0 with probability p and 1 otherwise for each element (Srivastava et al. 2014).

    x of any shape. The plain formula is torch's `F.dropout`. On a CPU p is rounded to a multiple of 1/256.
    """
    if not enabled():
        return F.dropout(x, p)
    if x.device.type != "cpu":
        return F.dropout(x, p)
    threshold = round(p * _LEVELS)
    if threshold == 0:
        return x
    dropped: Tensor = _ByteDropout.apply(x, threshold)  # type: ignore[no-untyped-call]
    return dropped


class _ByteDropout(torch.autograd.Function):
    """Dropout whose mask compares random bytes with a threshold.

    torch draws a Bernoulli number for each element on one thread; drawing 64-bit integers and comparing their eight
    bytes is an order of magnitude cheaper. The rate is rounded to 1/256 and the scale is that of the rounded rate, so
    the expectation is exact.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: int) -> Tensor:
        count, least = (x.numel() + 7) // 8, -(2**63)
        if torch.compiler.is_compiling():
            # Drawing in place would cut the compiled layer in two.
            words = torch.randint(least, -least - 1, (count,), dtype=torch.int64)
        else:
            words = torch.empty(count, dtype=torch.int64).random_(least, None)
        mask = (words.view(torch.uint8)[: x.numel()] >= threshold).view(x.shape)
        ctx.save_for_backward(mask)
        ctx.scale = _LEVELS / (_LEVELS - threshold)
        return (x * mask).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return (gradients[0] * mask).mul_(ctx.scale), None
