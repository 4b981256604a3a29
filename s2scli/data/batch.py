"""A batch: padded token ids as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2scli.data.padding import Padded, pad
from s2scli.data.sentences import PaddedPairs
from s2scli.text.vocabulary import EOS


@dataclass(frozen=True)
class Tokens:
    """Sequences of token ids: ids [B, length] padded on the right, lengths [B]; both count the end symbol."""

    ids: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, padded: Padded) -> Tokens:
        """Arrays as tensors."""
        return cls(torch.from_numpy(padded.ids), torch.from_numpy(padded.lengths))

    @property
    def mask(self) -> Tensor:
        """[B, length], true where there is a token."""
        return torch.arange(self.ids.size(1), device=self.ids.device) < self.lengths[:, None]

    def to(self, device: torch.device) -> Tokens:
        """The same on another device."""
        return Tokens(self.ids.to(device, non_blocking=True), self.lengths.to(device, non_blocking=True))

    def rows(self, rows: slice) -> Tokens:
        """Some of the sequences, cut to the longest of them."""
        lengths = self.lengths[rows]
        return Tokens(self.ids[rows, : int(lengths.max())], lengths)

    def select(self, rows: Sequence[int]) -> Tokens:
        """Some of the sequences, by their places, cut to the longest of them."""
        chosen = torch.tensor(rows, dtype=torch.long, device=self.ids.device)
        lengths = self.lengths[chosen]
        return Tokens(self.ids[chosen, : int(lengths.max())], lengths)

    def pin(self) -> Tokens:
        """The same in memory that a GPU can copy from while it works."""
        return Tokens(self.ids.pin_memory(), self.lengths.pin_memory())


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

    def count(self) -> tuple[int, int, int]:
        """Source tokens, target tokens, and the positions of both sides, padding counted."""
        target = int(self.target.lengths.sum()) if self.target else 0
        return int(self.source.lengths.sum()), target, self.size()[0]

    def size(self) -> tuple[int, int]:
        """Positions of both sides, padding counted, and the longer side's length: what memory depends on."""
        sides = [self.source.ids] + ([self.target.ids] if self.target else [])
        return sum(ids.numel() for ids in sides), max(ids.size(1) for ids in sides)


def pad_sequences(sequences: Sequence[NDArray[np.integer] | Sequence[int]]) -> Tokens:
    """Stack sequences without end symbols into Tokens, each with its end symbol."""
    return Tokens.of(pad(sequences))


def decoder_input(target: Tokens) -> Tensor:
    """What the decoder reads to predict `target`: its ids shifted right behind the end symbol, [B, T].

    As in fairseq the end symbol also starts a sentence. What stands at padded positions is never predicted from.
    """
    return torch.nn.functional.pad(target.ids[:, :-1], (1, 0), value=EOS)
