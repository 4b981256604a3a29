"""Attention over encoder states: every classic score function, and the mask-aware average they weight.

Each score is a module. `prepare(keys)` does once per sentence what does not depend on the decoder;
`forward(query, prepared)` gives a score for each pair of decoder and encoder state:

    query [B, Q, decoder size], prepared: of keys [B, S, encoder size]  →  scores [B, Q, S]

Q is the number of decoder states: target positions in training, hypotheses in a beam. Notation: s is the decoder state,
h_j the encoder state at position j.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import sqrt

import torch
from torch import Tensor, nn

from s2scli.nn import kernels


class AttentionScore(nn.Module, ABC):
    """A score function of decoder and encoder states.

    query_size, key_size: sizes of s and h; attention_dim: A, the inner width of the additive and concat scores;
    max_positions: positions that the location score has weights for.
    """

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__()
        self.sizes = (query_size, key_size, attention_dim, max_positions)

    def prepare(self, keys: Tensor) -> Tensor:
        """The share of the encoder states in the scores, [B, S, any], in the precision that they are computed in."""
        return keys

    @abstractmethod
    def forward(self, query: Tensor, prepared: Tensor, linear: kernels.Multiply = kernels.linear) -> Tensor:
        """Scores [B, Q, S] of query [B, Q, query_size] against prepared keys; in a loop with the loop's `linear`."""


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """A parameter drawn as nn.Linear draws its own."""
    bound = 1 / sqrt(fan_in)
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))


class AdditiveScore(AttentionScore):
    """vᵀ tanh(W s + U h_j), Bahdanau et al. 2015, appendix A.1.2."""

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.query = nn.Linear(query_size, attention_dim, bias=False)  # W
        self.key = nn.Linear(key_size, attention_dim, bias=False)  # U
        self.v = _uniform(attention_dim, fan_in=attention_dim)

    def prepare(self, keys: Tensor) -> Tensor:
        """U h_j, [B, S, A]."""
        return kernels.linear(keys, self.key.weight).to(self.v.dtype)

    def forward(self, query: Tensor, prepared: Tensor, linear: kernels.Multiply = kernels.linear) -> Tensor:
        """vᵀ tanh(W s + U h_j)."""
        return kernels.additive_scores(linear(query, self.query.weight), prepared, self.v)


class CoverageScore(AdditiveScore):
    """vᵀ tanh(W s + U h_j + w c_j), See et al. 2017, equation 11; c is the sum of the attention before."""

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.coverage = _uniform(attention_dim, fan_in=attention_dim)  # w

    def forward(
        self,
        query: Tensor,
        prepared: Tensor,
        linear: kernels.Multiply = kernels.linear,
        coverage: Tensor | None = None,
    ) -> Tensor:
        """vᵀ tanh(W s + U h_j + w c_j), with coverage c [B, Q, S]; without it c is 0."""
        projected = linear(query, self.query.weight)
        return kernels.additive_scores(projected, prepared, self.v, coverage, self.coverage)


class DotScore(AttentionScore):
    """sᵀ h_j, Luong et al. 2015, equation 8; both states have one size."""

    def prepare(self, keys: Tensor) -> Tensor:
        """h_j, [B, S, size]."""
        return _summed_over_steps(keys)

    def forward(self, query: Tensor, prepared: Tensor, linear: kernels.Multiply = kernels.linear) -> Tensor:
        """sᵀ h_j."""
        return linear(query, prepared).to(query.dtype)


def _summed_over_steps(keys: Tensor) -> Tensor:
    """Keys in at least float32 where they are trained: their gradient is a sum over all steps."""
    return keys.to(torch.promote_types(keys.dtype, torch.float32)) if torch.is_grad_enabled() else keys


class ScaledDotScore(DotScore):
    """sᵀ h_j / √size, Vaswani et al. 2017, equation 1, without projections."""

    def prepare(self, keys: Tensor) -> Tensor:
        """h_j / √size, [B, S, size]."""
        return _summed_over_steps(keys / sqrt(keys.size(-1)))


class GeneralScore(DotScore):
    """sᵀ W h_j, Luong et al. 2015, equation 8."""

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.weight = nn.Linear(key_size, query_size, bias=False)  # W

    def prepare(self, keys: Tensor) -> Tensor:
        """W h_j, [B, S, query_size]."""
        return _summed_over_steps(kernels.linear(keys, self.weight.weight))


class ConcatScore(AttentionScore):
    """vᵀ tanh(W [s; h_j]), Luong et al. 2015, equation 8.

    W [s; h_j] is the sum of its two halves, so that the one of h_j is computed once.
    """

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.weight = _uniform(attention_dim, query_size + key_size, fan_in=query_size + key_size)  # W
        self.v = _uniform(attention_dim, fan_in=attention_dim)

    def prepare(self, keys: Tensor) -> Tensor:
        """W [0; h_j], [B, S, A]."""
        return kernels.linear(keys, self.weight[:, self.sizes[0] :]).to(self.v.dtype)

    def forward(self, query: Tensor, prepared: Tensor, linear: kernels.Multiply = kernels.linear) -> Tensor:
        """vᵀ tanh(W [s; 0] + W [0; h_j])."""
        return kernels.additive_scores(linear(query, self.weight[:, : self.sizes[0]]), prepared, self.v)


class LocationScore(AttentionScore):
    """(W s)_j, Luong et al. 2015, equation 9: it depends on the decoder state alone.

    W has a row for each of max_positions source positions; positions beyond get no attention.
    """

    vectors = ("weight",)

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.weight = _uniform(max_positions, query_size, fan_in=query_size)  # W

    def forward(self, query: Tensor, prepared: Tensor, linear: kernels.Multiply = kernels.linear) -> Tensor:
        """(W s)_j, and -∞ beyond W's rows."""
        length = prepared.size(1)
        scores = linear(query, self.weight[:length]).to(query.dtype)
        return nn.functional.pad(scores, (0, length - scores.size(-1)), value=float("-inf"))


class SourceOnlyScore(AttentionScore):
    """w·h_j + b: the decoder state has no part in it, so every step sees one average of the source."""

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.weight = nn.Linear(key_size, 1)

    def prepare(self, keys: Tensor) -> Tensor:
        """The scores themselves, [B, S, 1]."""
        scores: Tensor = self.weight(keys)
        return scores

    def forward(self, query: Tensor, prepared: Tensor, linear: kernels.Multiply = kernels.linear) -> Tensor:
        """w·h_j + b, for each query."""
        del linear
        return prepared.transpose(1, 2).expand(-1, query.size(1), -1)  # [B, Q, S]


def attention_weights(scores: Tensor, mask: Tensor) -> Tensor:
    """softmax(scores) over the source's tokens; scores [B, Q, S], mask [B, S]  →  [B, Q, S]."""
    return scores.masked_fill(~mask[:, None], float("-inf")).softmax(-1)


def attend(scores: Tensor, keys: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The average of encoder states under softmax(scores), and the weights.

    scores [B, Q, S], keys [B, S, size], mask [B, S]  →  context [B, Q, size], weights [B, Q, S].
    """
    weights = attention_weights(scores, mask)
    return weights @ keys, weights
