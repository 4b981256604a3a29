"""What recurrent models keep between one decoding step and the next."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from s2scli.models.base import Memory, State
from s2scli.models.rows import beam_rows, join_padded, join_present, rows_beside
from s2scli.nn.rnn import LayerState


@dataclass(frozen=True)
class RecurrentMemory(Memory):
    """What a recurrent decoder reads of its sources.

    keys [B, S, size]: encoder states; prepared [B, S, any]: their share in the attention scores; mask [B, S].
    first [B, parts, layers, size]: the decoder's first state. summary [B, size]: the encoder's final state.
    words [B, S], to copy: the tokens' ids in the extended vocabulary.
    """

    keys: Tensor
    prepared: Tensor
    mask: Tensor
    first: Tensor
    summary: Tensor
    words: Tensor | None = None

    def select(self, rows: Tensor) -> RecurrentMemory:
        """The memory of some sentences, cut to the longest of them."""
        mask = self.mask[rows]
        length = int(mask.sum(-1).max())
        return RecurrentMemory(
            self.keys[rows, :length],
            self.prepared[rows, :length],
            mask[:, :length],
            self.first[rows],
            self.summary[rows],
            None if self.words is None else self.words[rows, :length],
        )

    def join(self, other: RecurrentMemory) -> RecurrentMemory:
        """The memory of these sentences and then others."""
        return RecurrentMemory(
            join_padded(self.keys, other.keys, 1),
            join_padded(self.prepared, other.prepared, 1),
            join_padded(self.mask, other.mask, 1),
            torch.cat([self.first, other.first]),
            torch.cat([self.summary, other.summary]),
            join_present(self.words, other.words, 1),
        )


@dataclass(frozen=True)
class RecurrentState(State):
    """The state of hypotheses, before their next token is read.

    layers: the parts [B·K, size] of each layer's state; feed [B, K, width]: the attentional state of the step before,
    which enters the next one, of width 0 where it does not. coverage [B, K, S or more], if there is any: the sum of the
    attention so far (See et al. 2017, equation 10).
    """

    layers: list[LayerState]
    feed: Tensor
    coverage: Tensor | None = None

    def top(self) -> Tensor:
        """The top layer's output [B, K, size]."""
        return self.layers[-1][0].view(*self.feed.shape[:2], -1)

    def _gather(self, rows: Tensor, beam: int) -> RecurrentState:
        """The hypotheses at some rows of the flattened [B·K], K being `beam` from now on."""

        def gather(item: Tensor) -> Tensor:
            chosen = item.flatten(0, 1).index_select(0, rows)
            return chosen.view(len(rows) // beam, beam, item.size(2))

        layers = [tuple(part.index_select(0, rows) for part in layer) for layer in self.layers]
        coverage = None if self.coverage is None else gather(self.coverage)
        return RecurrentState(layers, gather(self.feed), coverage)

    def select(self, rows: Tensor) -> RecurrentState:
        """The state of some sentences."""
        beam = self.feed.size(1)
        return self._gather(beam_rows(torch.arange(beam, device=rows.device), beam, rows), beam)

    def reorder(self, beams: Tensor) -> RecurrentState:
        """The state of the chosen hypotheses."""
        rows = rows_beside(beams, self.feed.size(1), self.feed)
        return self._gather(rows, beams.size(1))

    def join(self, other: RecurrentState) -> RecurrentState:
        """The state of these sentences' hypotheses and then of as many of others."""
        layers = [
            tuple(map(torch.cat, zip(*pair, strict=True)))
            for pair in zip(self.layers, other.layers, strict=True)
        ]
        coverage = join_present(self.coverage, other.coverage, 2)
        return RecurrentState(layers, torch.cat([self.feed, other.feed]), coverage)


@dataclass(frozen=True)
class RecurrentStep:
    """What a step of the decoder gives.

    state: for the next step. top [B, K, size]: the top layer's output; context [B, K, any], of width 0 where the
    readout has none; attention [B, K, S], if there is any.
    """

    state: RecurrentState
    top: Tensor
    context: Tensor
    attention: Tensor | None
