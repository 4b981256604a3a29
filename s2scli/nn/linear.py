"""Linear layers."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from s2scli.nn import kernels


class Linear(nn.Linear):
    """torch's linear layer, with the fastest product.

    blocks: how many matrices its own is made of, one below the other. quantized: the weight, with the bias, that takes
    the place of its own in models that only decode, see nn/quantized.py.
    """

    blocks: int = 1
    quantized: kernels.QuantizedWeight | None = None

    def matrix(self) -> Tensor:
        """W, [N, K]."""
        return self.weight

    def forward(self, input: Tensor) -> Tensor:
        """Give x Wᵀ + b of x [..., K], as [..., N]."""
        if self.quantized is not None:
            return kernels.linear(input, self.quantized)
        return kernels.linear(input, self.matrix(), self.bias)

    def direct_call(self) -> Callable[[Tensor], Tensor] | None:
        """What calling it comes to in decoding, see nn/kernels/direct_calls.py: the quantized weight's product."""
        return None if self.quantized is None else self.quantized.direct_call()


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
