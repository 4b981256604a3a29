"""A batch: sequences of token ids, or of frames of features, padded, as tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2scli.data.padding import Padded, PaddedFrames, pad
from s2scli.data.sentences import PaddedPairs
from s2scli.errors import UsageError
from s2scli.text.vocabulary import SpecialSymbols


class Source(ABC):
    """Sequences of one column, one a batch row, padded on the right: token ids, or frames of features.

    lengths [B]: how many positions of each are no padding. extended [B, S]: as in Tokens, for models that copy.
    adapters [B]: for models with several adapters, the number of the one that each is read with, -1 for none.
    on_host [B]: the lengths in the host's memory, where the sequences have been copied to a device; its work need not
    be waited for to know how much of it there is.
    """

    lengths: Tensor
    on_host: Tensor | None = None
    extended: Tensor | None = None
    adapters: Tensor | None = None
    # About how many of them an encoder makes one position of.
    shortening: ClassVar[int] = 1

    @property
    @abstractmethod
    def values(self) -> Tensor:
        """What there is at each position: token ids [B, S], or frames [B, S, F]."""

    @abstractmethod
    def _each(self, function: Callable[[Tensor], Tensor], on_host: Tensor | None) -> Self:
        """What a function makes of each tensor, with its lengths in the host's memory, as the field has them."""

    def _of_rows(self, function: Callable[[Tensor], Tensor]) -> Self:
        """What a function makes of the rows of each tensor."""
        return self._each(function, None if self.on_host is None else function(self.on_host))

    @abstractmethod
    def _until(self, length: int) -> Self:
        """The first positions of all sequences."""

    def __len__(self) -> int:
        """The number of sequences, B."""
        return self.values.size(0)

    @property
    def padded_length(self) -> int:
        """The number of positions of each sequence, padding counted, S."""
        return self.values.size(1)

    @property
    def num_positions(self) -> int:
        """The number of positions of all sequences, padding counted, B·S."""
        return len(self) * self.padded_length

    @property
    def device(self) -> torch.device:
        """Where the sequences are."""
        return self.values.device

    @property
    def mask(self) -> Tensor:
        """[B, S], true where there is no padding."""
        return torch.arange(self.padded_length, device=self.device) < self.lengths[:, None]

    @property
    def host_lengths(self) -> Tensor:
        """The lengths [B] in the host's memory."""
        return self.lengths.cpu() if self.on_host is None else self.on_host

    @cached_property
    def filled(self) -> Tensor:
        """Which of all B·S positions, one sequence after the other, are no padding, [tokens]."""
        # Found on the host, as a device would be waited for to tell how many there are.
        mask = torch.arange(self.padded_length) < self.host_lengths[:, None]
        filled = mask.flatten().nonzero()[:, 0]
        if self.device.type == "cuda":
            filled = filled.pin_memory()
        return filled.to(self.device, non_blocking=True)

    def extended_size(self, vocabulary: int) -> int:
        """V + E: the size of the target vocabulary with the most own words that a sequence has."""
        return vocabulary if self.extended is None else max(vocabulary, int(self.extended.max()) + 1)

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        if device == self.device:
            return self
        on_host = None if device.type == "cpu" else self.host_lengths
        return self._each(lambda item: item.to(device, non_blocking=True), on_host)

    def repeat(self, times: int) -> Self:
        """All of the sequences so many times, one after the other."""
        return self._of_rows(lambda item: torch.cat([item] * times))

    def rows(self, rows: slice) -> Self:
        """Some of the sequences, cut to the longest of them."""
        return self._of_rows(lambda item: item[rows])._trimmed()

    def select(self, rows: Sequence[int]) -> Self:
        """Some of the sequences, by their batch rows, cut to the longest of them."""
        chosen = torch.tensor(rows, dtype=torch.long)
        return self._of_rows(lambda item: item[chosen.to(item.device, non_blocking=True)])._trimmed()

    def _trimmed(self) -> Self:
        """The same without the padding that all have."""
        return self._until(int(self.host_lengths.max()))

    def pin(self) -> Self:
        """The same in memory that a GPU can copy from while it works."""
        return self._each(Tensor.pin_memory, None)

    def tokens(self, purpose: str) -> Tokens:
        """The same as token ids; UsageError where it is none: what the purpose, a flag, needs."""
        raise UsageError(
            f"{purpose} needs a source of text, and the source is frames of features; leave it out"
        )


@dataclass(frozen=True)
class Tokens(Source):
    """Sequences of token ids: ids [B, length] padded on the right, lengths [B]; both count the end symbol.

    extended [B, length], for models that copy: the same tokens as ids of the target vocabulary, from V on those of the
    words that only the pair's source has, numbered in each source by themselves.
    """

    ids: Tensor
    lengths: Tensor
    extended: Tensor | None = None
    adapters: Tensor | None = None
    on_host: Tensor | None = None

    @classmethod
    def of(cls, padded: Padded) -> Tokens:
        """Arrays as tensors."""
        extended = None if padded.extended is None else torch.from_numpy(padded.extended)
        return cls(torch.from_numpy(padded.ids), torch.from_numpy(padded.lengths), extended)

    @property
    def values(self) -> Tensor:
        """The ids [B, S]."""
        return self.ids

    @property
    def predicted(self) -> Tensor:
        """What is to be predicted, [B, length]: the ids, or those that the source's own words have too."""
        return self.ids if self.extended is None else self.extended

    def _each(self, function: Callable[[Tensor], Tensor], on_host: Tensor | None) -> Tokens:
        extended, adapters = (
            None if item is None else function(item) for item in (self.extended, self.adapters)
        )
        return Tokens(function(self.ids), function(self.lengths), extended, adapters, on_host)

    def _until(self, length: int) -> Tokens:
        extended = None if self.extended is None else self.extended[:, :length]
        return Tokens(self.ids[:, :length], self.lengths, extended, self.adapters, self.on_host)

    def tokens(self, purpose: str) -> Tokens:
        """The tokens themselves."""
        del purpose
        return self


@dataclass(frozen=True)
class Frames(Source):
    """Sequences of frames of features: frames [B, S, F], zero where there is padding, and lengths [B]."""

    frames: Tensor
    lengths: Tensor
    adapters: Tensor | None = None
    on_host: Tensor | None = None
    shortening: ClassVar[int] = 4

    @classmethod
    def of(cls, padded: PaddedFrames) -> Frames:
        """Arrays as tensors."""
        return cls(torch.from_numpy(padded.frames), torch.from_numpy(padded.lengths))

    @property
    def values(self) -> Tensor:
        """The frames [B, S, F]."""
        return self.frames

    def _each(self, function: Callable[[Tensor], Tensor], on_host: Tensor | None) -> Frames:
        adapters = None if self.adapters is None else function(self.adapters)
        return Frames(function(self.frames), function(self.lengths), adapters, on_host)

    def _until(self, length: int) -> Frames:
        return Frames(self.frames[:, :length], self.lengths, self.adapters, self.on_host)


@dataclass(frozen=True)
class Batch:
    """Sentence pairs, or sources alone when there is nothing to learn from."""

    source: Source
    target: Tokens | None = None

    @classmethod
    def of(cls, pairs: PaddedPairs) -> Batch:
        """Arrays as tensors."""
        source = pairs.source
        return cls(
            Frames.of(source) if isinstance(source, PaddedFrames) else Tokens.of(source),
            Tokens.of(pairs.target),
        )

    def __len__(self) -> int:
        """The number of sentences, B."""
        return len(self.source)

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(self.source.to(device), self.target.to(device) if self.target is not None else None)

    def rows(self, rows: slice) -> Batch:
        """Some of the pairs."""
        return Batch(self.source.rows(rows), self.target.rows(rows) if self.target is not None else None)

    def pin(self) -> Batch:
        """The same in memory that a GPU can copy from while it works."""
        return Batch(self.source.pin(), self.target.pin() if self.target is not None else None)

    def count(self, sides: Collection[str] = ("source", "target")) -> tuple[int, int, int]:
        """Source tokens or frames, target tokens, and the positions of both, padding counted.

        sides: those that count. What stands for the source of a language model is none of its tokens.
        """
        found: dict[str, Source | None] = {"source": self.source, "target": self.target}
        counted = {side: item for side, item in found.items() if side in sides and item is not None}
        num_tokens = {side: int(item.host_lengths.sum()) for side, item in counted.items()}
        positions = sum(item.num_positions for item in counted.values())
        return num_tokens.get("source", 0), num_tokens.get("target", 0), positions

    def encoded_positions(self) -> int:
        """About how many positions the model has of both sides, padding counted: what the time of a pass depends on."""
        sides: list[Source] = [self.source, *([self.target] if self.target is not None else [])]
        return sum(side.num_positions // side.shortening for side in sides)

    def size(self) -> tuple[int, int]:
        """Positions of both sides, padding counted, and the longer side's length: what memory depends on."""
        sides: list[Source] = [self.source, *([self.target] if self.target is not None else [])]
        return sum(side.num_positions for side in sides), max(side.padded_length for side in sides)


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
