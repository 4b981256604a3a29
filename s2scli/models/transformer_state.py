"""What Transformers keep of their sources, and of hypotheses between one decoding step and the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from s2scli.models.base import Memory, State
from s2scli.models.rows import beam_rows, join_padded, join_present
from s2scli.nn.kernels.dot_product import CachedKeys, bias_of, rounded_length
from s2scli.nn.transformer import DecoderLayer


@dataclass(frozen=True)
class TransformerMemory(Memory):
    """keys and values [B, G, S, D/H] of each decoder layer over the encoder states; mask [B, 1, 1, S].

    S is as `padded_for_steps` makes it. states [B, source length, D]: the encoder states themselves, which decoding
    does without: none after `select`. words [B, S], to copy: the tokens' ids in the extended vocabulary.
    """

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor
    states: Tensor | None = None
    words: Tensor | None = None

    def select(self, rows: Tensor) -> TransformerMemory:
        """The memory of some sentences, cut to the longest of them."""
        mask = self.mask[rows]
        length = rounded_length(int(mask.sum(-1).max()))
        return TransformerMemory(
            # Several times as fast as keys[rows, :, :length].
            [keys[:, :, :length].index_select(0, rows) for keys in self.keys],
            [values[:, :, :length].index_select(0, rows) for values in self.values],
            mask[..., :length],
            words=None if self.words is None else self.words[rows, :length],
        )

    def join(self, other: TransformerMemory) -> TransformerMemory:
        """The memory of these sentences and then others."""
        keys = [join_padded(*pair, 2) for pair in zip(self.keys, other.keys, strict=True)]
        values = [join_padded(*pair, 2) for pair in zip(self.values, other.values, strict=True)]
        words = join_present(self.words, other.words, 1)
        return TransformerMemory(keys, values, join_padded(self.mask, other.mask, 3), words=words)

    @cached_property
    def cached(self) -> list[CachedKeys]:
        """Each layer's keys and values as steps attend over them, [B·G, S, D/H]."""
        bias = bias_of(self.mask[:, 0, 0], self.keys[0].size(1), self.keys[0].dtype)  # [B·G, 1, S]
        pairs = zip(self.keys, self.values, strict=True)
        return [CachedKeys(keys.flatten(0, 1), values.flatten(0, 1), bias) for keys, values in pairs]


class TargetCache(Protocol):
    """What layers keep of the tokens that hypotheses have read: keys and values, or the states of SSRUs."""

    @property
    def beam(self) -> int:
        """How many hypotheses each sentence has, K."""
        ...

    @property
    def lengths(self) -> Tensor:
        """How many tokens each sentence's hypotheses have read, [B]."""
        ...

    @property
    def layers(self) -> Sequence[Any]:
        """Each layer's part."""
        ...

    def open_slot(self) -> int:
        """Make room for the newest tokens, and give a number that no position of theirs is above."""
        ...

    def select(self, sentences: Tensor, hypotheses: Tensor) -> Self:
        """A cache of some sentences [any] and their hypotheses, which are rows."""
        ...

    def join(self, other: Self) -> Self:
        """A cache of these sentences' hypotheses and then of as many of others."""
        ...

    def reorder(self, hypotheses: Tensor) -> Self:
        """A cache whose rows are some of this one's, [B·K], as many of each sentence."""
        ...


@dataclass(frozen=True)
class TransformerState(State):
    """cache: what is kept of the tokens read so far; layers: the decoder's, as steps call them.

    The cache changes in place, as it says.
    """

    cache: TargetCache
    layers: list[DecoderLayer]

    @property
    def lengths(self) -> Tensor:
        """How many tokens each sentence's hypotheses have read, [B]."""
        return self.cache.lengths

    def select(self, rows: Tensor) -> TransformerState:
        """The state of some sentences."""
        beam = self.cache.beam
        hypotheses = beam_rows(torch.arange(beam, device=rows.device), beam, rows)
        return TransformerState(self.cache.select(rows, hypotheses), self.layers)

    def reorder(self, beams: Tensor) -> TransformerState:
        """The state of the chosen hypotheses."""
        return TransformerState(self.cache.reorder(beam_rows(beams, self.cache.beam)), self.layers)

    def join(self, other: TransformerState) -> TransformerState:
        """The state of these sentences' hypotheses and then of as many of others."""
        return TransformerState(self.cache.join(other.cache), self.layers)
