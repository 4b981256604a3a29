"""Weights of models that only decode: packed, in bf16 or in int8; all else is in float32."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn.kernels.products import linear, pack, packed_product, product, resolve_library
from s2scli.nn.kernels.switch import enabled

# Products in memory at once where they are wide, 1 MB: what is done to them then happens in a core's cache.
_BLOCK_ELEMENTS = 1 << 18
# By weights of so many numbers at most torch multiplies as fast as any, whatever they multiply; by the library that is
# the faster one for larger ones.
_TINY_WEIGHT = {"onednn": 3 << 14, "torch": 1 << 17}
# Multiplications, with a weight of so many numbers at most, for which calling oneDNN takes longer than what it saves.
_SHORT, _SMALL_WEIGHT = 1 << 20, 1 << 18
# Up to so many numbers torch is the faster one for a single row, and, where its products are the faster ones, from so
# many rows on.
_MIDDLING_WEIGHT, _MANY_ROWS = 1 << 20, 64


class FloatWeight:
    """x ↦ x Wᵀ + b in the precision of a weight [N, K], fp32 or bf16, with a bias [N]; x and the product in float32.

    A short product is computed in float32, of the same rounded numbers, and rounded as the others are.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, is_part: bool = False) -> None:
        self._weight, self._bias, self._is_part = weight, bias, is_part
        self._prepare()
        # A part of a weight is not there long enough to be worth packing.
        self._packed = None if is_part or self._short == sys.maxsize else pack(weight)

    def _prepare(self) -> None:
        """Find out which products torch's own way is the fastest for: x of so many numbers at most, or at least."""
        (outputs, inputs), numbers = self._weight.shape, self._weight.numel()
        self._short = _SHORT // outputs if numbers <= _SMALL_WEIGHT else 0
        self._long_from = sys.maxsize
        if self._weight.dtype != torch.float32:
            return
        library = resolve_library("auto", self._weight.device)
        if numbers <= _TINY_WEIGHT[library] or (library == "torch" and self._is_part):
            self._short = sys.maxsize
        elif numbers <= _MIDDLING_WEIGHT and not self._is_part:
            self._short = max(self._short, inputs)
            if library == "torch":
                self._long_from = _MANY_ROWS * inputs

    @cached_property
    def _few_rows(self) -> tuple[Tensor, Tensor | None]:
        """The weight and bias in float32, as short products take them.

        A weight that stays is there column by column from then on, which is up to three times as fast for a single row;
        a part of one does not multiply often enough for that.
        """
        # What is made in a search may be asked for a gradient later.
        with torch.inference_mode(mode=False), torch.no_grad():
            weight = self._weight.float()
            if weight.device.type == "cpu" and not self._is_part:
                weight = weight.T.contiguous().T
                if self._weight.dtype == torch.float32:
                    self._weight = weight  # it need not be there twice
            return weight, None if self._bias is None else self._bias.float()

    @classmethod
    def bf16(cls, weight: Tensor, bias: Tensor | None = None) -> Self:
        """The weight and bias rounded to bf16."""
        return cls(weight.bfloat16(), None if bias is None else bias.bfloat16())

    def __call__(self, x: Tensor) -> Tensor:
        """Give [..., N] for x [..., K], both in float32; with a weight in fp32 there is a gradient of x.

        oneDNN's products of packed weights have none.
        """
        if torch.is_grad_enabled() and self._weight.dtype == torch.float32:
            return linear(x, self._weight, self._bias)
        return self.direct_call()(x)

    def direct_call(self) -> Callable[[Tensor], Tensor]:
        """What calling it comes to: asking each time would take as long as a short product does."""
        if not enabled():
            return self._plain
        if self._weight.dtype != torch.float32:
            return self._rounded
        return self._by_torch if self._short == sys.maxsize else self._whole

    def _plain(self, x: Tensor) -> Tensor:
        """The formula."""
        return F.linear(x.to(self._weight.dtype), self._weight, self._bias).float()

    def _by_torch(self, x: Tensor) -> Tensor:
        """The product in float32, by torch's own way."""
        return F.linear(x, *self._few_rows)

    def _whole(self, x: Tensor) -> Tensor:
        """The product in float32, by the way that is the fastest for x."""
        numbers = x.numel()
        if numbers >= self._long_from or not numbers:
            return F.linear(x, self._weight, self._bias)
        return F.linear(x, *self._few_rows) if numbers <= self._short else self._long(x)

    def _rounded(self, x: Tensor) -> Tensor:
        """The product of rounded numbers; torch is slow at short ones of them, but not at the same in float32."""
        if not x.numel():
            return self._plain(x)
        rounded = x.to(self._weight.dtype)
        if x.numel() <= self._short:
            return F.linear(rounded.float(), *self._few_rows).to(rounded.dtype).float()
        return self._long(rounded)

    def _long(self, x: Tensor) -> Tensor:
        """The product of x in the weight's precision, by oneDNN, with the packed weight where there is one."""
        if self._packed is not None:
            return packed_product(x, self._packed, self._bias).float()
        return product(x, self._weight, self._bias).float()

    def of_rows(self, rows: Tensor) -> Self:
        """The same with some rows of the weight, [any]."""
        bias = None if self._bias is None else self._bias[rows]
        return type(self)(self._weight.index_select(0, rows), bias, is_part=True)


class Int8Weight:
    """x ↦ x Wᵀ + b of numbers rounded to 8 bits, with a scale for each row of x and of W.

    A row r becomes q = round(r / s) with s = max|r| / 127, so that y = s_x s_W (q_x q_Wᵀ) + b, the sums of products
    being exact in 32 bits: what a row gives depends on nothing but that row.

    weight [N, K] in int8, scale [N], bias [N].
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        self._weight, self._scale, self._bias = weight, scale, bias

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None = None) -> Self:
        """A weight given in float32."""
        scale = _scale(weight)
        return cls(_rounded(weight, scale), scale.squeeze(1), bias)

    def __call__(self, x: Tensor) -> Tensor:
        """Give [..., N] for x [..., K], both in float32."""
        return self.direct_call()(x)

    def direct_call(self) -> Callable[[Tensor], Tensor]:
        """What calling it comes to: asking each time would take as long as a short product does."""
        return self._fast if enabled() else self._plain

    def _plain(self, x: Tensor) -> Tensor:
        """The formula."""
        scale = _scale(x)
        total = (_rounded(x, scale).double() @ self._weight.double().T).float()
        return total * self._scale * scale + (0 if self._bias is None else self._bias)

    def _fast(self, x: Tensor) -> Tensor:
        """The product by torch's own product of 8-bit numbers."""
        rows = x.reshape(-1, x.size(-1))
        scale = _scale(rows)
        y = self._in_blocks(_rounded(rows, scale), scale)
        return y.view(*x.shape[:-1], y.size(-1))

    def _in_blocks(self, rows: Tensor, scale: Tensor) -> Tensor:
        """The product of rounded rows, so many at a time that a core's cache holds what they give."""
        size = max(1, _BLOCK_ELEMENTS // len(self._scale))
        y = scale.new_empty(len(rows), len(self._scale))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            torch.mul(torch._int_mm(rows[part], self._weight.T), self._scale, out=y[part])
            if self._bias is None:
                y[part] *= scale[part]
            else:
                torch.addcmul(self._bias, y[part], scale[part], out=y[part])
        return y

    def of_rows(self, rows: Tensor) -> Self:
        """The same with some rows of the weight, [any]."""
        bias = None if self._bias is None else self._bias[rows]
        return type(self)(self._weight[rows], self._scale[rows], bias)


def _scale(rows: Tensor) -> Tensor:
    """The step between the 255 numbers that each row is rounded to, [rows, 1]."""
    return rows.abs().amax(-1, keepdim=True).mul_(1 / 127).clamp_(min=torch.finfo(torch.float32).tiny)


def _rounded(rows: Tensor, scale: Tensor) -> Tensor:
    """Rows [rows, K] in int8, in steps of their scales [rows, 1]."""
    return (rows / scale).round_().to(torch.int8)
