"""Matrix products with weights: the fastest that a device has, and those that a loop makes step by step."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# torch sends a CPU's float32 products to MKL, which on other makers' chips is half as fast as oneDNN.
_ONEDNN = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
)

# Multiplications up to which calling oneDNN takes longer than what it saves.
_SMALL = 1 << 19
# The rows of a product that is trained are a multiple of this, where they are as many.
_ROW_MULTIPLE = 128
# Weights are packed for so many rows, which is as good for fewer and for more.
_PACKED_FOR = 64


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Give x Wᵀ + b in the tensors' own precision, without a gradient.

    x [..., K], weight [N, K] and bias [N]; or a weight for each row of x, [B, N, K].
    """
    if weight.dim() == 3:
        return x @ weight.transpose(1, 2)
    if (
        _ONEDNN is not None
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * weight.size(0) > _SMALL
    ):
        if not weight.T.is_contiguous():
            weight = weight.contiguous()  # oneDNN would take a slow way with columns of a matrix
        y: Tensor = _ONEDNN(x, weight, bias, "none", [], "")
        return y
    return F.linear(x, weight, bias)


@cache
def _has_kernels(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies numbers of a kind on this CPU; bf16 takes AVX-512, or the like of it."""
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack(weight: Tensor) -> Tensor | None:
    """A weight [N, K] as oneDNN wants it in a product, so that it need not be brought into that order each time.

    None where there is no such order; what is given is for `packed_product` only.
    """
    if _ONEDNN is None or weight.device.type != "cpu" or not _has_kernels(weight.dtype):
        return None
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_FOR)
    return packed


def packed_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What `product` gives, with a weight from `pack`."""
    assert _ONEDNN is not None
    y: Tensor = _ONEDNN(x, weight, bias, "none", [], "")
    return y


def product_dtype(x: Tensor) -> torch.dtype:
    """The precision that products have here: autocast's, else that of x."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _rounded(x: Tensor) -> Tensor:
    """The rows of x [..., K], on a CPU with rows of zeros up to a multiple.

    oneDNN makes a kernel for every number of rows that it meets, half a megabyte each, and torch keeps a thousand.
    """
    rows = x.reshape(-1, x.size(-1))
    if x.device.type != "cpu" or len(rows) < _ROW_MULTIPLE:
        return rows
    return F.pad(rows, (0, 0, 0, -len(rows) % _ROW_MULTIPLE))


class _Linear(torch.autograd.Function):
    """y = x Wᵀ + b, with dx = dy W, dW = dyᵀ x, db = Σ dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        rows, narrow_weight = _rounded(x.to(dtype)), weight.to(dtype)
        ctx.save_for_backward(rows, narrow_weight)
        ctx.dtypes = x.dtype, weight.dtype
        y = product(rows, narrow_weight, None if bias is None else bias.to(dtype))
        return y[: x.numel() // x.size(-1)].view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        dy = _rounded(gradients[0].to(rows.dtype))
        dx = d_weight = None
        if ctx.needs_input_grad[0]:
            shape = gradients[0].shape[:-1]
            dx = product(dy, weight.T).to(ctx.dtypes[0])[: shape.numel()].view(*shape, -1)
        if ctx.needs_input_grad[1]:
            d_weight = product(dy.T, rows.T).to(ctx.dtypes[1])
        d_bias = gradients[0].flatten(0, -2).sum(0) if ctx.needs_input_grad[2] else None
        return dx, d_weight, d_bias, None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Give x Wᵀ + b in the precision that products have here; x [..., K], weight [N, K], bias [N] → [..., N]."""
    dtype = product_dtype(x)
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = _Linear.apply(x, weight, bias, dtype)  # type: ignore[no-untyped-call]
    return y


def projected(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Give x Wᵀ + b as `linear` does, in torch's own way where that is as good: on a GPU, when compiled, in bf16 unless
    it is trained."""
    if _ONEDNN is None or x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return linear(x, weight, bias)
    return F.linear(x, weight, bias) if torch.is_autocast_enabled("cpu") else product(x, weight, bias)


class _Slots(torch.autograd.Function):
    """A zero for each step's product, through which all their gradients come back at once: dW = Σ dyᵀ x, db = Σ dy."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor | None, shape: tuple[int, ...], inputs: list[Tensor]
    ) -> Tensor:
        del bias
        ctx.inputs, ctx.batched = inputs, weight.dim() == 3
        return weight.new_zeros(()).expand(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x = torch.stack(ctx.inputs)  # [steps, …, K]
        (dy,) = gradients
        if ctx.batched:
            return torch.einsum("tbqn,tbqk->bnk", dy, x), None, None, None
        rows = _rounded(dy)
        d_bias = rows.sum(0) if ctx.needs_input_grad[1] else None
        return product(rows.T, _rounded(x).T), d_bias, None, None


class _Step(torch.autograd.Function):
    """y = x Wᵀ + b, with dx = dy W; dW and db are left to `_Slots`."""

    @staticmethod
    def forward(
        ctx: Any, slot: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, inputs: list[Tensor]
    ) -> Tensor:
        del slot
        narrow = x.detach().to(weight.dtype)
        inputs.append(narrow)
        ctx.weight, ctx.dtype = weight, x.dtype
        return product(narrow, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        return dy, product(dy, ctx.weight.transpose(-1, -2)).to(ctx.dtype), None, None, None


class RepeatedLinear:
    """x ↦ x Wᵀ + b, for a loop whose every step uses the same weight: its gradient is one product over all steps.

    weight [N, K]; or [B, N, K], a weight for each row of x [B, Q, K]. To be called outside autocast, as often as it
    has `steps`, with x of `shape` but for the last dimension; the products and their results are in `dtype`.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, steps: int, shape: tuple[int, ...]
    ) -> None:
        weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        if weight.dim() == 2:
            weight = weight.contiguous()  # once for all steps, where it is some columns of a matrix
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self.inputs: list[Tensor] = []
        self.slots: Iterator[Tensor] | None = None
        if torch.is_grad_enabled():
            slots: Tensor = _Slots.apply(weight, bias, (steps, *shape, weight.size(-2)), self.inputs)  # type: ignore[no-untyped-call]
            self.slots = iter(slots.unbind(0))

    def __call__(self, x: Tensor) -> Tensor:
        """The next step's product."""
        if self.slots is None:
            return product(x.to(self.weight.dtype), self.weight, self.bias)
        y: Tensor = _Step.apply(next(self.slots), x, self.weight, self.bias, self.inputs)  # type: ignore[no-untyped-call]
        return y
