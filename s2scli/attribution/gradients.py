"""Gradients of log-probabilities: their norms, input × gradient, and what other methods make of them."""

from __future__ import annotations

from abc import abstractmethod

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


class _FromGradients(AttributionMethod):
    """What one gradient for each predicted token says of the vectors that are read."""

    def shares(self, pair: ExplainedPair) -> Shares:
        """The vectors' shares, of every predicted token."""
        read = pair.vectors()
        predicted = torch.arange(pair.length, device=read.prefix.device)
        parts: list[Vectors] = []
        for rows in pair.parts(pair.length):
            chosen = predicted[rows]
            repeated = Vectors(*(item.expand(len(chosen), -1, -1) for item in read))
            found = gradients(pair, repeated, chosen)
            parts.append(Vectors(*(self._share(x, of_x) for x, of_x in zip(read, found, strict=True))))
        source, prefix = (torch.cat(items) for items in zip(*parts, strict=True))
        return Shares(pair.in_source_order(source), prefix)

    @staticmethod
    @abstractmethod
    def _share(x: Tensor, of_x: Tensor) -> Tensor:
        """Shares [R, S], of vectors x [1, S, D] and their gradients [R, S, D]."""


class InputXGradient(_FromGradients):
    """x_i · ∂f/∂x_i for each vector x_i that encoder and decoder read, f being a token's log-probability.

    It is what f would change by, were it linear, without the vector (Denil et al. 2014, equation 5; Shrikumar et al.
    2017).
    """

    @staticmethod
    def _share(x: Tensor, of_x: Tensor) -> Tensor:
        return (x * of_x).sum(-1)


class GradientNorm(_FromGradients):
    """‖∂f/∂x_i‖₂ for each vector x_i that encoder and decoder read: how much f changes with it, at most.

    It is no part of a sum (Simonyan et al. 2014, section 3; of words Li et al. 2016, section 5). Over the positions of
    a recurrent encoder it shows how much of the gradient is left after so many steps (Bengio et al. 1994; Pascanu et
    al. 2013).
    """

    @staticmethod
    def _share(x: Tensor, of_x: Tensor) -> Tensor:
        del x
        norms: Tensor = torch.linalg.vector_norm(of_x, dim=-1)
        return norms
