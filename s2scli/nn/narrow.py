"""Weights in bf16 or int8 for a model that only decodes: faster products; all else is in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s2scli.nn.output import SoftmaxOutput
from s2scli.nn.product import Linear, product

# Products in memory at once where they are wide, 1 MB: what is done to them then happens in a core's cache.
_BLOCK_ELEMENTS = 1 << 18


class Bfloat16Product:
    """x Wᵀ + b of numbers rounded to bf16; weight [N, K], bias [N]."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight.detach().bfloat16()
        self._bias = None if bias is None else bias.detach().bfloat16()

    def __call__(self, x: Tensor) -> Tensor:
        """Give [..., N] for x [..., K], both in float32."""
        return product(x.bfloat16(), self._weight, self._bias).float()


class Int8Product:
    """x Wᵀ + b of numbers rounded to 8 bits, with a scale for each row of x and of W.

    A row r becomes round(r / s) with s = max|r| / 127, and the sums of products, exact in 32 bits, are multiplied by
    both scales: what a row gives depends on nothing but that row. weight [N, K], bias [N].
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        scale = _scale(weight.detach())
        self._scale = scale[:, 0].contiguous()
        self._weight = _rounded(weight.detach(), scale)
        self._bias = None if bias is None else bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        """Give [..., N] for x [..., K], both in float32."""
        rows = x.reshape(-1, x.size(-1))
        scale = _scale(rows)
        narrow, weight = _rounded(rows, scale), self._weight.T
        size = max(1, _BLOCK_ELEMENTS // len(self._scale))
        y = rows.new_empty(len(rows), len(self._scale))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            torch.mul(torch._int_mm(narrow[part], weight), self._scale, out=y[part])
            if self._bias is None:
                y[part] *= scale[part]
            else:
                torch.addcmul(self._bias, y[part], scale[part], out=y[part])
        return y.view(*x.shape[:-1], -1)


def _scale(rows: Tensor) -> Tensor:
    """The step between the 255 numbers that each row is rounded to, [rows, 1]."""
    return rows.abs().amax(-1, keepdim=True).mul_(1 / 127).clamp_(min=torch.finfo(torch.float32).tiny)


def _rounded(rows: Tensor, scale: Tensor) -> Tensor:
    return (rows / scale).round_().to(torch.int8)


_PRODUCTS: dict[str, type[Bfloat16Product | Int8Product]] = {"bf16": Bfloat16Product, "int8": Int8Product}


def narrow(model: nn.Module, precision: str) -> None:
    """Let a model's linear layers and its output layer multiply in bf16 or int8 from here on."""
    for module in model.modules():
        if isinstance(module, (Linear, SoftmaxOutput)):
            module.narrow = _PRODUCTS[precision](module.weight, getattr(module, "bias", None))
