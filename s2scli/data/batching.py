"""Which sentences make a batch: by a token budget, of similar lengths, in an order that the seed decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from s2scli.console import counted
from s2scli.data.batch import Batch
from s2scli.data.column import Indices
from s2scli.data.meta import CHANGED
from s2scli.data.mixture import Mixture
from s2scli.data.sentences import read_pairs
from s2scli.data.split import Split
from s2scli.errors import DataError

# An epoch over more pairs than this is planned in parts of so many, which takes about a second each.
PART_SIZE = 2**20
# A part is made of blocks of so many neighbouring pairs.
BLOCK_SIZE = 2**10

# Sentences are sorted by target length first, then by source length within slices of at least so many batches.
_BATCHES_PER_SLICE = 4
# Batch sizes are multiples of this where they can be, as in fairseq: matrix kernels like it, and there are fewer
# shapes to compile kernels for.
_SIZE_MULTIPLE = 8


class Lengths(Protocol):
    """The tokens, end symbols counted, or frames of each pair on one side, read when asked for; an array is one."""

    def __len__(self) -> int:
        """The number of pairs."""
        ...

    def __getitem__(self, rows: Indices, /) -> Indices:
        """The numbers of tokens of some pairs."""
        ...

    def max(self) -> int | np.int64:
        """The most tokens that a pair has."""
        ...


class BatchPlan:
    """The batches of every epoch. For given data and settings they depend on the seed and the epoch's number only, not
    on earlier epochs or the number of processes.

    sides: the tokens of each pair on each side that there is, "source" before "target", end symbols counted. A batch
    takes as many pairs as fit within max_tokens tokens on each side, padding counted, and within batch_size pairs (0:
    no limit); a number above 8 is rounded down to a multiple of 8. frames: whether sources are frames of features,
    by which pairs are sorted before their targets. mixture: which pairs an epoch has, if not each once. In the
    first `curriculum` epochs the batches of a part come from short to long sentences.

    An epoch over more than PART_SIZE pairs is planned in parts, each from blocks of neighbouring pairs that are drawn
    from all over the data, so that the time and memory of planning a part hardly depend on how much data there is.

    Raises DataError where one sentence is longer than max_tokens.
    """

    def __init__(
        self,
        sides: Mapping[str, Lengths],
        *,
        max_tokens: int,
        batch_size: int,
        seed: int,
        curriculum: int = 0,
        mixture: Mixture | None = None,
        frames: bool = False,
    ) -> None:
        self.sides = dict(sides)
        self._frames = frames
        self._mixture = mixture
        self.num_pairs = len(self.sides["target"]) if mixture is None else len(mixture)
        self.max_tokens = max_tokens
        self.batch_size = batch_size or self.num_pairs
        self.seed = seed
        self.curriculum = curriculum
        self._blocks = -(-self.num_pairs // BLOCK_SIZE)
        self._blocks_in_part = PART_SIZE // BLOCK_SIZE
        # The last part that was asked for: grouping a million pairs takes a second.
        self._latest: tuple[tuple[int, int], list[Indices]] = ((0, 0), [])
        for side, lengths in self.sides.items():
            if (longest := int(lengths.max())) > max_tokens:
                line = int(np.flatnonzero(lengths[np.arange(len(lengths))] == longest)[0])
                what, flag = f"{side} token", f"preprocess with --max-{side}-length"
                end = " with its end symbol"
                if frames and side == "source":
                    what, flag, end = "frame", "leave it out: preprocess with --max-frames", ""
                raise DataError(
                    f"training example {line + 1} has {counted(longest, what)}{end}, more than "
                    f"--max-tokens {max_tokens}; "
                    f"give --max-tokens {longest} or more, or {flag}"
                )

    @property
    def parts(self) -> int:
        """The number of parts of an epoch."""
        return -(-self._blocks // self._blocks_in_part)

    def part(self, epoch: int, part: int = 0) -> list[Indices]:
        """The batches of a part (counted from 0) of an epoch (from 1): arrays of indices, in the epoch's order."""
        if self._latest[0] != (epoch, part):
            rng = np.random.default_rng((self.seed, epoch, part))
            batches = self._group(rng.permutation(self._pairs(epoch, part)))
            if epoch <= self.curriculum:
                batches.sort(key=self._longest)
            else:
                batches = [batches[i] for i in rng.permutation(len(batches))]
            self._latest = (epoch, part), batches
        return self._latest[1]

    def _longest(self, batch: Indices) -> int:
        """The length of the longest sentence of a batch, on either side."""
        return int(self.lengths(batch).max())

    def in_order(self) -> list[Indices]:
        """All batches, of similar lengths, without any shuffling, for validation."""
        return self._group(np.arange(self.num_pairs))

    def lengths(self, pairs: Indices) -> Indices:
        """The tokens of some pairs on each side, the target's last, end symbols counted; [num_sides, num_pairs]."""
        return np.stack([side[pairs] for side in self.sides.values()])

    def _pairs(self, epoch: int, part: int) -> Indices:
        """The pairs of a part."""
        positions = self._positions(epoch, part)
        return positions if self._mixture is None else self._mixture.pairs(positions, epoch)

    def _positions(self, epoch: int, part: int) -> Indices:
        """The positions in an epoch of a part's pairs, all there are where it is the only part."""
        if self.parts == 1:
            return np.arange(self.num_pairs)
        blocks = np.random.default_rng((self.seed, epoch)).permutation(self._blocks)
        chosen = blocks[part * self._blocks_in_part : (part + 1) * self._blocks_in_part]
        positions = (chosen[:, None] * BLOCK_SIZE + np.arange(BLOCK_SIZE)).ravel()
        return positions[positions < self.num_pairs]

    def _group(self, order: Indices) -> list[Indices]:
        """Cut pairs into batches; their `order` decides among those of equal lengths."""
        lengths = self.lengths(order)  # [sides, pairs]
        by_length = np.lexsort((lengths[-1], lengths[0]) if self._frames else (lengths[0], lengths[-1]))
        order, lengths = order[by_length], lengths[:, by_length]
        # Frames are many times as many as tokens: their padding alone matters.
        for number, (start, end) in enumerate(() if self._frames else self._slices(lengths)):
            # Without sources there is one side, which is sorted already.
            by_source = np.argsort(lengths[0, start:end], kind="stable")
            # Up and down in turn, so that a batch over the border of two slices has similar sources too.
            moved = start + by_source[:: -1 if number % 2 else 1]
            order[start:end], lengths[:, start:end] = order[moved], lengths[:, moved]
        longest = lengths.max(0)
        batches: list[Indices] = []
        start = 0
        while start < len(order):
            reach = longest[start : start + min(self.batch_size, self.max_tokens)]
            padded = np.maximum.accumulate(reach) * np.arange(1, len(reach) + 1)
            size = int(np.searchsorted(padded, self.max_tokens, side="right"))
            if not size:
                raise DataError(
                    f"a training example has {counted(reach[0], 'token')}, more than its dataset says that any "
                    f"has, and than "
                    f"--max-tokens {self.max_tokens}; {CHANGED}"
                )
            size -= size % _SIZE_MULTIPLE if size > _SIZE_MULTIPLE else 0
            batches.append(order[start : start + size])
            start += size
        return batches

    def _slices(self, lengths: Indices) -> Iterator[tuple[int, int]]:
        """Borders of slices of sorted sentences that hold whole target lengths and enough batches each."""
        filled = np.cumsum(lengths.max(0))
        start, used = 0, 0
        for end in [*(np.flatnonzero(np.diff(lengths[-1])) + 1).tolist(), lengths.shape[1]]:
            if end == lengths.shape[1] or filled[end - 1] - used >= _BATCHES_PER_SLICE * self.max_tokens:
                yield start, end
                start, used = end, int(filled[end - 1])

    def count(self, batches: list[Indices]) -> tuple[int, int, int]:
        """Source tokens and target tokens of some batches, and the positions of all sides, padding counted."""
        lengths = self.lengths(np.concatenate(batches))
        tokens = dict(zip(self.sides, lengths.sum(1).tolist(), strict=True))
        starts = np.cumsum([0, *map(len, batches[:-1])])
        sizes = np.array([len(batch) for batch in batches])
        positions = int((np.maximum.reduceat(lengths, starts, axis=1) * sizes).sum())
        return tokens.get("source", 0), tokens["target"], positions

    def padding(self, batches: list[Indices]) -> float:
        """The share of positions that hold padding, over all sides."""
        source, target, positions = self.count(batches)
        return 1 - (source + target) / positions


class _ColumnLengths:
    """The tokens of a column of a split, end symbols counted, or its frames, which have none."""

    def __init__(self, split: Split, column: str) -> None:
        self._split, self._column = split, column
        self._end = 1 if split.features(column) is None else 0

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, rows: Indices, /) -> Indices:
        return self._split.lengths(self._column, rows) + self._end

    def max(self) -> int:
        return self._split.longest(self._column) + self._end


def side_lengths(split: Split) -> dict[str, Lengths]:
    """The tokens or frames of a split's pairs on each side that there is, read when asked for."""
    return {side: _ColumnLengths(split, side) for side in ("source", "target") if side in split.columns}


def plan_batches(
    split: Split,
    *,
    max_tokens: int,
    batch_size: int,
    seed: int,
    stretch: bool = False,
    curriculum: int = 0,
    mixture: Mixture | None = None,
) -> BatchPlan:
    """The batch plan of a dataset's split; `stretch` makes room for a sentence longer than max_tokens."""
    sides = side_lengths(split)
    if stretch:
        max_tokens = max(max_tokens, *(int(side.max()) for side in sides.values()))
    return BatchPlan(
        sides,
        max_tokens=max_tokens,
        batch_size=batch_size,
        seed=seed,
        curriculum=curriculum,
        mixture=mixture,
        frames=split.features("source") is not None,
    )


def load_batch(split: Split, indices: Indices) -> Batch:
    """Read and pad the pairs of a batch."""
    return Batch.of(read_pairs(split, indices))
