"""Attention over encoder states: every classic score function, and the mask-aware average they weight.

Each score is a module. `prepare(keys)` does once per sentence what does not depend on the decoder;
`forward(query, prepared)` gives a score for each pair of decoder and encoder state:

    query [B, Q, decoder size], prepared: of keys [B, S, encoder size]  →  scores [B, Q, S]

and `repeated(prepared, …)` is the same function for a loop. Q is the number of decoder states: target positions in
training, hypotheses in a beam. Notation: s is the decoder state, h_j the encoder state at position j.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from s2scli.nn.kernels.products import RepeatedLinear, linear, product_dtype

# Numbers in memory at once in the additive score on a CPU: 4 MB of float32.
_BLOCK_ELEMENTS = 1 << 20


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
    def repeated(self, prepared: Tensor, steps: int, queries: int) -> Callable[[Tensor], Tensor]:
        """What gives the scores [B, Q, S] of query [B, Q, query_size]; called `steps` times, outside autocast."""

    def forward(self, query: Tensor, prepared: Tensor) -> Tensor:
        """Scores [B, Q, S] of query [B, Q, query_size] against prepared keys."""
        scores = self.repeated(prepared, 1, query.size(1))
        with torch.autocast(query.device.type, enabled=False):
            return scores(query)


def _repeated(weight: Tensor, shape: tuple[int, int], steps: int) -> RepeatedLinear:
    """The product of a matrix, or in at least float32 one a sentence, with queries of shape [B, Q]."""
    if weight.dim() == 3:
        dtype = torch.promote_types(weight.dtype, torch.float32) if torch.is_grad_enabled() else weight.dtype
    else:
        dtype = product_dtype(weight)
    return RepeatedLinear(weight, None, dtype, steps, shape)


class _TanhScores(torch.autograd.Function):
    """vᵀ tanh((q + k)/2) of each pair of q [B, Q, A] and k [B, S, A]: what additive scores are made of; [B, Q, S].

    tanh(x/2) = 2σ(x) - 1 is used, as torch's σ is ten times faster than its tanh on a CPU. With the gradient d of the
    scores and y = 2σ(1-σ): dq = v ⊙ Σ_S d y, dk = v ⊙ Σ_Q d y, dv = Σ d (2σ - 1). σ is not kept but computed again,
    some sentences at a time.
    """

    @staticmethod
    def blocks(query: Tensor, keys: Tensor) -> list[slice]:
        """Slices of the sentences."""
        each = query.size(1) * keys.size(1) * keys.size(2)
        size = len(keys) if keys.is_cuda else max(1, _BLOCK_ELEMENTS // each)
        return [slice(start, start + size) for start in range(0, len(keys), size)]

    @staticmethod
    def sigmoid(query: Tensor, keys: Tensor) -> Tensor:
        """σ(q + k), [B, Q, S, A]."""
        return (query[:, :, None] + keys[:, None]).sigmoid_()

    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(query, keys, v)
        parts = [_TanhScores.sigmoid(query[rows], keys[rows]) @ v for rows in _TanhScores.blocks(query, keys)]
        return torch.cat(parts).mul_(2).sub_(v.sum())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, keys, v = ctx.saved_tensors
        d_query, d_keys, d_v = torch.empty_like(query), torch.empty_like(keys), torch.zeros_like(v)
        for rows in _TanhScores.blocks(query, keys):
            d = gradients[0][rows]  # [B, Q, S]
            inner = _TanhScores.sigmoid(query[rows], keys[rows])  # [B, Q, S, A]
            d_v += d.flatten() @ inner.flatten(0, -2)
            inner = inner.addcmul_(inner, inner, value=-1)
            torch.matmul(d[:, :, None], inner, out=d_query[rows][:, :, None])
            if inner.size(1) == 1:
                torch.mul(d[:, 0, :, None], inner[:, 0], out=d_keys[rows])
            else:
                torch.sum(inner.mul_(d[..., None]), 1, out=d_keys[rows])
        twice = 2 * v
        return d_query.mul_(twice), d_keys.mul_(twice), d_v.mul_(2).sub_(gradients[0].sum())


def _additive(
    weight: Tensor, prepared: Tensor, v: Tensor, steps: int, queries: int
) -> Callable[[Tensor], Tensor]:
    """vᵀ tanh(W s + prepared/2), as a function of s."""
    project = _repeated(2 * weight, (len(prepared), queries), steps)
    keys = prepared.to(v.dtype)

    def scores(query: Tensor) -> Tensor:
        found: Tensor = _TanhScores.apply(project(query).to(v.dtype), keys, v)  # type: ignore[no-untyped-call]
        return found

    return scores


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
        """2 U h_j, [B, S, attention_dim]."""
        return linear(keys, 2 * self.key.weight)

    def repeated(self, prepared: Tensor, steps: int, queries: int) -> Callable[[Tensor], Tensor]:
        """vᵀ tanh(W s + prepared/2)."""
        return _additive(self.query.weight, prepared, self.v, steps, queries)


class _CoveredScores(torch.autograd.Function):
    """vᵀ tanh((q + k + c w)/2), as _TanhScores, with coverage c [B, Q, S] and w [A].

    With what comes back to the sum within the tanh, e [B, Q, S, A]: dc = Σ_A e w, dw = Σ e c.
    """

    @staticmethod
    def sigmoid(rows: slice, query: Tensor, keys: Tensor, coverage: Tensor, w: Tensor) -> Tensor:
        """σ(q + k + c w) of some sentences, [B, Q, S, A]."""
        inner = query[rows][:, :, None] + keys[rows][:, None]
        return inner.addcmul_(coverage[rows][..., None], w).sigmoid_()

    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, v: Tensor, coverage: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(query, keys, v, coverage, w)
        parts = [
            _CoveredScores.sigmoid(rows, query, keys, coverage, w) @ v
            for rows in _TanhScores.blocks(query, keys)
        ]
        return torch.cat(parts).mul_(2).sub_(v.sum())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        query, keys, v, coverage, w = ctx.saved_tensors
        d_query, d_keys, d_coverage = (torch.empty_like(item) for item in (query, keys, coverage))
        d_v, d_w = torch.zeros_like(v), torch.zeros_like(w)
        for rows in _TanhScores.blocks(query, keys):
            d = gradients[0][rows]
            inner = _CoveredScores.sigmoid(rows, query, keys, coverage, w)
            d_v += d.flatten() @ inner.flatten(0, -2)
            inner = inner.addcmul_(inner, inner, value=-1).mul_(d[..., None]).mul_(2 * v)
            d_query[rows], d_keys[rows], d_coverage[rows] = inner.sum(2), inner.sum(1), inner @ w
            d_w += coverage[rows].flatten() @ inner.flatten(0, -2)
        return d_query, d_keys, d_v.mul_(2).sub_(gradients[0].sum()), d_coverage, d_w


class CoverageScore(AdditiveScore):
    """vᵀ tanh(W s + U h_j + w c_j), See et al. 2017, equation 11; c is the sum of the attention before."""

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.coverage = _uniform(attention_dim, fan_in=attention_dim)

    def repeated_over(self, prepared: Tensor, steps: int, queries: int) -> Callable[[Tensor, Tensor], Tensor]:
        """What gives the scores [B, Q, S] of query [B, Q, query_size] with coverage [B, Q, S]; as `repeated`."""
        project = _repeated(2 * self.query.weight, (len(prepared), queries), steps)
        keys, w = prepared.to(self.v.dtype), 2 * self.coverage

        def scores(query: Tensor, coverage: Tensor) -> Tensor:
            projected = project(query).to(self.v.dtype)
            found: Tensor = _CoveredScores.apply(projected, keys, self.v, coverage.to(self.v.dtype), w)  # type: ignore[no-untyped-call]
            return found

        return scores


class DotScore(Score):
    """sᵀ h_j, Luong et al. 2015, equation 8; both states have one size."""

    def repeated(self, prepared: Tensor, steps: int, queries: int) -> Callable[[Tensor], Tensor]:
        """sᵀ prepared."""
        multiply = _repeated(prepared, (len(prepared), queries), steps)
        return lambda query: multiply(query).to(query.dtype)


class ScaledDotScore(DotScore):
    """sᵀ h_j / √size, Vaswani et al. 2017, equation 1, without projections."""

    def prepare(self, keys: Tensor) -> Tensor:
        """h_j / √size, [B, S, size]."""
        return keys / sqrt(keys.size(-1))


class GeneralScore(DotScore):
    """sᵀ W h_j, Luong et al. 2015, equation 8."""

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.weight = nn.Linear(key_size, query_size, bias=False)

    def prepare(self, keys: Tensor) -> Tensor:
        """W h_j, [B, S, query_size]."""
        return linear(keys, self.weight.weight)


class ConcatScore(Score):
    """vᵀ tanh(W [s; h_j]), Luong et al. 2015, equation 8.

    W is kept as one matrix and applied to its two halves, so that the part of h_j is computed once.
    """

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.weight = _uniform(attention_dim, query_size + key_size, fan_in=query_size + key_size)
        self.v = _uniform(attention_dim, fan_in=attention_dim)

    def prepare(self, keys: Tensor) -> Tensor:
        """Twice the part of W [s; h_j] that comes from h_j, [B, S, attention_dim]."""
        return linear(keys, 2 * self.weight[:, self.sizes[0] :])

    def repeated(self, prepared: Tensor, steps: int, queries: int) -> Callable[[Tensor], Tensor]:
        """vᵀ tanh(W [s; 0] + prepared/2)."""
        return _additive(self.weight[:, : self.sizes[0]], prepared, self.v, steps, queries)


class LocationScore(Score):
    """(W s)_j, Luong et al. 2015, equation 9: it looks at the decoder state alone.

    W has a row for each of max_positions source positions; positions beyond get no attention.
    """

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.weight = _uniform(max_positions, query_size, fan_in=query_size)

    def repeated(self, prepared: Tensor, steps: int, queries: int) -> Callable[[Tensor], Tensor]:
        """(W s)_j, and -∞ beyond W's rows."""
        weight = self.weight[: prepared.size(1)]
        project = _repeated(weight, (len(prepared), queries), steps)
        beyond = prepared.size(1) - len(weight)
        return lambda query: nn.functional.pad(
            project(query).to(query.dtype), (0, beyond), value=float("-inf")
        )


class SourceOnlyScore(Score):
    """w·h_j + b: the decoder state is not looked at, so every step sees one average of the source."""

    def __init__(self, query_size: int, key_size: int, attention_dim: int, max_positions: int) -> None:
        super().__init__(query_size, key_size, attention_dim, max_positions)
        self.weight = nn.Linear(key_size, 1)

    def prepare(self, keys: Tensor) -> Tensor:
        """The scores themselves, [B, S, 1]."""
        scores: Tensor = self.weight(keys)
        return scores

    def repeated(self, prepared: Tensor, steps: int, queries: int) -> Callable[[Tensor], Tensor]:
        """The prepared scores, whatever the query."""
        del steps
        scores = prepared.transpose(1, 2).expand(-1, queries, -1)
        return lambda _: scores


def attention_weights(scores: Tensor, mask: Tensor) -> Tensor:
    """softmax(scores) over the source's tokens; scores [B, Q, S], mask [B, S]  →  [B, Q, S]."""
    return scores.masked_fill(~mask[:, None], float("-inf")).softmax(-1)


def attend(scores: Tensor, keys: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The average of encoder states under softmax(scores), and the weights.

    scores [B, Q, S], keys [B, S, size], mask [B, S]  →  context [B, Q, size], weights [B, Q, S].
    """
    weights = attention_weights(scores, mask)
    return weights @ keys, weights
