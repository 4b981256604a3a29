"""Attention over encoder states: every classic score function, and the mask-aware average they weight.

Each score is a module. `prepare(keys)` does once per sentence what does not depend on the decoder;
`forward(query, prepared)` gives a score for each pair of decoder and encoder state:

    query [B, Q, decoder size], prepared: of keys [B, S, encoder size]  →  scores [B, Q, S]

Q is the number of decoder states: target positions in training, hypotheses in a beam. Notation: s is the
decoder state, h_j the encoder state at position j.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import sqrt

import torch
from torch import Tensor, nn

from s2scli.registry import Registry

SCORES = Registry(
    "attention score",
    {
        "additive": "s2scli.nn.attention:AdditiveScore",
        "dot": "s2scli.nn.attention:DotScore",
        "scaled-dot": "s2scli.nn.attention:ScaledDotScore",
        "general": "s2scli.nn.attention:GeneralScore",
        "concat": "s2scli.nn.attention:ConcatScore",
        "location": "s2scli.nn.attention:LocationScore",
        "source-only": "s2scli.nn.attention:SourceOnlyScore",
    },
)


class Score(nn.Module, ABC):
    """A score function of decoder and encoder states.

    query_size, key_size: sizes of s and h; attention_dim: inner width of the additive and concat scores;
    max_positions: positions that the location score has weights for.
    """

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__()
        self.sizes = (query_size, key_size, attention_dim, max_positions)

    def prepare(self, keys: Tensor) -> Tensor:
        """What depends on the encoder states alone, [B, S, any]."""
        return keys

    @abstractmethod
    def forward(self, query: Tensor, prepared: Tensor) -> Tensor:
        """Scores [B, Q, S] of query [B, Q, query_size] against prepared keys."""


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """A parameter drawn as nn.Linear draws its own."""
    bound = 1 / sqrt(fan_in)
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))


class AdditiveScore(Score):
    """vᵀ tanh(W s + U h_j), Bahdanau et al. 2015, appendix A.1.2."""

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.query = nn.Linear(query_size, attention_dim, bias=False)
        self.key = nn.Linear(key_size, attention_dim, bias=False)
        self.v = _uniform(attention_dim, fan_in=attention_dim)

    def prepare(self, keys: Tensor) -> Tensor:
        """U h_j, [B, S, attention_dim]."""
        projected: Tensor = self.key(keys)
        return projected

    def forward(self, query: Tensor, prepared: Tensor) -> Tensor:
        """Scores [B, Q, S]."""
        inner = torch.tanh(self.query(query)[:, :, None] + prepared[:, None])  # [B, Q, S, attention_dim]
        return inner @ self.v


class DotScore(Score):
    """sᵀ h_j, Luong et al. 2015, equation 8; both states have one size."""

    def forward(self, query: Tensor, prepared: Tensor) -> Tensor:
        """Scores [B, Q, S]."""
        return query @ prepared.transpose(1, 2)


class ScaledDotScore(Score):
    """sᵀ h_j / √size, Vaswani et al. 2017, equation 1, without projections."""

    def forward(self, query: Tensor, prepared: Tensor) -> Tensor:
        """Scores [B, Q, S]."""
        return query @ prepared.transpose(1, 2) / sqrt(query.size(-1))


class GeneralScore(Score):
    """sᵀ W h_j, Luong et al. 2015, equation 8."""

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.weight = nn.Linear(key_size, query_size, bias=False)

    def prepare(self, keys: Tensor) -> Tensor:
        """W h_j, [B, S, query_size]."""
        projected: Tensor = self.weight(keys)
        return projected

    def forward(self, query: Tensor, prepared: Tensor) -> Tensor:
        """Scores [B, Q, S]."""
        return query @ prepared.transpose(1, 2)


class ConcatScore(Score):
    """vᵀ tanh(W [s; h_j]), Luong et al. 2015, equation 8.

    W is kept as one matrix and applied to its two halves, so that the part of h_j is computed once.
    """

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.weight = _uniform(attention_dim, query_size + key_size, fan_in=query_size + key_size)
        self.v = _uniform(attention_dim, fan_in=attention_dim)

    def prepare(self, keys: Tensor) -> Tensor:
        """The part of W [s; h_j] that comes from h_j, [B, S, attention_dim]."""
        return keys @ self.weight[:, self.sizes[0] :].T

    def forward(self, query: Tensor, prepared: Tensor) -> Tensor:
        """Scores [B, Q, S]."""
        of_query = query @ self.weight[:, : self.sizes[0]].T
        return torch.tanh(of_query[:, :, None] + prepared[:, None]) @ self.v


class LocationScore(Score):
    """(W s)_j, Luong et al. 2015, equation 9: it looks at the decoder state alone.

    W has a row for each of max_positions source positions; positions beyond get no attention.
    """

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.weight = _uniform(max_positions, query_size, fan_in=query_size)

    def forward(self, query: Tensor, prepared: Tensor) -> Tensor:
        """Scores [B, Q, S]."""
        length = prepared.size(1)
        scores = query @ self.weight[:length].T
        beyond = length - scores.size(2)
        return nn.functional.pad(scores, (0, beyond), value=float("-inf")) if beyond else scores


class SourceOnlyScore(Score):
    """w·h_j + b: the decoder state is not looked at, so every step sees one average of the source."""

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.weight = nn.Linear(key_size, 1)

    def prepare(self, keys: Tensor) -> Tensor:
        """The scores themselves, [B, S, 1]."""
        scores: Tensor = self.weight(keys)
        return scores

    def forward(self, query: Tensor, prepared: Tensor) -> Tensor:
        """Scores [B, Q, S]."""
        return prepared.transpose(1, 2).expand(-1, query.size(1), -1)


def attend(scores: Tensor, keys: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The average of encoder states under softmax(scores), and the weights.

    scores [B, Q, S], keys [B, S, size], mask [B, S]  →  context [B, Q, size], weights [B, Q, S].
    """
    weights = scores.masked_fill(~mask[:, None], float("-inf")).softmax(-1)
    return weights @ keys, weights
