"""The output layer: hidden states to vocabulary scores, and to a loss without all scores at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn.kernels.chunked import ROW_MULTIPLE, chunk_rows
from s2scli.nn.kernels.products import product, projected
from s2scli.nn.kernels.quantized import QuantizedProduct


class _ChunkedLoss(torch.autograd.Function):
    """Label-smoothed cross-entropy whose gradient is computed chunk by chunk, in the forward pass.

    Every chunk of logits is used for the loss and its gradient while it is there, and dropped; the full
    N × V matrix never exists, and the backward pass only scales what was computed. With s = Σ exp(logits) the
    gradient of the logits is exp(logits) / s - ε' - (1 - ε - ε') · [target]; the division by s is done on the
    narrow side of the products, and ε' = ε / (V - 1), the same for all words, is added as one vector.
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
        rows = chunk_rows(vocabulary)
        narrow_weight = weight.to(dtype)
        for part, target, start in zip(
            hidden.to(dtype).split(rows),
            targets[:, None].split(rows),
            range(0, len(hidden), rows),
            strict=True,
        ):
            length = len(part)
            part = F.pad(part, (0, 0, 0, -length % ROW_MULTIPLE))
            padded = product(part, narrow_weight).float()  # [rows, V]
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
            padded[length:] = 0
            exponentials = padded.to(dtype)
            scale = F.pad(total.reciprocal(), (0, 0, 0, len(part) - length))
            d_hidden[start : start + length] = (product(exponentials, narrow_weight.T) * scale)[:length]
            d_weight += product(exponentials.T, (part * scale).to(dtype).T)
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


States = TypeVar("States")


class OutputLayer(nn.Module, ABC, Generic[States]):
    """From decoder states to the distribution of the next token, by a linear projection to the vocabulary.

    States: a tensor [..., D], or one with more beside it. The weight may be an embedding's.
    width D, vocabulary V; `tied`: the embedding whose weight [V, D] is used. quantized: as in linear.Linear.
    """

    # Whether the scores of `forward` are log-probabilities.
    is_normalized: ClassVar[bool] = False
    quantized: QuantizedProduct | None = None
    _some: tuple[Tensor, Callable[[Tensor], Tensor]] | None = None
    _of_some: Callable[[Tensor], Tensor] | None = None

    def __init__(self, width: int, vocabulary: int, tied: nn.Embedding | None = None) -> None:
        super().__init__()
        self.weight: Tensor = (
            nn.Parameter(torch.empty(vocabulary, width).normal_(std=width**-0.5))
            if tied is None
            else tied.weight
        )

    @abstractmethod
    def forward(self, states: States) -> Tensor:
        """Scores [..., V] of states, or [..., V + E]; their softmax is the distribution of the next token."""

    @abstractmethod
    def rows(self, states: States) -> list[Tensor]:
        """What `log_probabilities` needs of states [N, …], as tensors of N rows."""

    @abstractmethod
    def log_probabilities(self, weight: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """The logarithms of the distributions, finite, [n, V] or [n, V + E], of some of the rows; weight [V, D]."""

    @abstractmethod
    def loss(self, states: States, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """Summed label-smoothed cross-entropy and summed negative log-likelihood, in nats; states [N, …]."""

    def scores(self, hidden: Tensor) -> Tensor:
        """The projection [..., V] of hidden states [..., D]."""
        if self._of_some is not None:
            return self._of_some(hidden)
        if self.quantized is not None:
            return self.quantized(hidden)
        return projected(hidden, self.weight)

    @contextmanager
    def limited_to(self, tokens: Tensor) -> Iterator[None]:
        """Score some tokens only in here, [C] in their order: scores are [..., C]."""
        if self._some is None or self._some[0] is not tokens:
            # Kept for the next step: gathering the weights costs as much as a product with them.
            if self.quantized is not None:
                self._some = tokens, self.quantized.of_rows(tokens)
            else:
                self._some = tokens, partial(product, weight=self.weight[tokens])
        self._of_some = self._some[1]
        try:
            yield
        finally:
            self._of_some = None


class SoftmaxOutput(OutputLayer[Tensor]):
    """The softmax of the projection."""

    def forward(self, states: Tensor) -> Tensor:
        """Scores [..., V] of hidden states [..., D]; their softmax is the distribution of the next token."""
        return self.scores(states)

    def rows(self, states: Tensor) -> list[Tensor]:
        """The hidden states [N, D]."""
        return [states]

    def log_probabilities(self, weight: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """[n, V] of hidden states [n, D]."""
        return projection(rows[0], weight).log_softmax(-1)

    def loss(self, states: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """Summed label-smoothed cross-entropy and summed negative log-likelihood, in nats.

        With ε of label_smoothing and V words, as in fairseq:
        loss = (1 - ε) · -log p(target) + ε / (V - 1) · Σ over the other words of -log p(word).
        states [N, D], targets [N]: padding is left out beforehand.
        """
        device = states.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.weight.dtype
        with torch.autocast(device, enabled=False):
            loss, nll = _ChunkedLoss.apply(  # type: ignore[no-untyped-call]
                states, self.weight, targets, label_smoothing, dtype, torch.is_grad_enabled()
            )
        return loss, nll


def projection(hidden: Tensor, weight: Tensor) -> Tensor:
    """Scores [..., V] of hidden states [..., D] with weight [V, D], the product in the weight's precision."""
    scores = hidden.to(weight.dtype) @ weight.T
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
