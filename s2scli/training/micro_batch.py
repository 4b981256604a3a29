"""A batch among those of an update, the pieces it goes through the model in, and the seed of what is drawn for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from s2scli.data.batch import Batch

# Pieces of a batch draw from seeds this far apart.
_PIECE_SEEDS = 1 << 32
# So many positions of both sides, of which frames make one by fours, go through the model at once on a CPU. All of a
# batch at once is a tenth faster, and takes nearly twice the memory.
_POSITIONS_ON_CPU = 2048


@dataclass(frozen=True)
class MicroBatch:
    """A batch, its number among all of the update's, and which piece of it this is if it had to be split.

    piece: 1 is the whole; 2 and 3 are its halves, 4 to 7 the halves of those. counts: whether its loss does; one that
    does not is there because all processes must make equally many passes.
    """

    number: int
    batch: Batch
    piece: int = 1
    counts: bool = True

    def to(self, device: torch.device) -> MicroBatch:
        """The same on another device."""
        return replace(self, batch=self.batch.to(device))

    def halves(self) -> list[MicroBatch]:
        """Two pieces of half the sentences each."""
        middle = (len(self.batch) + 1) // 2
        parts = self.batch.rows(slice(0, middle)), self.batch.rows(slice(middle, None))
        return [
            MicroBatch(self.number, part, 2 * self.piece + side, self.counts)
            for side, part in enumerate(parts)
        ]

    def pieces(self, device: torch.device) -> list[MicroBatch]:
        """The batch as it goes through the model: on a CPU in pieces, which are pairs at the least."""
        if (
            device.type != "cpu"
            or len(self.batch) == 1
            or self.batch.encoded_positions() <= _POSITIONS_ON_CPU
        ):
            return [self]
        return [piece for half in self.halves() for piece in half.pieces(device)]

    def seed(self, seed: int, update: int) -> int:
        """The seed of all that is drawn for this piece in an update of a run with a seed."""
        return seed_for(seed, update, self.number + (self.piece - 1) * _PIECE_SEEDS)


def seed_for(seed: int, update: int, micro_batch: int) -> int:
    """The seed of all that is drawn for a micro-batch, as a function of its number in the run (splitmix64)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + update * 0xD1B54A32D192ED03 + micro_batch) % 2**64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
    return (mixed ^ (mixed >> 31)) % 2**63
