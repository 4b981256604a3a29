"""The loss of the output layer: label-smoothed cross-entropy, without N × V scores in memory at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn.kernels.chunked import ROW_MULTIPLE, chunk_rows
from s2scli.nn.kernels.products import product, product_dtype, weight_gradient
from s2scli.nn.kernels.switch import enabled


def label_smoothed_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Summed label-smoothed cross-entropy (Szegedy et al. 2016, section 7) and summed negative log-likelihood, in nats.

    With p = softmax(W h), loss = (1 - ε) · -log p(target) + ε / (V - 1) · Σ over the other words of -log p(word): ε is
    spread as in fairseq. hidden [N, D], weight W [V, D], targets [N]; the product is in the precision that
    products have here, the rest in at least float32. The log-likelihood has no gradient.
    """
    dtype = product_dtype(weight)
    with torch.autocast(hidden.device.type, enabled=False):
        if not enabled():
            return label_smoothed_formula(hidden.to(dtype), weight.to(dtype), targets, epsilon)
        loss, nll = _ChunkedLoss.apply(  # type: ignore[no-untyped-call]
            hidden, weight, targets, epsilon, dtype, torch.is_grad_enabled()
        )
    return loss, nll


def label_smoothed_formula(
    hidden: Tensor, weight: Tensor, targets: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """`label_smoothed_loss` as it is defined, over all rows at once."""
    scores = F.linear(hidden, weight)  # [N, V]
    log_p = scores.to(torch.promote_types(scores.dtype, torch.float32)).log_softmax(-1)
    of_target = log_p.gather(1, targets[:, None]).sum()
    of_others = log_p.sum() - of_target
    spread = epsilon / (weight.size(0) - 1)
    return -(1 - epsilon) * of_target - spread * of_others, -of_target.detach()


class _ChunkedLoss(torch.autograd.Function):
    """Label-smoothed cross-entropy whose gradient is computed chunk by chunk, in the forward pass.

    Every chunk of logits is used for the loss and its gradient while it is there, and dropped; the full
    N × V matrix never exists, and the backward pass only scales what was computed. With s = Σ exp(logits) the
    gradient of the logits is exp(logits) / s - ε' - (1 - ε - ε') · [target]; the division by s is done on the
    shorter side of the products, and ε' = ε / (V - 1), the same for all words, is added as one vector.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        epsilon: float,
        dtype: torch.dtype,
        needs_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        vocabulary = weight.size(0)
        spread = epsilon / (vocabulary - 1)
        on_target = 1 - epsilon - spread
        weight_sum = weight.sum(0)
        nll = torch.zeros((), dtype=torch.float64 if hidden.device.type == "cpu" else torch.float32).to(
            hidden.device
        )
        others = torch.zeros_like(nll)
        # In fp16 the gradient would vanish before the loss's scale has been applied to it.
        wide = torch.promote_types(hidden.dtype, torch.float32)
        d_hidden = torch.empty_like(hidden, dtype=wide) if needs_gradient else None
        d_weight = torch.zeros_like(weight) if needs_gradient else None
        rows = chunk_rows(vocabulary, dtype)
        cast_weight = weight.to(dtype)
        for part, target, start in zip(
            hidden.to(dtype).split(rows),
            targets[:, None].split(rows),
            range(0, len(hidden), rows),
            strict=True,
        ):
            length = len(part)
            part = F.pad(part, (0, 0, 0, -length % ROW_MULTIPLE))
            padded = product(part, cast_weight).float()  # [rows, V]
            logits = padded[:length]
            largest = logits.amax(1, keepdim=True)
            of_target = logits.gather(1, target)
            exponentials = logits.sub_(largest).exp_()
            total = exponentials.sum(1, keepdim=True)
            normalizer = total.log() + largest
            nll += (normalizer - of_target).sum()
            others += vocabulary * normalizer.sum() - (part.float() @ weight_sum).sum()
            if d_hidden is None or d_weight is None:
                continue
            exponentials.scatter_add_(1, target, -on_target * total)
            if dtype is torch.float16:
                # As large as the vocabulary, a sum is more than 16 bits of this kind hold.
                exponentials /= total
                total = torch.ones_like(total)
            padded[length:] = 0
            exponentials = padded.to(dtype)
            scale = F.pad(total.reciprocal(), (0, 0, 0, len(part) - length))
            d_hidden[start : start + length] = (exponentials @ cast_weight * scale)[:length]
            d_weight += weight_gradient(exponentials, (part * scale).to(dtype))
        if d_hidden is not None and d_weight is not None:
            d_hidden -= spread * weight_sum
            d_weight -= spread * hidden.sum(0)
        ctx.save_for_backward(d_hidden, d_weight)
        loss, nll = (on_target * nll + spread * others).float(), nll.float()
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_weight = (item * gradients[0] for item in ctx.saved_tensors)
        return d_hidden, d_weight, None, None, None, None
