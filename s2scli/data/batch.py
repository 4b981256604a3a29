"""A batch: padded token ids as tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2scli.data.padding import Padded, pad
from s2scli.data.sentences import PaddedPairs
from s2scli.text.vocabulary import SpecialSymbols


@dataclass(frozen=True)
class Tokens:
    """Sequences of token ids: ids [B, length] padded on the right, lengths [B]; both count the end symbol.

    extended [B, length], for models that copy: the same tokens as ids of the target vocabulary, from V on those of the
    words that only the pair's source has, numbered in each source by themselves.
    """

    ids: Tensor
    lengths: Tensor
    extended: Tensor | None = None

    @classmethod
    def of(cls, padded: Padded) -> Tokens:
        """Arrays as tensors."""
        extended = None if padded.extended is None else torch.from_numpy(padded.extended)
        return cls(torch.from_numpy(padded.ids), torch.from_numpy(padded.lengths), extended)

    @property
    def mask(self) -> Tensor:
        """[B, length], true where there is a token."""
        return torch.arange(self.ids.size(1), device=self.ids.device) < self.lengths[:, None]

    @property
    def predicted(self) -> Tensor:
        """What is to be predicted, [B, length]: the ids, or those that the source's own words have too."""
        return self.ids if self.extended is None else self.extended

    def extended_size(self, vocabulary: int) -> int:
        """V + E: the size of the target vocabulary with the most own words that a source has."""
        return vocabulary if self.extended is None else max(vocabulary, int(self.extended.max()) + 1)

    def _each(self, function: Callable[[Tensor], Tensor]) -> Tokens:
        """What a function makes of the ids and the lengths."""
        extended = None if self.extended is None else function(self.extended)
        return Tokens(function(self.ids), function(self.lengths), extended)

    def to(self, device: torch.device) -> Tokens:
        """The same on another device."""
        return self._each(lambda item: item.to(device, non_blocking=True))

    def repeat(self, times: int) -> Tokens:
        """All of the sequences so many times, one after the other."""
        return self._each(lambda item: torch.cat([item] * times))

    def rows(self, rows: slice) -> Tokens:
        """Some of the sequences, cut to the longest of them."""
        return self._each(lambda item: item[rows])._trimmed()

    def _trimmed(self) -> Tokens:
        """The same without the padding that all have."""
        longest = int(self.lengths.max())
        extended = None if self.extended is None else self.extended[:, :longest]
        return Tokens(self.ids[:, :longest], self.lengths, extended)

    def select(self, rows: Sequence[int]) -> Tokens:
        """Some of the sequences, by their places, cut to the longest of them."""
        chosen = torch.tensor(rows, dtype=torch.long, device=self.ids.device)
        return self._each(lambda item: item[chosen])._trimmed()

    def pin(self) -> Tokens:
        """The same in memory that a GPU can copy from while it works."""
        return self._each(Tensor.pin_memory)


@dataclass(frozen=True)
class Batch:
    """Sentence pairs, or sources alone when there is nothing to learn from."""

    source: Tokens
    target: Tokens | None = None

    @classmethod
    def of(cls, pairs: PaddedPairs) -> Batch:
        """Arrays as tensors."""
        return cls(Tokens.of(pairs.source), Tokens.of(pairs.target))

    def __len__(self) -> int:
        """The number of sentences, B."""
        return self.source.ids.size(0)

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(self.source.to(device), self.target.to(device) if self.target else None)

    def rows(self, rows: slice) -> Batch:
        """Some of the pairs."""
        return Batch(self.source.rows(rows), self.target.rows(rows) if self.target else None)

    def pin(self) -> Batch:
        """The same in memory that a GPU can copy from while it works."""
        return Batch(self.source.pin(), self.target.pin() if self.target else None)

    def count(self, sides: Collection[str] = ("source", "target")) -> tuple[int, int, int]:
        """Source tokens, target tokens, and the positions of both, padding counted.

        sides: those that count. What stands for the source of a language model is none of its tokens.
        """
        found = {"source": self.source, "target": self.target}
        counted = {side: tokens for side, tokens in found.items() if side in sides and tokens is not None}
        num_tokens = {side: int(tokens.lengths.sum()) for side, tokens in counted.items()}
        positions = sum(tokens.ids.numel() for tokens in counted.values())
        return num_tokens.get("source", 0), num_tokens.get("target", 0), positions

    def size(self) -> tuple[int, int]:
        """Positions of both sides, padding counted, and the longer side's length: what memory depends on."""
        sides = [self.source.ids] + ([self.target.ids] if self.target else [])
        return sum(ids.numel() for ids in sides), max(ids.size(1) for ids in sides)


def pad_sequences(
    sequences: Sequence[NDArray[np.integer] | Sequence[int]],
    symbols: SpecialSymbols,
    extended: Sequence[Sequence[int]] | None = None,
) -> Tokens:
    """Stack sequences without end symbols into Tokens, each with the end symbol; symbols: their vocabulary's."""
    return Tokens.of(pad(sequences, symbols, extended))


def pad_outputs(sequences: Sequence[Sequence[int]], vocabulary: int, symbols: SpecialSymbols) -> Tokens:
    """Outputs without end symbols as Tokens; ids beyond the target vocabulary are words that were copied.

    vocabulary: the size of the target vocabulary, V; symbols: its special symbols.
    """
    tokens = pad_sequences(sequences, symbols)
    return Tokens(known(tokens.ids, vocabulary, symbols.unknown), tokens.lengths, tokens.ids)


def known(ids: Tensor, vocabulary: int, unknown: int) -> Tensor:
    """The ids as a decoder reads them: the words that only a source has, ids from V on, are the unknown symbol."""
    return ids.masked_fill(ids >= vocabulary, unknown)


def decoder_input(target: Tokens, start: int) -> Tensor:
    """What the decoder reads to predict `target`: its ids shifted right behind the start symbol, [B, T].

    What stands at padded positions is never predicted from.
    """
    return torch.nn.functional.pad(target.ids[:, :-1], (1, 0), value=start)
