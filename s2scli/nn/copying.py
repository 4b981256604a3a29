"""Pointer-generator networks (See et al. 2017): an output layer that generates words or copies them of the source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from s2scli.nn import kernels
from s2scli.nn.output import OutputLayer


@dataclass(frozen=True)
class CopyStates:
    """Decoder states with what copying needs beside them, as one thing that is cut and joined like a tensor.

    hidden [..., D]; gate [...]: the generation probability is σ(gate); attention [..., S]: the copy distribution over
    the source's tokens; words [..., S]: their ids in the extended vocabulary. The dimensions "..." are the same in all.
    """

    hidden: Tensor
    gate: Tensor
    attention: Tensor
    words: Tensor

    @property
    def shape(self) -> torch.Size:
        """The shape of the hidden states, [..., D]."""
        return self.hidden.shape

    def _each(self, function: Callable[[Tensor], Any]) -> list[Any]:
        return [function(item) for item in (self.hidden, self.gate, self.attention, self.words)]

    def __getitem__(self, rows: Any) -> Self:
        """The states of some rows."""
        return type(self)(*self._each(lambda item: item[rows]))

    def split(self, size: int) -> list[Self]:
        """The states in parts of `size` rows, the last with fewer."""
        return [type(self)(*parts) for parts in zip(*self._each(lambda item: item.split(size)), strict=True)]

    def chunk(self, number: int) -> list[Self]:
        """The states in `number` parts."""
        return [
            type(self)(*parts) for parts in zip(*self._each(lambda item: item.chunk(number)), strict=True)
        ]

    def float(self) -> Self:
        """The states in float32; ids of words stay what they are."""
        hidden, gate, attention = (item.float() for item in (self.hidden, self.gate, self.attention))
        return type(self)(hidden, gate, attention, self.words)

    def index_select(self, dim: int, rows: Tensor) -> Self:
        """The states of some rows [any] of a dimension."""
        return type(self)(*self._each(lambda item: item.index_select(dim, rows)))

    def flatten(self, start: int, end: int) -> Self:
        """The states with the dimensions from `start` to `end` as one."""
        return type(self)(*self._each(lambda item: item.flatten(start, end)))


Hidden = Tensor | CopyStates


def joined(steps: Sequence[Hidden]) -> Hidden:
    """The states of consecutive steps, [B, 1, …] each, as [B, T, …]."""
    if isinstance(steps[0], Tensor):
        return torch.cat([item for item in steps if isinstance(item, Tensor)], dim=1)
    parts = [item._each(lambda part: part) for item in steps if isinstance(item, CopyStates)]
    return CopyStates(*(torch.cat(part, dim=1) for part in zip(*parts, strict=True)))


class CopyOutput(OutputLayer[CopyStates]):
    """p(w) = p_gen P_vocab(w) + (1 - p_gen) Σ over source tokens i that are w of a_i (See et al. 2017, equation 9).

    p_gen is σ(gate), P_vocab the softmax of the projection and a the attention. w is a word of the vocabulary or one of
    the source's own, whose P_vocab is 0.
    """

    is_normalized = True

    def forward(self, states: CopyStates) -> Tensor:
        """Give log p, [..., V + E], E being the most own words of a source; -inf beyond those of each."""
        log_p = kernels.copy_mixture(self.scores(states.hidden), states.gate, states.attention, states.words)
        columns = torch.arange(log_p.size(-1), device=log_p.device)
        most = states.words.amax(-1, keepdim=True).clamp(min=self.weight.size(0) - 1)
        return log_p.masked_fill(columns > most, float("-inf"))

    def rows(self, states: CopyStates) -> list[Tensor]:
        """Joined hidden states [N, …], gates [N], attention [N, S] and words [N, S]."""
        return [self.joined_hidden(states.hidden), states.gate, states.attention, states.words]

    def log_probabilities(self, weight: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """Give log p, [n, V + E], E being the most own words of a source in these rows; weight is a joined one."""
        hidden, gate, attention, words = rows
        return kernels.copy_mixture(kernels.projection(hidden, weight), gate, attention, words)

    def loss(self, states: CopyStates, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """Summed label-smoothed cross-entropy and summed negative log-likelihood, in nats.

        With ε of label_smoothing: loss = (1 - ε) · -log p(target) + ε / (V - 1) · Σ over the other words of the
        vocabulary of -log p(word), as in SoftmaxOutput; a source's own words have no share in what is smoothed.
        states [N, …], targets [N]: ids of the extended vocabulary.
        """
        likelihoods: list[Tensor] = []
        epsilon = label_smoothing

        def function(shared: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
            *parts, wanted = rows
            of_target, of_others = kernels.copy_log_likelihoods(
                shared[0], parts, wanted, smoothed=epsilon > 0
            )
            likelihoods.append(of_target.detach().sum())
            spread = epsilon / (shared[0].size(0) - 1)
            return -((1 - epsilon) * of_target + spread * of_others).sum()

        size = kernels.chunk_rows(self.weight.size(0))
        loss = kernels.chunked_sum(function, [self.joined_weight()], [*self.rows(states), targets], size)
        return loss, -torch.stack(likelihoods).sum()


def coverage_loss(attention: Tensor, mask: Tensor) -> Tensor:
    """Σ over target tokens of Σ_i min(a_i, c_i), c being the sum of the attention before (See et al. 2017, eq. 12).

    attention [B, T, S]; mask [B, T]: which target tokens count.
    """
    covered = attention.cumsum(1) - attention
    return (torch.minimum(attention, covered).sum(-1) * mask).sum()


class Gate(nn.Linear):
    """What the generation probability is the sigmoid of: a linear function of some states (equation 8)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 1)

    def of(self, *states: Tensor) -> Tensor:
        """[...] of states [..., any], whose widths make up the layer's."""
        gate: Tensor = self(torch.cat(states, dim=-1))
        return gate[..., 0]
