"""The output layer: from hidden states to the distribution of the next token, and to a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn import kernels

States = TypeVar("States")


class OutputLayer(nn.Module, ABC, Generic[States]):
    """From decoder states to the distribution of the next token, by a linear projection to the vocabulary.

    States: a tensor [..., D], or one with more beside it. width: D; vocabulary: V; tied: the embedding whose weight
    [V, D] is used; bias: whether there is one, [V], zero at first; scale: what states are multiplied by, 1 unless it is
    given. A layer has a `quantized` weight beside it in models that only decode, see nn/quantized.py.
    """

    # Whether the scores of `forward` are log-probabilities.
    is_normalized: ClassVar[bool] = False
    quantized: kernels.QuantizedWeight | None = None

    bias: Tensor | None
    scale: float | None = None

    def __init__(
        self,
        width: int,
        vocabulary: int,
        tied: nn.Embedding | None = None,
        *,
        bias: bool = False,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.weight: Tensor = (
            nn.Parameter(torch.empty(vocabulary, width).normal_(std=width**-0.5))
            if tied is None
            else tied.weight
        )
        self.register_parameter("bias", nn.Parameter(torch.zeros(vocabulary)) if bias else None)
        self.scale = scale

    @abstractmethod
    def forward(self, states: States) -> Tensor:
        """Scores [..., V] of states, or [..., V + E]; their softmax is the distribution of the next token."""

    @abstractmethod
    def rows(self, states: States) -> list[Tensor]:
        """What `log_probabilities` needs of states [N, …], as tensors of N rows."""

    @abstractmethod
    def log_probabilities(self, weight: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """The logarithms of the distributions, finite, [n, V] or [n, V + E], of some of the rows.

        weight: as `joined_weight` gives it.
        """

    @abstractmethod
    def loss(self, states: States, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """Summed label-smoothed cross-entropy and summed negative log-likelihood, in nats; states [N, …]."""

    def matrix(self) -> Tensor:
        """W times the scale, [V, D]."""
        return self.weight if self.scale is None else self.scale * self.weight

    def scores(self, hidden: Tensor) -> Tensor:
        """W h + b, the projection [..., V] of hidden states [..., D], times the scale where there is one."""
        if self.quantized is not None:
            return kernels.linear(hidden, self.quantized)
        return kernels.linear(hidden, self.matrix(), self.bias)

    def joined_weight(self) -> Tensor:
        """The weight [W b], [V, D + 1], whose product with [h 1] has the bias in it; without one W, [V, D]."""
        if self.bias is None:
            return self.matrix()
        return torch.cat([self.matrix(), self.bias[:, None]], dim=1)

    def joined_hidden(self, hidden: Tensor) -> Tensor:
        """Hidden states [h 1], [N, D + 1], as `joined_weight` multiplies them; without a bias h, [N, D]."""
        return hidden if self.bias is None else F.pad(hidden, (0, 1), value=1.0)


class SoftmaxOutput(OutputLayer[Tensor]):
    """p = softmax(W h + b), the softmax of the projection."""

    def forward(self, states: Tensor) -> Tensor:
        """Scores [..., V] of hidden states [..., D]; their softmax is the distribution of the next token."""
        return self.scores(states)

    def rows(self, states: Tensor) -> list[Tensor]:
        """The joined hidden states [N, …]."""
        return [self.joined_hidden(states)]

    def log_probabilities(self, weight: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """Give log p, [n, V], of joined hidden states [n, …]."""
        return kernels.projection(rows[0], weight).log_softmax(-1)

    def loss(self, states: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """Summed label-smoothed cross-entropy and summed negative log-likelihood, in nats.

        With ε of label_smoothing and V words, as in fairseq (Szegedy et al. 2016, section 7):
        loss = (1 - ε) · -log p(target) + ε / (V - 1) · Σ over the other words of -log p(word).
        states [N, D], targets [N]: padding is left out beforehand.
        """
        return kernels.label_smoothed_loss(
            self.joined_hidden(states), self.joined_weight(), targets, label_smoothing
        )

    def direct_call(self) -> Callable[[Tensor], Tensor]:
        """What calling it comes to in decoding, see nn/kernels/direct_calls.py: the quantized weight's product."""
        return self.forward if self.quantized is None else self.quantized.direct_call()

    def over(self, tokens: Tensor) -> Self:
        """The output layer of some tokens alone, [C], for decoding: its scores are [..., C], in their order.

        The rows of the weight are copied once, here, which takes as long as a product with them.
        """
        part = type(self).__new__(type(self))
        nn.Module.__init__(part)
        if self.quantized is None:
            part.weight = self.matrix().detach().index_select(0, tokens)
            part.bias = None if self.bias is None else self.bias.detach()[tokens]
        else:
            part.quantized = self.quantized.of_rows(tokens)
        return part
