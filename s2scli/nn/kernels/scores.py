"""The additive attention score, whose tanh over all pairs of states is most of what a recurrent model computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2scli.nn.kernels.switch import enabled

# Numbers in memory at once on a CPU: 4 MB of float32.
_BLOCK_ELEMENTS = 1 << 20


def additive_scores(
    query: Tensor, keys: Tensor, v: Tensor, coverage: Tensor | None = None, w: Tensor | None = None
) -> Tensor:
    """vᵀ tanh(q_i + k_j) of each pair, Bahdanau et al. 2015, A.1.2; with coverage c vᵀ tanh(q_i + k_j + w c_ij), See et
    al. 2017, equation 11.

    query [B, Q, A], keys [B, S, A], v [A], coverage [B, Q, S] and w [A]  →  [B, Q, S], in the precision of v.
    """
    device = query.device.type
    if torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return additive_scores(query, keys, v, coverage, w)
    query, keys = query.to(v.dtype), keys.to(v.dtype)
    coverage = None if coverage is None else coverage.to(v.dtype)
    if not enabled():
        return additive_formula(query, keys, v, coverage, w)
    if coverage is None:
        return _TanhScores.apply(query, keys, v)  # type: ignore[no-any-return, no-untyped-call]
    return _CoveredScores.apply(query, keys, v, coverage, w)  # type: ignore[no-any-return, no-untyped-call]


def additive_formula(
    query: Tensor, keys: Tensor, v: Tensor, coverage: Tensor | None = None, w: Tensor | None = None
) -> Tensor:
    """`additive_scores` as its papers have it."""
    inner = query[:, :, None] + keys[:, None]  # [B, Q, S, A]
    if coverage is not None and w is not None:
        inner = inner + coverage[..., None] * w
    return inner.tanh() @ v


# The kernels use tanh(x) = 2σ(2x) - 1, as torch's σ is ten times faster than its tanh on a CPU. σ is not kept for the
# backward pass but computed again, some sentences at a time, so that [B, Q, S, A] numbers are never all there.


def _blocks(query: Tensor, keys: Tensor) -> list[slice]:
    """Slices of the batch, of which one is computed at a time."""
    each = query.size(1) * keys.size(1) * keys.size(2)
    size = len(keys) if keys.is_cuda else max(1, _BLOCK_ELEMENTS // each)
    return [slice(start, start + size) for start in range(0, len(keys), size)]


def _doubled_sum(query: Tensor, keys: Tensor) -> Tensor:
    """2 (q_i + k_j) of each pair, [B, Q, S, A]."""
    return torch.add(2 * query[:, :, None], keys[:, None], alpha=2)


class _TanhScores(torch.autograd.Function):
    """vᵀ tanh(q + k).

    With the gradient d of the scores, σ = σ(2 (q + k)) and y = 4σ(1-σ), which is 1 - tanh²(q + k):
    dq = v ⊙ Σ_S d y, dk = v ⊙ Σ_Q d y, dv = Σ d (2σ - 1).
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(query, keys, v)
        parts = [_doubled_sum(query[rows], keys[rows]).sigmoid_() @ v for rows in _blocks(query, keys)]
        return torch.cat(parts).mul_(2).sub_(v.sum())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, keys, v = ctx.saved_tensors
        d_query, d_keys, d_v = torch.empty_like(query), torch.empty_like(keys), torch.zeros_like(v)
        for rows in _blocks(query, keys):
            d = gradients[0][rows]  # [B, Q, S]
            inner = _doubled_sum(query[rows], keys[rows]).sigmoid_()  # [B, Q, S, A]
            d_v += d.flatten() @ inner.flatten(0, -2)
            inner = inner.addcmul_(inner, inner, value=-1)
            torch.matmul(d[:, :, None], inner, out=d_query[rows][:, :, None])
            if inner.size(1) == 1:
                torch.mul(d[:, 0, :, None], inner[:, 0], out=d_keys[rows])
            else:
                torch.sum(inner.mul_(d[..., None]), 1, out=d_keys[rows])
        four_v = 4 * v
        return d_query.mul_(four_v), d_keys.mul_(four_v), d_v.mul_(2).sub_(gradients[0].sum())


class _CoveredScores(torch.autograd.Function):
    """vᵀ tanh(q + k + c w), as _TanhScores, with coverage c [B, Q, S] and w [A].

    With what comes back to the sum within the tanh, e = d v y [B, Q, S, A]: dc = Σ_A e w, dw = Σ e c.
    """

    @staticmethod
    def sigmoid(rows: slice, query: Tensor, keys: Tensor, coverage: Tensor, w: Tensor) -> Tensor:
        """σ(2 (q + k + c w)) of some rows of the batch, [B, Q, S, A]."""
        inner = _doubled_sum(query[rows], keys[rows])
        return inner.addcmul_(coverage[rows][..., None], 2 * w).sigmoid_()

    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, v: Tensor, coverage: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(query, keys, v, coverage, w)
        parts = [_CoveredScores.sigmoid(rows, query, keys, coverage, w) @ v for rows in _blocks(query, keys)]
        return torch.cat(parts).mul_(2).sub_(v.sum())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        query, keys, v, coverage, w = ctx.saved_tensors
        d_query, d_keys, d_coverage = (torch.empty_like(item) for item in (query, keys, coverage))
        d_v, d_w = torch.zeros_like(v), torch.zeros_like(w)
        for rows in _blocks(query, keys):
            d = gradients[0][rows]
            inner = _CoveredScores.sigmoid(rows, query, keys, coverage, w)
            d_v += d.flatten() @ inner.flatten(0, -2)
            inner = inner.addcmul_(inner, inner, value=-1).mul_(d[..., None]).mul_(4 * v)
            d_query[rows], d_keys[rows], d_coverage[rows] = inner.sum(2), inner.sum(1), inner @ w
            d_w += coverage[rows].flatten() @ inner.flatten(0, -2)
        return d_query, d_keys, d_v.mul_(2).sub_(gradients[0].sum()), d_coverage, d_w
