"""Sums over rows of vocabulary scores, N × V, of which no more than a chunk is in memory at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from s2scli.nn.kernels.products import product_dtype
from s2scli.nn.kernels.switch import enabled

# Logits in memory at once while the loss is computed: 8 MB of float32; of bf16 half as many, as each is there thrice.
_CHUNK_ELEMENTS = 1 << 21
# The last chunk is padded to a multiple of so many rows: oneDNN keeps a kernel for every shape that it has met.
ROW_MULTIPLE = 64


def chunk_rows(vocabulary: int, dtype: torch.dtype = torch.float32) -> int:
    """How many rows of scores over a vocabulary are computed at once, by products in a precision."""
    elements = _CHUNK_ELEMENTS // (4 // min(4, dtype.itemsize))
    return max(1, elements // vocabulary // ROW_MULTIPLE) * ROW_MULTIPLE


def projection(hidden: Tensor, weight: Tensor) -> Tensor:
    """Scores [..., V] of a chunk's hidden states [..., D] with weight [V, D], in at least float32.

    The product is in the weight's precision, which `chunked_sum` chooses, and torch's own, as it differentiates it.
    """
    scores = hidden.to(weight.dtype) @ weight.T
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


# From the shared tensors and a chunk of each of the rows' tensors to a scalar.
ChunkFunction = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]


class _ChunkedSum(torch.autograd.Function):
    """Σ over chunks of a function, each differentiated while its scores are there, in the forward pass.

    The backward pass only scales what was computed. Of the tensors the first `num_shared` are shared: the function
    gets them in the given dtype, while their gradients are summed in their own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        function: ChunkFunction,
        size: int,
        dtype: torch.dtype,
        num_shared: int,
        needs_gradient: bool,
        *tensors: Tensor,
    ) -> Tensor:
        wanted = [needs_gradient and needed for needed in ctx.needs_input_grad[-len(tensors) :]]
        shared = [
            item.detach().to(dtype).requires_grad_(needed)
            for item, needed in zip(tensors[:num_shared], wanted, strict=False)
        ]
        gradients = [
            torch.zeros_like(item) if needed else None for item, needed in zip(tensors, wanted, strict=True)
        ]
        rows = tensors[num_shared:]
        wide = torch.promote_types(tensors[0].dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=tensors[0].device)
        for start in range(0, len(rows[0]), size):
            chunk = slice(start, start + size)
            parts = [
                item[chunk].detach().requires_grad_(needed)
                for item, needed in zip(rows, wanted[num_shared:], strict=True)
            ]
            with torch.set_grad_enabled(any(wanted)):
                value = function(shared, parts)
            total += value.detach()
            leaves = [item for item in (*shared, *parts) if item.requires_grad]
            found = iter(torch.autograd.grad(value, leaves) if leaves else ())
            for index, gradient in enumerate(gradients):
                if gradient is None:
                    continue
                if index < num_shared:
                    gradient += next(found)
                else:
                    gradient[chunk] = next(found)
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if item is None else item * outputs[0] for item in ctx.saved_tensors)
        return None, None, None, None, None, *scaled


def chunked_sum(
    function: ChunkFunction, shared: Sequence[Tensor], rows: Sequence[Tensor], size: int
) -> Tensor:
    """Σ of function(shared, `size` rows of each of `rows`) over all rows, and its gradient, a chunk at a time.

    shared: weight matrices, given to the function in the precision that products have here. A gradient of the
    gradient is not to be had. The plain formula is the function of all rows at once.
    """
    device, dtype = shared[0].device.type, product_dtype(shared[0])
    with torch.autocast(device, enabled=False):
        if not enabled():
            return function([item.to(dtype) for item in shared], rows)
        total: Tensor = _ChunkedSum.apply(  # type: ignore[no-untyped-call]
            function, size, dtype, len(shared), torch.is_grad_enabled(), *shared, *rows
        )
    return total
