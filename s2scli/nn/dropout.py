"""Dropout (Srivastava et al. 2014) with a mask that is cheap to draw on a CPU, and LayerDrop (Fan et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 256


class _ByteDropout(torch.autograd.Function):
    """Dropout whose mask compares random bytes with a threshold.

    torch draws a Bernoulli number for each element on one thread; drawing 64-bit integers and looking at
    their eight bytes is an order of magnitude cheaper. The rate is rounded to 1/256 and the scale is that
    of the rounded rate, so the expectation is exact.
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


class Dropout(nn.Module):
    """Zero each element with probability `p` in training and scale the others by 1/(1-p)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.threshold = round(p * _LEVELS)

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of a tensor of any shape; the identity in evaluation."""
        if not self.training or self.threshold == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        dropped: Tensor = _ByteDropout.apply(x, self.threshold)  # type: ignore[no-untyped-call]
        return dropped

    def extra_repr(self) -> str:
        """The rate, for print(model)."""
        return f"p={self.p}"


def kept_layers(number: int, p: float, training: bool) -> list[bool]:
    """Which of so many layers a batch goes through: in training each with probability 1 - p, in evaluation all.

    Nothing is scaled: a layer that is left out is the identity (Fan et al. 2020, section 3.1).
    """
    if not training or p == 0:
        return [True] * number
    # Drawn on the CPU, whose generator is seeded for each batch, whatever the device is.
    return (torch.rand(number, device="cpu") >= p).tolist()


@contextmanager
def retained(models: Iterable[nn.Module]) -> Iterator[None]:
    """Models in evaluation with dropout as in training in here, at every rate that they have; no layer is skipped."""
    dropping = [
        module
        for model in models
        for module in model.modules()
        # Attention, and torch's recurrent networks, have a rate of their own.
        if isinstance(module, Dropout) or isinstance(getattr(module, "dropout", None), float)
    ]
    for module in dropping:
        module.training = True
    try:
        yield
    finally:
        for module in dropping:
            module.training = False
