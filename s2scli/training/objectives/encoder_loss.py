"""What the encoder must tell by itself, besides what the decoder makes of it: the source.

An encoder loss is a module, `forward(states, source, target)`, which gives a sum over the batch that is meant to
be divided by the number of target tokens, as the decoder's is. Its layers are needed for training only.
"""

from __future__ import annotations

from torch import Tensor, nn

from s2scli.data.batch import Source, Tokens
from s2scli.models.base import Model
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
        ids, filled = source.tokens("--encoder-loss reconstruction").ids, source.filled
        weights = (target.lengths / source.lengths)[:, None].expand_as(ids).flatten()[filled]
        states = states.flatten(0, 1).index_select(0, filled)
        return weighted_cross_entropy(self.output, states, ids.flatten()[filled], weights)


def build_encoder_loss(kind: str, model: Model) -> Reconstruction | None:
    """A fresh encoder loss for a model, or nothing for `none`."""
    return Reconstruction(model) if kind == "reconstruction" else None
