"""The output layer: from hidden states to the distribution of the next token, and to a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from s2scli.nn import kernels

States = TypeVar("States")


class OutputLayer(nn.Module, ABC, Generic[States]):
    """From decoder states to the distribution of the next token, by a linear projection to the vocabulary.

    States: a tensor [..., D], or one with more beside it. width: D; vocabulary: V; tied: the embedding whose weight
    [V, D] is used. A layer has a `quantized` weight beside it in models that only decode, see nn/quantized.py.
    """

    # Whether the scores of `forward` are log-probabilities.
    is_normalized: ClassVar[bool] = False
    quantized: kernels.QuantizedWeight | None = None

    def __init__(self, width: int, vocabulary: int, tied: nn.Embedding | None = None) -> None:
        super().__init__()
        self.weight: Tensor = (
            nn.Parameter(torch.empty(vocabulary, width).normal_(std=width**-0.5))
            if tied is None
            else tied.weight
        )

    @abstractmethod
    def forward(self, states: States) -> Tensor:
        """Scores [..., V] of states, or [..., V + E]; their softmax is the distribution of the next token."""

    @abstractmethod
    def rows(self, states: States) -> list[Tensor]:
        """What `log_probabilities` needs of states [N, …], as tensors of N rows."""

    @abstractmethod
    def log_probabilities(self, weight: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """The logarithms of the distributions, finite, [n, V] or [n, V + E], of some of the rows; weight [V, D]."""

    @abstractmethod
    def loss(self, states: States, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """Summed label-smoothed cross-entropy and summed negative log-likelihood, in nats; states [N, …]."""

    def scores(self, hidden: Tensor) -> Tensor:
        """W h, the projection [..., V] of hidden states [..., D]."""
        return kernels.linear(hidden, self.weight if self.quantized is None else self.quantized)


class SoftmaxOutput(OutputLayer[Tensor]):
    """p = softmax(W h), the softmax of the projection."""

    def forward(self, states: Tensor) -> Tensor:
        """Scores [..., V] of hidden states [..., D]; their softmax is the distribution of the next token."""
        return self.scores(states)

    def rows(self, states: Tensor) -> list[Tensor]:
        """The hidden states [N, D]."""
        return [states]

    def log_probabilities(self, weight: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """Give log p, [n, V], of hidden states [n, D]."""
        return kernels.projection(rows[0], weight).log_softmax(-1)

    def loss(self, states: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """Summed label-smoothed cross-entropy and summed negative log-likelihood, in nats.

        With ε of label_smoothing and V words, as in fairseq (Szegedy et al. 2016, section 7):
        loss = (1 - ε) · -log p(target) + ε / (V - 1) · Σ over the other words of -log p(word).
        states [N, D], targets [N]: padding is left out beforehand.
        """
        return kernels.label_smoothed_loss(states, self.weight, targets, label_smoothing)

    def over(self, tokens: Tensor) -> Self:
        """The output layer of some tokens alone, [C], for decoding: its scores are [..., C], in their order.

        The rows of the weight are copied once, here, which takes as long as a product with them.
        """
        part = type(self).__new__(type(self))
        nn.Module.__init__(part)
        if self.quantized is None:
            part.weight = self.weight.detach()[tokens]
        else:
            part.quantized = self.quantized.of_rows(tokens)
        return part
