"""Linear layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor, nn

from s2scli.nn import kernels


class Linear(nn.Linear):
    """torch's linear layer, with the fastest product.

    blocks: how many matrices of one shape its own is made of, one below the other. named_rows: the names of matrices
    that it is made of, and how many rows each has, in order; empty: it is one. added: what an adapter adds to the
    product, if there is one (models/adapters.py). quantized: the weight, with the bias, that takes
    the place of its own in models that only decode, see nn/quantized.py.
    """

    blocks: int = 1
    named_rows: Mapping[str, int] = MappingProxyType({})
    added: Callable[[Tensor], Tensor] | None = None
    quantized: kernels.QuantizedWeight | None = None

    def matrix(self) -> Tensor:
        """W, [N, K]."""
        return self.weight

    def forward(self, input: Tensor) -> Tensor:
        """Give x Wᵀ + b of x [..., K], as [..., N], and what an adapter adds to it."""
        if self.quantized is not None:
            product = kernels.linear(input, self.quantized)
        else:
            product = kernels.linear(input, self.matrix(), self.bias)
        return product if self.added is None else product + self.added(input)

    def direct_call(self) -> Callable[[Tensor], Tensor] | None:
        """What calling it comes to in decoding, see nn/kernels/direct_calls.py: the quantized weight's product.

        None where an adapter adds to that, or there is none.
        """
        return None if self.quantized is None or self.added is not None else self.quantized.direct_call()


class NormalizedLinear(Linear):
    """A linear layer whose weight has its lengths and directions apart: row w = g · v / ‖v‖ (Salimans and Kingma 2016).

    v is `weight`, drawn from N(0, std²), and g `gain`, at first ‖v‖; biases are zero at first.
    """

    def __init__(self, inputs: int, outputs: int, std: float) -> None:
        super().__init__(inputs, outputs)
        nn.init.normal_(self.weight, std=std)
        nn.init.zeros_(self.bias)
        # On the device "meta" there is nothing to compute, for which torch would import its compiler.
        v = self.weight.detach()
        self.gain = nn.Parameter(v.new_empty(outputs) if v.is_meta else v.norm(dim=1))

    def matrix(self) -> Tensor:
        """W, [N, K]."""
        matrix: Tensor = self.weight * (self.gain / self.weight.norm(dim=1))[:, None]
        return matrix
