"""The product of all layers, y = x Wᵀ + b: the fastest that a device has, and one for loops that repeat it.

The plain formula is torch's `F.linear`, or `x @ Wᵀ` where each row of a batch has a weight of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn.kernels.switch import enabled

# torch sends a CPU's float32 products to MKL, which on other makers' chips with AVX-512 is half as fast as oneDNN.
_ONEDNN = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
)
# Whether it multiplies float32 matrices here; see `trained_by`.
_by_onednn = _ONEDNN is not None

# Multiplications up to which calling oneDNN takes longer than what it saves.
_SMALL = 1 << 19
# The rows of a product that is trained are a multiple of this, where they are as many.
_ROW_MULTIPLE = 128
# Weights are packed for so many rows, which is as good for fewer and for more.
_PACKED_FOR = 64


class QuantizedWeight(Protocol):
    """A weight [N, K], with its bias if it has one, in the form that a model which only decodes multiplies by."""

    def __call__(self, x: Tensor) -> Tensor:
        """Give x Wᵀ + b, [..., N], for x [..., K]."""
        ...

    def direct_call(self) -> Callable[[Tensor], Tensor]:
        """What calling it comes to, as it is now."""
        ...

    def of_rows(self, rows: Tensor) -> Self:
        """The same with some rows of the weight, [any]."""
        ...


class Multiply(Protocol):
    """What multiplies by a weight: `linear`, or the `linear` of a `Loop`."""

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, /) -> Tensor:
        """Give x Wᵀ + b, [..., N]; x [..., K], weight [N, K] or [B, N, K], bias [N]."""
        ...


def linear(x: Tensor, weight: Tensor | QuantizedWeight, bias: Tensor | None = None) -> Tensor:
    """Give y = x Wᵀ + b, [..., N], in the precision that products have here (`product_dtype`).

    x [..., K], weight [N, K], bias [N]; or x [B, Q, K] and a weight for each row of the batch, [B, N, K], without a
    bias; or a quantized weight, which has its bias in it. The gradients are dx = dy W, dW = dyᵀ x and db = Σ dy.
    """
    if not isinstance(weight, Tensor):
        return weight(x)
    if weight.dim() == 3:
        return x @ weight.mT
    if not enabled() or _ONEDNN is None or x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled():
        own = not _by_onednn and product_dtype(x) == weight.dtype == torch.float32
        return F.linear(x, weight, bias) if own else _trained(x, weight, bias)
    return F.linear(x, weight, bias) if torch.is_autocast_enabled("cpu") else product(x, weight, bias)


def resolve_library(library: str, device: torch.device) -> str:
    """What multiplies float32 matrices in training: where it says auto, "onednn" or "torch", whichever is faster.

    oneDNN wants its inputs in rows, some of which it takes a copy of, and a kernel for each number of rows. Without
    AVX-512 torch's own is a tenth to a fourth faster on x86, AMD's chips included.
    """
    if library != "auto":
        return library
    if device.type != "cpu" or _ONEDNN is None:
        return "torch"
    found = torch.cpu.get_capabilities()
    return "torch" if found.get("avx2", False) and not found.get("avx512_f", False) else "onednn"


@contextmanager
def trained_by(library: str) -> Iterator[None]:
    """Let a library, "onednn" or "torch", multiply float32 matrices on a CPU in training inside this block.

    Sums are rounded in another order by each, so a run keeps to the one that it has begun with.
    """
    global _by_onednn
    before, _by_onednn = _by_onednn, library == "onednn" and _ONEDNN is not None
    try:
        yield
    finally:
        _by_onednn = before


def product_dtype(x: Tensor) -> torch.dtype:
    """The precision that products have here: autocast's, else that of x."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Give x Wᵀ + b in the tensors' own precision, as kernels multiply: without a gradient of its own.

    x [..., K], weight [N, K] and bias [N]; or a weight for each row of the batch, [B, N, K].
    """
    if weight.dim() == 3:
        return x @ weight.mT
    if (
        _ONEDNN is not None
        and _by_onednn
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
    """Whether oneDNN multiplies numbers of this precision on this CPU; bf16 takes AVX-512, or the like of it."""
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack(weight: Tensor) -> Tensor | None:
    """A weight [N, K] in the order that oneDNN multiplies by, so that it is not reordered for each product.

    What is given is for `packed_product` only. None where there is no such order, or where kernels are off.
    """
    if not enabled() or _ONEDNN is None or weight.device.type != "cpu" or not _has_kernels(weight.dtype):
        return None
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _PACKED_FOR)
    return packed


def packed_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What `product` gives, with a weight from `pack`."""
    assert _ONEDNN is not None
    y: Tensor = _ONEDNN(x, weight, bias, "none", [], "")
    return y


def _rows_of(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The rows of x [..., K] in a precision, on a CPU with rows of zeros up to a multiple.

    oneDNN makes a kernel for every number of rows that it meets, half a megabyte each, and torch keeps a thousand.
    """
    rows = x.reshape(-1, x.size(-1))
    count = len(rows)
    missing = -count % _ROW_MULTIPLE
    if x.device.type != "cpu" or count < _ROW_MULTIPLE or not missing:
        return rows.to(dtype)
    # Cast and padded at once: each pass over them is memory's time.
    padded = rows.new_empty(count + missing, rows.size(1), dtype=dtype)
    padded[:count] = rows
    padded[count:] = 0
    return padded


def weight_gradient(dy: Tensor, x: Tensor) -> Tensor:
    """Give dW = dyᵀ x, [N, K], of rows dy [R, N] and x [R, K], as kernels multiply.

    Always by torch's own product: oneDNN would turn both around first, which takes longer than the product itself.
    """
    return dy.T @ x


class _LinearProduct(torch.autograd.Function):
    """y = x Wᵀ + b, with dx = dy W, dW = dyᵀ x, db = Σ dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        rows, cast_weight = _rows_of(x, dtype), weight.to(dtype)
        ctx.save_for_backward(rows, cast_weight)
        ctx.dtypes = x.dtype, weight.dtype
        y = product(rows, cast_weight, None if bias is None else bias.to(dtype))
        return y[: x.numel() // x.size(-1)].view(*x.shape[:-1], weight.size(0))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        dy = _rows_of(gradients[0], rows.dtype)
        dx = d_weight = None
        if ctx.needs_input_grad[0]:
            shape = gradients[0].shape[:-1]
            dx = product(dy, weight.T)[: shape.numel()].to(ctx.dtypes[0]).view(*shape, -1)
        if ctx.needs_input_grad[1]:
            d_weight = weight_gradient(dy, rows).to(ctx.dtypes[1])
        d_bias = gradients[0].flatten(0, -2).sum(0) if ctx.needs_input_grad[2] else None
        return dx, d_weight, d_bias, None


def _trained(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`linear` on a CPU, with its gradients."""
    dtype = product_dtype(x)
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = _LinearProduct.apply(x, weight, bias, dtype)  # type: ignore[no-untyped-call]
    return y


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
        rows = _rows_of(dy, dy.dtype)
        d_bias = rows.sum(0) if ctx.needs_input_grad[1] else None
        return weight_gradient(rows, _rows_of(x, x.dtype)), d_bias, None, None


class _Step(torch.autograd.Function):
    """y = x Wᵀ + b, with dx = dy W; dW and db are left to `_Slots`."""

    @staticmethod
    def forward(
        ctx: Any, slot: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, inputs: list[Tensor]
    ) -> Tensor:
        del slot
        rows = x.detach().to(weight.dtype)
        inputs.append(rows)
        ctx.weight, ctx.dtype = weight, x.dtype
        return product(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        return dy, product(dy, ctx.weight.transpose(-1, -2)).to(ctx.dtype), None, None, None


class _RepeatedWeight:
    """x ↦ x Wᵀ + b for each step of a loop, with one product over all steps for the weight's gradient.

    weight [N, K]; or [B, N, K], a weight for each row of x [B, Q, K]. shape: that of x but for its last dimension; the
    products and their results are in `dtype`.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, steps: int, shape: tuple[int, ...]
    ) -> None:
        self.original = weight  # kept, so that its address is no other's
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


class Loop:
    """Products in a loop each of whose steps multiplies by the same weights: each weight is prepared once, and its
    gradient is one product over all steps.

    steps: how many there are; every weight is used once in each, with an x of one shape. dtype: the precision of the
    products and of what they give, but that a weight for each row of the batch keeps its own. The loop runs outside
    autocast.
    """

    def __init__(self, steps: int, dtype: torch.dtype) -> None:
        self._steps, self._dtype = steps, dtype
        self._weights: dict[tuple[Any, ...], _RepeatedWeight] = {}

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, /) -> Tensor:
        """Give y = x Wᵀ + b, as the function `linear`; a part of a matrix, such as W[:, :n], may be cut out anew."""
        batched = weight.dim() == 3
        if not enabled():
            dtype = weight.dtype if batched else self._dtype
            x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
            return x @ weight.mT if batched else F.linear(x, weight, bias)
        key = weight.data_ptr(), weight.shape, weight.stride()
        repeated = self._weights.get(key)
        if repeated is None:
            dtype = weight.dtype if batched else self._dtype
            repeated = _RepeatedWeight(weight, bias, dtype, self._steps, x.shape[:-1])
            self._weights[key] = repeated
        return repeated(x)
