"""Dropout with a mask that is cheap to draw on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn.kernels.switch import enabled

_LEVELS = 256


def threshold_of(p: float) -> int:
    """The byte that is the first to be kept where elements are dropped with probability p, rounded to 1/256."""
    return round(p * _LEVELS)


def scale_of(threshold: int) -> float:
    """What kept elements are multiplied by: that of the rounded rate, so that the expectation is exact."""
    return _LEVELS / (_LEVELS - threshold)


def random_mask(shape: Sequence[int], threshold: int) -> Tensor:
    """Draw 0 or 1 for each element, uint8, 1 where a random byte is not below the threshold, on the CPU.

    torch draws a Bernoulli number for each element on one thread; drawing 64-bit integers and comparing their eight
    bytes is an order of magnitude cheaper. Bytes are compared in place, since into bools takes 30 times as long, and
    so does multiplying by these.
    """
    size, least = prod(shape), -(2**63)
    count = (size + 7) // 8
    if torch.compiler.is_compiling():
        # Drawing in place would cut the compiled layer in two.
        words = torch.randint(least, -least - 1, (count,), dtype=torch.int64)
        return (words.view(torch.uint8)[:size] >= threshold).to(torch.uint8).view(shape)
    words = torch.empty(count, dtype=torch.int64).random_(least, None)
    return words.view(torch.uint8)[:size].ge_(threshold).view(shape)


def dropout(x: Tensor, p: float) -> Tensor:
    """Give x · m / (1 - p), m being 0 with probability p and 1 otherwise for each element (Srivastava et al. 2014).

    x of any shape. The plain formula is torch's `F.dropout`. On a CPU p is rounded to a multiple of 1/256.
    """
    if not enabled():
        return F.dropout(x, p)
    if x.device.type != "cpu":
        return F.dropout(x, p)
    threshold = threshold_of(p)
    if threshold == 0:
        return x
    dropped: Tensor = _ByteDropout.apply(x, threshold)  # type: ignore[no-untyped-call]
    return dropped


class _ByteDropout(torch.autograd.Function):
    """Dropout with the mask of `random_mask`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: int) -> Tensor:
        mask = random_mask(x.shape, threshold)
        ctx.save_for_backward(mask)
        ctx.scale = scale_of(threshold)
        return (x * mask).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return (gradients[0] * mask).mul_(ctx.scale), None
