"""Losses between distributions over the vocabulary, and over given targets, a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from s2scli.nn import kernels
from s2scli.nn.output import OutputLayer


def symmetric_divergence(output: OutputLayer[Any], one: Any, other: Any) -> Tensor:
    """Σ over rows of D(p‖q) + D(q‖p), p and q being the distributions that two states give.

    one, other: states of N rows of an output layer. It is Σ over words of (p - q) · (log p - log q).
    """
    rows = [*output.rows(one), *output.rows(other)]
    count = len(rows) // 2

    def function(shared: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
        log_p, log_q = (output.log_probabilities(shared[0], part) for part in (parts[:count], parts[count:]))
        return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum()

    size = kernels.chunk_rows(output.weight.size(0))
    return kernels.chunked_sum(function, [output.joined_weight()], rows, size)


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

    return kernels.chunked_sum(
        function,
        [output.joined_weight(), teacher.joined_weight()],
        [*rows, *teacher_rows],
        kernels.chunk_rows(output.weight.size(0)),
    )


def weighted_cross_entropy(output: OutputLayer[Any], states: Any, targets: Tensor, weights: Tensor) -> Tensor:
    """Σ over rows of weight · -log p(target); states of N rows of an output layer, targets and weights [N]."""

    def function(shared: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
        *parts, wanted, row_weights = rows
        log_p = output.log_probabilities(shared[0], parts)
        return (F.nll_loss(log_p, wanted, reduction="none") * row_weights).sum()

    rows = [*output.rows(states), targets, weights]
    size = kernels.chunk_rows(output.weight.size(0))
    return kernels.chunked_sum(function, [output.joined_weight()], rows, size)
