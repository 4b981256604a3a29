"""Sums that forget: the recurrence of a simple recurrent unit, over whole sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2scli.nn.kernels.switch import enabled


def gated_sums(forget: Tensor, x: Tensor) -> Tensor:
    """Give c with c_t = f_t ⊙ c_(t-1) + (1 - f_t) ⊙ x_t, and 0 before the first (Lei et al. 2018, equation 2).

    forget f and x [B, T, D], computed in at least float32  →  [B, T, D].
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    forget, x = forget.to(wide), x.to(wide)
    if not enabled():
        return gated_sums_formula(forget, x)
    return _GatedSums.apply(forget, x)  # type: ignore[no-any-return, no-untyped-call]


def gated_sums_formula(forget: Tensor, x: Tensor) -> Tensor:
    """`gated_sums` step by step."""
    state, states = torch.zeros_like(x[:, 0]), []
    for gate, entering in zip(forget.unbind(1), x.unbind(1), strict=True):
        state = gate * state + (1 - gate) * entering
        states.append(state)
    return torch.stack(states, dim=1)


class _GatedSums(torch.autograd.Function):
    """The recurrence with one operator a step in either direction, and all else over the whole sequence.

    What comes back to c_t, with what comes from c_(t+1), is g_t = d_t + f_(t+1) g_(t+1); so dx = (1 - f) g and
    df_t = (c_(t-1) - x_t) g_t.
    """

    @staticmethod
    def forward(ctx: Any, forget: Tensor, x: Tensor) -> Tensor:
        states = torch.empty_like(x)
        state = torch.zeros_like(x[:, 0])
        for gate, entering, out in zip(forget.unbind(1), x.unbind(1), states.unbind(1), strict=True):
            state = torch.lerp(entering, state, gate, out=out)
        ctx.save_for_backward(forget, x, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        forget, x, states = ctx.saved_tensors
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        steps = total.unbind(1)
        for t, gate in zip(range(len(steps) - 1, 0, -1), reversed(forget.unbind(1)), strict=False):
            steps[t - 1].addcmul_(steps[t], gate)
        d_forget = torch.neg(x)
        d_forget[:, 1:] += states[:, :-1]
        return d_forget.mul_(total), (1 - forget).mul_(total)
