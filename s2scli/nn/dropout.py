"""Dropout (Srivastava et al. 2014) and LayerDrop (Fan et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from s2scli.nn import kernels


class Dropout(nn.Module):
    """Zero each element with probability `p` in training and scale the others by 1/(1-p)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Give x · m / (1 - p), with a random mask m of 0 and 1, for x of any shape; in evaluation x itself."""
        return kernels.dropout(x, self.p) if self.training and self.p > 0 else x

    def direct_call(self) -> Callable[[Tensor], Tensor] | None:
        """What calling it comes to in decoding, see nn/kernels/direct_calls.py: nothing, unless it is in training."""
        return None if self.training and self.p > 0 else _unchanged

    def extra_repr(self) -> str:
        """The rate, for print(model)."""
        return f"p={self.p}"


def _unchanged(x: Tensor) -> Tensor:
    return x


def kept_layers(number: int, p: float, training: bool) -> list[bool]:
    """Which of `number` layers a batch goes through: in training each with probability 1 - p, in evaluation all.

    Nothing is scaled: a layer that is left out is the identity (Fan et al. 2020, section 3.1).
    """
    if not training or p == 0:
        return [True] * number
    # Drawn on the CPU, whose generator is seeded for each batch, whatever the device is.
    return (torch.rand(number, device="cpu") >= p).tolist()


@contextmanager
def retained(models: Iterable[nn.Module]) -> Iterator[None]:
    """Let models that are in evaluation drop elements as in training inside this block; no layer is skipped."""
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
