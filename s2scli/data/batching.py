"""Which sentences make a batch: by a token budget, of similar lengths, in an order that the seed decides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from s2scli.data.batch import Batch, pad_sequences
from s2scli.data.dataset import Split
from s2scli.errors import DataError

Indices = NDArray[np.int64]

# Sentences are sorted by target length first, then by source length within slices of at least so many batches.
_BATCHES_PER_SLICE = 4
# Batch sizes are multiples of this where they can be, as in fairseq: matrix kernels like it, and there are fewer
# shapes to compile kernels for.
_SIZE_MULTIPLE = 8


class BatchPlan:
    """The batches of every epoch, as a function of (seed, epoch) alone.

    source_lengths, target_lengths: tokens of each pair, end symbols counted. A batch holds as many pairs as
    keep both padded sides within max_tokens, and at most batch_size of them (0: no limit).
    Raises DataError where one sentence is longer than max_tokens.
    """

    def __init__(
        self, source_lengths: Indices, target_lengths: Indices, *, max_tokens: int, batch_size: int, seed: int
    ) -> None:
        self.lengths = np.stack([source_lengths, target_lengths])
        self.max_tokens = max_tokens
        self.batch_size = batch_size or len(source_lengths)
        self.seed = seed
        # The last epoch that was asked for: grouping millions of pairs takes a second.
        self._latest: tuple[int, list[Indices]] = (0, [])
        longest = int(self.lengths.max())
        if longest > max_tokens:
            row, line = np.argwhere(self.lengths == longest)[0]
            side = ("source", "target")[row]
            raise DataError(
                f"training example {line + 1} has {longest} {side} tokens with its end symbol, "
                f"more than --max-tokens {max_tokens}; "
                f"give --max-tokens {longest} or more, or preprocess with --max-{side}-length"
            )

    def epoch(self, epoch: int) -> list[Indices]:
        """The batches of an epoch (counted from 1): arrays of indices, shuffled."""
        if self._latest[0] != epoch:
            rng = np.random.default_rng((self.seed, epoch))
            batches = self._group(rng.permutation(self.lengths.shape[1]))
            self._latest = epoch, [batches[i] for i in rng.permutation(len(batches))]
        return self._latest[1]

    def in_order(self) -> list[Indices]:
        """Batches of similar lengths without any shuffling, for validation."""
        return self._group(np.arange(self.lengths.shape[1]))

    def _group(self, order: Indices) -> list[Indices]:
        """Cut the sentences into batches; `order` decides among sentences of equal lengths."""
        source, target = self.lengths[:, order]
        order = order[np.lexsort((source, target))]
        for number, (start, end) in enumerate(self._slices(order)):
            part = order[start:end]
            by_source = np.argsort(self.lengths[0, part], kind="stable")
            # Up and down in turn, so that a batch over the border of two slices has similar sources too.
            order[start:end] = part[by_source[:: -1 if number % 2 else 1]]
        longest = self.lengths[:, order].max(0)
        batches: list[Indices] = []
        start = 0
        while start < len(order):
            reach = longest[start : start + min(self.batch_size, self.max_tokens)]
            padded = np.maximum.accumulate(reach) * np.arange(1, len(reach) + 1)
            size = int(np.searchsorted(padded, self.max_tokens, side="right"))
            size -= size % _SIZE_MULTIPLE if size > _SIZE_MULTIPLE else 0
            batches.append(order[start : start + size])
            start += size
        return batches

    def _slices(self, order: Indices) -> Iterator[tuple[int, int]]:
        """Borders of slices of sorted sentences that hold whole target lengths and enough batches each."""
        filled = np.cumsum(self.lengths[:, order].max(0))
        start, used = 0, 0
        for end in [*(np.flatnonzero(np.diff(self.lengths[1, order])) + 1).tolist(), len(order)]:
            if end == len(order) or filled[end - 1] - used >= _BATCHES_PER_SLICE * self.max_tokens:
                yield start, end
                start, used = end, int(filled[end - 1])

    def count(self, batches: list[Indices]) -> tuple[int, int, int]:
        """Source tokens and target tokens of some batches, and the positions of both sides, padding counted."""
        chosen = [self.lengths[:, batch] for batch in batches]
        source, target = (int(total) for total in sum(lengths.sum(1) for lengths in chosen))
        return source, target, sum(lengths.shape[1] * int(lengths.max(1).sum()) for lengths in chosen)

    def padding(self, batches: list[Indices]) -> float:
        """The share of padded positions among all, both sides together."""
        slots = sum(len(batch) * int(self.lengths[:, batch].max(1).sum()) for batch in batches)
        return 1 - int(self.lengths.sum()) / slots


def plan_batches(
    split: Split, *, max_tokens: int, batch_size: int, seed: int, stretch: bool = False
) -> BatchPlan:
    """The batch plan of a dataset's split; `stretch` makes room for a sentence longer than max_tokens."""
    source, target = split.lengths("source") + 1, split.lengths("target") + 1
    if stretch:
        max_tokens = max(max_tokens, int(source.max()), int(target.max()))
    return BatchPlan(source, target, max_tokens=max_tokens, batch_size=batch_size, seed=seed)


def load_batch(split: Split, indices: Indices) -> Batch:
    """Read and pad the pairs of a batch."""
    return Batch(
        source=pad_sequences([split.ids("source", int(index)) for index in indices]),
        target=pad_sequences([split.ids("target", int(index)) for index in indices]),
    )


def load_batches(split: Split, batches: list[Indices]) -> Iterator[Batch]:
    """Read and pad batch after batch."""
    return (load_batch(split, indices) for indices in batches)
