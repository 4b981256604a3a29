"""Sums over rows of vocabulary scores, N × V, of which no more than a chunk is in memory at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn.output import OutputLayer, chunk_rows

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
            place = slice(start, start + size)
            parts = [
                item[place].detach().requires_grad_(needed)
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
                    gradient[place] = next(found)
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
    gradient is not to be had.
    """
    device = shared[0].device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else shared[0].dtype
    with torch.autocast(device, enabled=False):
        total: Tensor = _ChunkedSum.apply(  # type: ignore[no-untyped-call]
            function, size, dtype, len(shared), torch.is_grad_enabled(), *shared, *rows
        )
    return total


def symmetric_divergence(output: OutputLayer[Any], one: Any, other: Any) -> Tensor:
    """Σ over rows of D(p‖q) + D(q‖p), p and q being the distributions that two states give.

    one, other: states of N rows of an output layer. It is Σ over words of (p - q) · (log p - log q).
    """
    rows = [*output.rows(one), *output.rows(other)]
    count = len(rows) // 2

    def function(shared: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
        log_p, log_q = (output.log_probabilities(shared[0], part) for part in (parts[:count], parts[count:]))
        return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum()

    return chunked_sum(function, [output.weight], rows, chunk_rows(output.weight.size(0)))


def soft_cross_entropy(
    output: OutputLayer[Any], states: Any, teacher: OutputLayer[Any], teacher_states: Any, temperature: float
) -> Tensor:
    """Σ over rows of -Σ over words of q · log p, with p = softmax(scores / τ), and q the teacher's alike.

    states: of N rows, of the student's output layer; the teacher's may have another width; τ: temperature.
    """
    rows, teacher_rows = output.rows(states), teacher.rows(teacher_states)
    count = len(rows)

    def function(shared: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
        found = (
            output.log_probabilities(shared[0], parts[:count]),
            teacher.log_probabilities(shared[1], parts[count:]),
        )
        log_p, log_q = (item.div(temperature).log_softmax(-1) for item in found)
        return -(log_q.exp() * log_p).sum()

    return chunked_sum(
        function,
        [output.weight, teacher.weight],
        [*rows, *teacher_rows],
        chunk_rows(output.weight.size(0)),
    )


def weighted_cross_entropy(output: OutputLayer[Any], states: Any, targets: Tensor, weights: Tensor) -> Tensor:
    """Σ over rows of weight · -log p(target); states of N rows of an output layer, targets and weights [N]."""

    def function(shared: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
        *parts, wanted, row_weights = rows
        log_p = output.log_probabilities(shared[0], parts)
        return (F.nll_loss(log_p, wanted, reduction="none") * row_weights).sum()

    rows = [*output.rows(states), targets, weights]
    return chunked_sum(function, [output.weight], rows, chunk_rows(output.weight.size(0)))
