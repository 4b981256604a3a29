"""What the encoder must tell by itself, besides what the decoder makes of it: the source, or the target by CTC.

An encoder loss is a module, `forward(states, source, target)`, which gives a sum over the batch that is meant to
be divided by the number of target tokens, as the decoder's is. Its layers are needed for training only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.data.batch import Source, Tokens
from s2scli.models.base import Model
from s2scli.nn.kernels.chunked import chunk_rows, chunked_sum, projection
from s2scli.nn.losses import weighted_cross_entropy
from s2scli.nn.output import SoftmaxOutput


class Reconstruction(nn.Module):
    """Σ over sentences of T/S · Σⱼ -log p(xⱼ | hⱼ): every source token from the state at its place.

    A sentence has S source and T target tokens, end symbols counted: as a sum over target tokens, each of them has
    the mean loss of its sentence's source tokens.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.output = SoftmaxOutput(model.encoder_width, model.source_size)

    def forward(self, states: Tensor, source: Source, target: Tokens) -> Tensor:
        """The loss of encoder states [B, S, D]."""
        mask, ids = source.mask, source.tokens("--encoder-loss reconstruction").ids
        weights = (target.lengths / source.lengths)[:, None].expand_as(mask)[mask]
        return weighted_cross_entropy(self.output, states[mask], ids[mask], weights)


class CTC(nn.Module):
    """Σ over sentences of -log p(target | encoder states), over all monotone alignments (Graves et al. 2006, eq. 8).

    The states of the source tokens and its end symbol each say a target word or the blank, the last output;
    words that follow each other in the target need a blank between them if they are equal. The target goes without
    end symbol. The log-probability of a sentence is a sum over its tokens as it is. A target that is longer than
    the states has no alignment: that sentence has no encoder loss, and its decoder loss still the share 1 - α.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        words = model.output.weight.size(0)
        self.output = SoftmaxOutput(model.encoder_width, words + 1)
        self.blank = words

    def forward(self, states: Tensor, source: Source, target: Tokens) -> Tensor:
        """The loss of encoder states [B, S, D]."""
        sentences = max(1, chunk_rows(self.blank + 1) // states.size(1))
        rows = [states, target.ids, source.lengths, target.lengths - 1]
        return chunked_sum(self._loss, [self.output.weight], rows, sentences)

    def _loss(self, shared: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
        states, ids, num_states, num_words = rows
        log_probs = projection(states, shared[0]).log_softmax(-1).transpose(0, 1)  # [S, B, V + 1]
        if torch.are_deterministic_algorithms_enabled():
            # A GPU's kernel adds up the gradient in any order.
            log_probs, ids, num_states, num_words = (
                item.cpu() for item in (log_probs, ids, num_states, num_words)
            )
        loss = F.ctc_loss(
            log_probs, ids, num_states, num_words, blank=self.blank, reduction="sum", zero_infinity=True
        )
        return loss.to(states.device)


_LOSSES: dict[str, Callable[[Model], nn.Module]] = {"reconstruction": Reconstruction, "ctc": CTC}


def build_encoder_loss(kind: str, model: Model) -> nn.Module | None:
    """A fresh encoder loss for a model, or nothing for `none`."""
    return None if kind == "none" else _LOSSES[kind](model)
