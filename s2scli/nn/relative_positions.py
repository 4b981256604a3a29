"""Relative positions as biases of attention scores (Raffel et al. 2020, section 2.1): those of T5."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from s2scli.nn.kernels.key_value_cache import LayerCache, PositionedCache


def relative_buckets(
    distances: Tensor, buckets: int, max_distance: int, *, bidirectional: bool = False
) -> Tensor:
    """The bucket of each distance, key position - query position, in a tensor of the same shape.

    In one direction, half of the buckets are for one distance each, 0, -1, -2 …; the distances of those after them grow
    by a factor, up to `max_distance`, from which on all are in the last. Distances above 0 count as 0. In both
    directions, half of all buckets are for distances above 0.
    """
    bucket = torch.zeros_like(distances)
    if bidirectional:
        buckets //= 2
        bucket = (distances > 0) * buckets
        distances = distances.abs()
    else:
        distances = -distances.clamp(max=0)
    exact = buckets // 2
    # The distance 0 is not far; at least 1, so that its logarithm is finite.
    growth = torch.log(distances.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (growth * (buckets - exact)).long()).clamp(max=buckets - 1)
    return bucket + torch.where(distances < exact, distances, far)


class RelativePositions(nn.Module):
    """A trained bias for each head and each bucket of distances, which all layers of a side add to their scores.

    bidirectional: whether queries attend to what comes after them too, as those of an encoder do.
    """

    def __init__(
        self, heads: int, buckets: int, max_distance: int, *, bidirectional: bool, std: float
    ) -> None:
        super().__init__()
        self.max_distance, self.bidirectional = max_distance, bidirectional
        self.weight = nn.Parameter(torch.empty(buckets, heads).normal_(std=std))

    def of(self, distances: Tensor) -> Tensor:
        """The biases [H, ...] of distances [...], key position - query position."""
        buckets = relative_buckets(
            distances, len(self.weight), self.max_distance, bidirectional=self.bidirectional
        )
        biases: Tensor = self.weight[buckets].movedim(-1, 0)
        return biases

    def forward(self, mask: Tensor) -> Tensor:
        """The bias [B, H, S, S] of attention among S positions, -inf where a mask [B, 1, S or 1, S] is false."""
        positions = torch.arange(mask.size(-1), device=mask.device)
        biases = self.of(positions - positions[:, None])  # [H, S, S]
        return biases.masked_fill(~mask, float("-inf"))

    def causal(self, length: int) -> Tensor:
        """The bias [1, H, T, T] of attention among T positions, -inf where a key comes after its query."""
        mask = torch.ones(length, length, dtype=torch.bool, device=self.weight.device).tril()
        biases: Tensor = self(mask[None, None])
        return biases


class RelativeCache(PositionedCache[RelativePositions]):
    """A cache whose bias says for each slot how far it is from that of the newest tokens, [B·K·G, H/G, capacity]."""

    @property
    def layers(self) -> list[LayerCache]:
        """Each layer's part; the bias is one for all."""
        if not self._layers:
            layers = super().layers
            rows, _, capacity = layers[0].attended.bias.shape
            heads = self.positions.weight.size(1)
            bias = self.tensor.new_empty(rows, heads // self.tensor.size(3), capacity)
            self._layers = [layer._replace(attended=layer.attended._replace(bias=bias)) for layer in layers]
            # [H, 2 · capacity - 1]: of the distances from -(capacity - 1) to capacity - 1.
            self._biases = self.positions.of(torch.arange(1 - capacity, capacity, device=bias.device))
        return self._layers

    def open_slot(self) -> int:
        """The slot of the newest tokens, which queries attend to from now on, with the biases of a query there."""
        slot = super().open_slot()
        bias = self.layers[0].attended.bias
        capacity = bias.size(2)
        slots = torch.arange(capacity, device=bias.device)
        biases = self._biases.narrow(1, capacity - 1 - slot, capacity)  # [H, capacity]
        mask = (slots <= slot) & (slots >= self.first[:, None])  # [B, capacity]
        of_sentences = biases.masked_fill(~mask[:, None], float("-inf"))  # [B, H, capacity]
        bias.view(len(self.first), -1, *biases.shape).copy_(of_sentences[:, None])
        return slot
