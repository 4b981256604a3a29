"""Input × gradient (Denil et al. 2014, equation 5; Shrikumar et al. 2017), and gradients for other methods."""

from __future__ import annotations

import torch
from torch import Tensor

from s2scli.attribution.base import AttributionMethod, ExplainedPair, Shares, Vectors


def gradients(pair: ExplainedPair, read: Vectors, predicted: Tensor) -> Vectors:
    """∂f/∂x [R, S, D] and ∂f/∂y [R, T, D], of row r that of predicted token predicted[r]."""
    # In evaluation cuDNN has no gradients of recurrent networks.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        leaves = [item.detach().clone().requires_grad_() for item in read]
        total = pair.scores(Vectors(*leaves), predicted).sum()
        found = torch.autograd.grad(total, leaves, allow_unused=True)  # a language model uses no source
    source, prefix = (
        torch.zeros_like(leaf) if item is None else item for leaf, item in zip(leaves, found, strict=True)
    )
    return Vectors(source, prefix)


class InputXGradient(AttributionMethod):
    """x_i · ∂f/∂x_i for each vector x_i that encoder and decoder read, f being a token's log-probability.

    It is what f would change by, were it linear, without the vector.
    """

    def shares(self, pair: ExplainedPair) -> Shares:
        """The products, summed over the width D."""
        read = pair.vectors()
        predicted = torch.arange(pair.length, device=read.prefix.device)
        parts: list[Vectors] = []
        for rows in pair.parts(pair.length):
            chosen = predicted[rows]
            repeated = Vectors(*(item.expand(len(chosen), -1, -1) for item in read))
            found = gradients(pair, repeated, chosen)
            parts.append(Vectors(*((x * of_x).sum(-1) for x, of_x in zip(read, found, strict=True))))
        source, prefix = (torch.cat(items) for items in zip(*parts, strict=True))
        return Shares(pair.in_source_order(source), prefix)
