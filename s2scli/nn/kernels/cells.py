"""Steps of recurrent cells, each with its gradient in as few operators as it takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2scli.nn.kernels.switch import enabled

# torch's order of gates. Under autocast only the products before a cell are in half precision: a state that is summed
# over many steps keeps its own.


def lstm_cell(entering: Tensor, recurrent: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """An LSTM's step (Hochreiter and Schmidhuber 1997) with forget gates (Gers et al. 2000): h' and c'.

    With i, f, g, o the four parts of W x + b + U h + d: c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c').
    entering W x + b and recurrent U h + d, [rows, 4·size]; memory c [rows, size]  →  [rows, size] each.
    """
    if not enabled():
        return lstm_formula(entering, recurrent, memory)
    return _LSTMCell.apply(entering, recurrent, memory)  # type: ignore[no-any-return, no-untyped-call]


def lstm_formula(entering: Tensor, recurrent: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """`lstm_cell` as its paper has it."""
    i, f, g, o = (entering.to(memory.dtype) + recurrent).chunk(4, dim=-1)
    new = f.sigmoid() * memory + i.sigmoid() * g.tanh()
    return o.sigmoid() * new.tanh(), new


def gru_cell(entering: Tensor, recurrent: Tensor, hidden: Tensor) -> Tensor:
    """A GRU's step (Cho et al. 2014, equations 5 to 8), as in torch: the reset gate acts after the recurrent product.

    With x and y the parts of W x + b and of U h + c: r, z = σ(x + y), n = tanh(x_n + r y_n), h' = n + z (h - n).
    entering W x + b and recurrent U h + c, [rows, 3·size]; hidden h [rows, size]  →  [rows, size].
    """
    if not enabled():
        return gru_formula(entering, recurrent, hidden)
    return _GRUCell.apply(entering, recurrent, hidden)  # type: ignore[no-any-return, no-untyped-call]


def gru_formula(entering: Tensor, recurrent: Tensor, hidden: Tensor) -> Tensor:
    """`gru_cell` as its paper has it."""
    x_r, x_z, x_n = entering.to(hidden.dtype).chunk(3, dim=-1)
    y_r, y_z, y_n = recurrent.to(hidden.dtype).chunk(3, dim=-1)
    reset, update = (x_r + y_r).sigmoid(), (x_z + y_z).sigmoid()
    new = (x_n + reset * y_n).tanh()
    return new + update * (hidden - new)


def _tanh_(x: Tensor) -> Tensor:
    """In place, as 2 σ(2x) - 1 on a CPU, where torch's sigmoid is ten times faster than its tanh."""
    return x.tanh_() if x.is_cuda else x.mul_(2).sigmoid_().mul_(2).sub_(1)


class _LSTMCell(torch.autograd.Function):
    """`lstm_formula`, with i, f, o and g after their nonlinearities.

    Backwards, dc' += dh' o (1 - tanh² c'), and the gates before their nonlinearity get dc' g i (1-i), dc' c f (1-f),
    dc' i (1-g²), dh' tanh c' o (1-o); dc = dc' f.
    """

    @staticmethod
    def forward(ctx: Any, entering: Tensor, recurrent: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        gates = entering.to(memory.dtype, copy=True).add_(recurrent)
        size = memory.size(-1)
        gates[:, 2 * size : 3 * size].mul_(2)  # tanh x = 2 σ(2x) - 1
        gates.sigmoid_()
        i, f, g, o = gates.chunk(4, dim=-1)
        g.mul_(2).sub_(1)
        new = (f * memory).addcmul_(i, g)
        squashed = _tanh_(new.clone())
        ctx.save_for_backward(gates, memory, squashed)
        ctx.dtype = entering.dtype
        return o * squashed, new

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        dh, dc = gradients
        gates, memory, squashed = ctx.saved_tensors
        i, f, g, o = gates.chunk(4, dim=-1)
        dc = torch.ops.aten.tanh_backward(dh * o, squashed).add_(dc)
        d_gates = torch.empty_like(gates)
        di, df, dg, do = d_gates.chunk(4, dim=-1)
        torch.ops.aten.sigmoid_backward.grad_input(dc * g, i, grad_input=di)
        torch.ops.aten.sigmoid_backward.grad_input(dc * memory, f, grad_input=df)
        torch.ops.aten.tanh_backward.grad_input(dc * i, g, grad_input=dg)
        torch.ops.aten.sigmoid_backward.grad_input(dh * squashed, o, grad_input=do)
        d_gates = d_gates.to(ctx.dtype)
        return d_gates, d_gates, dc.mul_(f)


class _GRUCell(torch.autograd.Function):
    """`gru_formula`, with r, z and n after their nonlinearities.

    Backwards, dn = dh' (1-z) (1-n²) before its tanh, dr = dn y_n r (1-r), dz = dh' (h-n) z (1-z) before their σ; x_n
    gets dn, y_n gets dn r, and h gets dh' z.
    """

    @staticmethod
    def forward(ctx: Any, entering: Tensor, recurrent: Tensor, hidden: Tensor) -> Tensor:
        size = hidden.size(-1)
        ctx.dtype = entering.dtype
        gates = entering.to(hidden.dtype, copy=True)
        y_new = recurrent[:, 2 * size :].to(hidden.dtype)
        gates[:, : 2 * size].add_(recurrent[:, : 2 * size]).sigmoid_()
        reset, update, new = gates.chunk(3, dim=-1)
        _tanh_(new.addcmul_(reset, y_new))
        ctx.save_for_backward(gates, y_new, hidden)
        return torch.lerp(new, hidden, update)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (dh,) = gradients
        gates, y_new, hidden = ctx.saved_tensors
        reset, update, new = gates.chunk(3, dim=-1)
        size = hidden.size(-1)
        d_entering = torch.empty_like(gates)
        dr, dz, dn = d_entering.chunk(3, dim=-1)
        through = dh * update
        torch.ops.aten.tanh_backward.grad_input(dh - through, new, grad_input=dn)
        torch.ops.aten.sigmoid_backward.grad_input(dn * y_new, reset, grad_input=dr)
        torch.ops.aten.sigmoid_backward.grad_input((hidden - new).mul_(dh), update, grad_input=dz)
        d_recurrent = d_entering.clone()
        d_recurrent[:, 2 * size :].mul_(reset)
        return d_entering.to(ctx.dtype), d_recurrent.to(ctx.dtype), through
