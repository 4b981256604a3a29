"""The output layer: hidden states to vocabulary scores, and to a loss without all scores at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Rows of logits in memory at once while the loss is computed: 512 × 8,000 float32 are 16 MB.
_CHUNK_ELEMENTS = 1 << 22


class _ChunkedLoss(torch.autograd.Function):
    """Label-smoothed cross-entropy whose gradient is computed chunk by chunk, in the forward pass.

    Every chunk of logits is used for the loss and its gradient while it is there, and dropped; the full
    N × V matrix never exists, and the backward pass only scales what was computed.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, epsilon: float, needs_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        vocabulary = weight.size(0)
        spread = epsilon / (vocabulary - 1)
        loss = hidden.new_zeros((), dtype=torch.float64 if hidden.device.type == "cpu" else torch.float32)
        nll = torch.zeros_like(loss)
        d_hidden = torch.empty_like(hidden) if needs_gradient else None
        d_weight = torch.zeros_like(weight) if needs_gradient else None
        rows = max(1, _CHUNK_ELEMENTS // vocabulary)
        for start in range(0, hidden.size(0), rows):
            part = hidden[start : start + rows]
            target = targets[start : start + rows, None]
            logits = torch.nn.functional.linear(part, weight).float()  # [rows, V]
            normalizer = logits.logsumexp(-1, keepdim=True)
            chunk_nll = (normalizer - logits.gather(1, target)).sum()
            nll += chunk_nll
            loss += (1 - epsilon - spread) * chunk_nll
            if epsilon:
                loss += spread * (vocabulary * normalizer.sum() - logits.sum())
            if d_hidden is None or d_weight is None:
                continue
            gradient = logits.sub_(normalizer).exp_()
            if spread:
                gradient.sub_(spread)
            gradient.scatter_add_(1, target, gradient.new_full((1, 1), -(1 - epsilon - spread)).expand_as(target))
            gradient = gradient.to(weight.dtype)
            torch.mm(gradient, weight, out=d_hidden[start : start + rows])
            d_weight.addmm_(gradient.T, part)
        ctx.save_for_backward(d_hidden, d_weight)
        ctx.mark_non_differentiable(nll)
        return loss.float(), nll.float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_weight = (item * gradients[0] for item in ctx.saved_tensors)
        return d_hidden, d_weight, None, None, None


class SoftmaxOutput(nn.Module):
    """A linear projection to the vocabulary, whose weight may be the embedding's.

    width D, vocabulary V; `tied`: the embedding whose weight [V, D] is used.
    """

    def __init__(self, width: int, vocabulary: int, tied: nn.Embedding | None = None) -> None:
        super().__init__()
        if tied is None:
            weight = nn.Parameter(torch.empty(vocabulary, width).normal_(std=width**-0.5))
        else:
            weight = tied.weight
        self.weight = weight

    def forward(self, hidden: Tensor) -> Tensor:
        """Scores [..., V] of hidden states [..., D]; their softmax is the distribution of the next token."""
        return hidden @ self.weight.T

    def loss(self, hidden: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """Summed label-smoothed cross-entropy and summed negative log-likelihood, in nats.

        With ε of label_smoothing and V words, as in fairseq:
        loss = (1 - ε) · -log p(target) + ε / (V - 1) · Σ over the other words of -log p(word).
        hidden [N, D], targets [N]: padding is left out beforehand.
        """
        loss, nll = _ChunkedLoss.apply(
            hidden, self.weight, targets, label_smoothing, torch.is_grad_enabled()
        )
        return loss, nll
