"""The keys and values of what hypotheses have read, kept from one step of decoding to the next."""

from __future__ import annotations

from typing import Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn.kernels.dot_product import CachedKeys, bias_of, rounded_length
from s2scli.nn.kernels.trained_attention import LENGTH_MULTIPLE


class LayerCache(NamedTuple):
    """One layer's part of a cache, all of it views.

    attended: what queries attend over, [B·K·G, capacity, D/H]. slots: the last of them one by one, keys and values side
    by side, [B·K, 2, G, D/H] each; the next token's is among them. rotations: of the
    newest tokens, where positions are told by them, see nn/rotary.py.
    """

    attended: CachedKeys
    slots: tuple[Tensor, ...]
    rotations: Tensor | None = None

    def write(self, slot: int, keys_values: Tensor) -> None:
        """Fill an open slot with the keys and values of the newest tokens, [B·K, 2, G, D/H]."""
        self.slots[slot - self.attended.keys.size(1)].copy_(keys_values)


class KeyValueCache:
    """The keys and values of the tokens that hypotheses have read, of every layer's self-attention.

    tensor [N, 2, B·K, G, capacity, D/H]: keys, then values, in slots of which the first `length` are filled. The newest
    tokens of all hypotheses are in one slot, while those of sentence b begin at slot first[b], as sentences may join a
    batch in which others are further on; nothing before it is attended to.

    This is all that decoding changes in place: a slot is filled, the bias opens it to queries, and rows are exchanged
    where hypotheses are; a copy in every step would take longer than the step. So a cache that was given to a step, or
    was reordered, must not be used again but as what came of it.
    """

    def __init__(self, tensor: Tensor, first: Tensor, length: int) -> None:
        self.tensor, self.first, self.length = tensor, first, length
        self._layers: list[LayerCache] = []

    @classmethod
    def empty(cls, layers: int, rows: int, heads: int, width: int, like: Tensor) -> Self:
        """Of rows that have read nothing, B·K = B; width: D/H; like: what has the type and device of the keys."""
        first = torch.zeros(rows, dtype=torch.long, device=like.device)
        return cls(like.new_empty(layers, 2, rows, heads, 0, width), first, 0)

    def _of(self, tensor: Tensor, first: Tensor, length: int) -> Self:
        """A cache like this one of other rows."""
        return type(self)(tensor, first, length)

    @property
    def beam(self) -> int:
        """How many hypotheses each sentence has, K."""
        return self.tensor.size(2) // self.first.size(0)

    @property
    def lengths(self) -> Tensor:
        """How many tokens each sentence's hypotheses have read, [B]."""
        return self.length - self.first

    def open_slot(self) -> int:
        """The slot of the newest tokens, which queries attend to from now on; each layer is to fill it."""
        slot = self.length
        if slot == self.tensor.size(4):
            self.tensor = F.pad(self.tensor, (0, 0, 0, rounded_length(slot + 1) - slot))
            self._layers = []
        self.layers[0].attended.bias.select(2, slot).zero_()
        self.length += 1
        return slot

    @property
    def layers(self) -> list[LayerCache]:
        """Each layer's part; the bias, [B·K·G, 1, capacity], is one for all."""
        if not self._layers:
            slots = torch.arange(self.tensor.size(4), device=self.tensor.device)
            mask = (slots < self.length) & (slots >= self.first[:, None])  # [B, capacity]
            bias = bias_of(mask, self.beam * self.tensor.size(3), self.tensor.dtype)
            for layer in self.tensor.unbind(0):
                keys, values = layer.flatten(1, 2).unbind(0)  # [B·K·G, capacity, D/H]
                last = layer[..., -LENGTH_MULTIPLE:, :].transpose(0, 1).unbind(3)
                self._layers.append(LayerCache(CachedKeys(keys, values, bias), last))
        return self._layers

    def select(self, sentences: Tensor, hypotheses: Tensor) -> Self:
        """A cache of some sentences [any] and their hypotheses, which are rows; slots that none needs are dropped."""
        first = self.first[sentences]
        dropped = int(first.min()) // LENGTH_MULTIPLE * LENGTH_MULTIPLE
        tensor = self.tensor[..., dropped:, :].index_select(2, hypotheses)
        return self._of(tensor, first - dropped, self.length - dropped)

    def join(self, other: Self) -> Self:
        """A cache of these sentences' hypotheses and then of as many of others; the newest tokens are in one slot."""
        length = max(self.length, other.length)
        rows = self.tensor.size(2)
        shape = list(self.tensor.shape)
        shape[2], shape[4] = rows + other.tensor.size(2), rounded_length(length)
        tensor = self.tensor.new_zeros(shape)
        firsts = []
        for cache, part in ((self, tensor[:, :, :rows]), (other, tensor[:, :, rows:])):
            ahead = length - cache.length
            part[..., ahead:length, :] = cache.tensor[..., : cache.length, :]
            firsts.append(cache.first + ahead)
        return self._of(tensor, torch.cat(firsts), length)

    def reorder(self, hypotheses: Tensor) -> Self:
        """A cache whose rows are some of this one's, [B·K], as many of each sentence; rows that stay are not copied.

        Which do is found where the hypotheses' numbers are: in the host's memory, so that no device is waited for.
        """
        device = self.tensor.device
        if len(hypotheses) != self.tensor.size(2):
            hypotheses = hypotheses.to(device, non_blocking=True)
            return self._of(self.tensor.index_select(2, hypotheses), self.first, self.length)
        moved = (hypotheses != torch.arange(len(hypotheses), device=hypotheses.device)).nonzero()[:, 0]
        if len(moved):
            filled = self.tensor.narrow(4, 0, self.length)
            come = hypotheses[moved].to(device, non_blocking=True)
            filled.index_copy_(2, moved.to(device, non_blocking=True), filled.index_select(2, come))
        return self


Positions = TypeVar("Positions")


class PositionedCache(KeyValueCache, Generic[Positions]):
    """A cache that tells attention, with each new slot, about the positions of what is in it.

    positions: the module that knows what to tell.
    """

    def __init__(self, tensor: Tensor, first: Tensor, length: int, positions: Positions) -> None:
        super().__init__(tensor, first, length)
        self.positions = positions

    @classmethod
    def over(cls, cache: KeyValueCache, positions: Positions) -> Self:
        """A cache of what another one has."""
        return cls(cache.tensor, cache.first, cache.length, positions)

    def _of(self, tensor: Tensor, first: Tensor, length: int) -> Self:
        return type(self)(tensor, first, length, self.positions)
