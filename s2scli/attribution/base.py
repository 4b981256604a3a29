"""What every attribution method is made of: what a model reads of one pair as vectors, and what it then predicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from s2scli.configs.attribution import AttributionSettings
from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Frames, Source, Tokens, decoder_input
from s2scli.models.base import Model
from s2scli.nn.copying import Hidden

# The most vectors of both sides that a model reads at a time, and so the most memory that gradients take.
_MOST_VECTORS = 4096


class Vectors(NamedTuple):
    """What a model reads: source [R, S, D] and prefix [R, T, D], R being variations of one pair."""

    source: Tensor
    prefix: Tensor


class Shares(NamedTuple):
    """What each of T predicted tokens comes from: source [T, S], by `embed`'s positions, and prefix [T, T].

    Prefix position 0 is the start symbol, and t the predicted token t - 1. error: how far the sums are from what they
    add up to, at most over the tokens, as a share of that; steps: how many gradients the token took that needs the
    most; both 0 for methods that do not say so.
    """

    source: Tensor
    prefix: Tensor
    error: float = 0.0
    steps: int = 0


@dataclass(frozen=True)
class ExplainedPair:
    """A model with one source and one target, of which each token's log-probability is explained.

    source, target: of one batch row. contrast: the id of a token whose log-probability is subtracted (Yin and Neubig
    2022, section 3: why the predicted token and not that one); None: nothing is.
    """

    model: Model
    source: Source
    target: Tokens
    contrast: int | None = None

    @property
    def length(self) -> int:
        """The number of predicted tokens, the end symbol counted, T."""
        return self.target.padded_length

    def vectors(self) -> Vectors:
        """What encoder and decoder read, R = 1."""
        return self._embedded(self.source, decoder_input(self.target, self.model.symbols.start))

    def baseline(self) -> Vectors:
        """The same of nothing, at the same positions: vectors of padding, or of frames of zeros."""
        lengths = self.source.lengths
        empty: Source
        if isinstance(self.source, Frames):
            empty = Frames(torch.zeros_like(self.source.frames), lengths)
        else:
            padding = self.model.source_symbols.padding
            empty = Tokens(torch.full_like(self.source.values, padding), lengths)
        return self._embedded(empty, torch.full_like(self.target.ids, self.model.symbols.padding))

    def _embedded(self, source: Source, inputs: Tensor) -> Vectors:
        with torch.no_grad():
            return Vectors(self.model.embed(source)[0], self.model.embed_target(inputs))

    def in_source_order(self, shares: Tensor) -> Tensor:
        """Shares [T, S] of `embed`'s positions as those of the source's."""
        order = self.model.source_order(torch.ones_like(shares[:1], dtype=torch.bool))
        return shares.gather(1, order.expand_as(shares))

    def scores(self, read: Vectors, predicted: Tensor, kept: Tensor | None = None) -> Tensor:
        """What is explained, f [R]: of row r the predicted token of index predicted[r], given what row r reads.

        kept [S']: which of the source's positions the rows still have, by default all.
        """
        rows = torch.arange(len(predicted), device=predicted.device)
        return self._differences(
            self._hidden(read, kept)[rows, predicted], self.target.predicted[0, predicted]
        )

    def all_scores(self, read: Vectors, tokens: Tensor, kept: Tensor | None = None) -> Tensor:
        """What is explained, f [R, T'], of predicted tokens [T'], each after the prefix vector at its index."""
        hidden = self._hidden(read, kept)
        rows, length = read.prefix.shape[:2]
        return self._differences(hidden.flatten(0, 1), tokens.repeat(rows)).view(rows, length)

    def _hidden(self, read: Vectors, kept: Tensor | None) -> Hidden:
        """Decoder states [R, T', D]."""
        rows, length = read.source.shape[:2]
        mask = torch.ones(rows, length, dtype=torch.bool, device=read.source.device)
        words = self.source.extended if self.model.copies else None
        if words is not None and kept is not None:
            order = self.model.source_order(torch.ones_like(words, dtype=torch.bool))[0]
            words = words[:, order[kept].sort().values]
        words = None if words is None else words.expand(rows, -1)
        memory = self.model.encode_embedded(read.source, mask, words)
        return self.model.decode_embedded(memory, read.prefix)

    def _differences(self, hidden: Hidden, tokens: Tensor) -> Tensor:
        """Log-probabilities of tokens [N] after states [N, …], less that of the contrast."""
        output = self.model.output
        scores: Tensor = output(hidden).float()
        log_p = scores if output.is_normalized else scores.log_softmax(-1)  # [N, V]
        found = log_p.gather(1, tokens[:, None])[:, 0]
        return found if self.contrast is None else found - log_p[:, self.contrast]

    def parts(self, number: int) -> Iterator[slice]:
        """So many variations of the pair, in parts that a model reads at a time."""
        each = max(1, _MOST_VECTORS // (self.source.padded_length + self.length))
        return (slice(start, start + each) for start in range(0, number, each))


class AttributionMethod(ABC):
    """A method: what each predicted token of a pair comes from."""

    def __init__(self, settings: AttributionSettings, search: SearchConfig) -> None:
        self.settings, self.search = settings, search

    @abstractmethod
    def shares(self, pair: ExplainedPair) -> Shares:
        """What each predicted token comes from; UsageError where the model has not what the method needs."""
