"""The linear layers of attention, from states to heads and back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from s2scli.nn.linear import Linear
from s2scli.nn.norms import NormConfig, make_norm

# Initial weights as in fairseq: Glorot's, with a smaller gain for queries, keys and values.
_ATTENTION_GAIN = 2**-0.5


class NormalizedHeads(Linear):
    """A linear layer to heads of which those of queries and keys are normalized, each by itself (Henry et al. 2020).

    sizes: how many heads of queries come first, then of keys, then of values. All of queries have one norm, of the
    width of a head, and all of keys another.
    """

    def __init__(
        self, inputs: int, head_width: int, sizes: tuple[int, int, int], norm: NormConfig, *, bias: bool
    ) -> None:
        super().__init__(inputs, sum(sizes) * head_width, bias)
        self.head_width, self.sizes = head_width, sizes
        self.query_norm = make_norm(head_width, norm) if sizes[0] else None
        self.key_norm = make_norm(head_width, norm) if sizes[1] else None

    def forward(self, input: Tensor) -> Tensor:
        """Queries, keys and values of x [..., K], head by head, as [..., N]."""
        heads = super().forward(input).unflatten(-1, (-1, self.head_width))
        queries, keys, values = heads.split(self.sizes, dim=-2)
        if self.query_norm is not None:
            queries = self.query_norm(queries)
        if self.key_norm is not None:
            keys = self.key_norm(keys)
        return torch.cat([queries, keys, values], dim=-2).flatten(-2)

    def direct_call(self) -> Callable[[Tensor], Tensor] | None:
        """What calling it comes to in decoding: `forward`, as there are norms after the product."""
        return None


def to_heads(
    inputs: int, head_width: int, sizes: tuple[int, int, int], *, bias: bool, norm: NormConfig | None
) -> Linear:
    """A layer to so many heads of queries, of keys and of values, whose queries and keys have norms where one is given.

    Its weight is matrices of one shape, one below the other, each drawn by itself: of as many heads as there are of
    keys, or of queries where there are none.
    """
    heads = sum(sizes)
    layer = (
        Linear(inputs, heads * head_width, bias)
        if norm is None
        else NormalizedHeads(inputs, head_width, sizes, norm, bias=bias)
    )
    layer.blocks = heads // (sizes[1] or sizes[0])
    layer.named_rows = {
        name: size * head_width for name, size in zip(("q", "k", "v"), sizes, strict=True) if size
    }
    for block in layer.weight.chunk(layer.blocks):
        nn.init.xavier_uniform_(block, _ATTENTION_GAIN)
    return layer


def from_heads(inputs: int, outputs: int, *, bias: bool) -> Linear:
    """A layer from the joined heads back to the layer's width."""
    layer = Linear(inputs, outputs, bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
