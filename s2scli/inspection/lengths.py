"""The lengths of a split's examples: quantiles and histograms, from how many there are of each length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PERCENTS = (5, 25, 50, 75, 95, 99)
# The most bars of a histogram; the last one holds all that is longer than nearly all examples are.
_MOST_BINS = 12
_NEARLY_ALL = 99

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LengthStatistics:
    """The numbers of tokens of a split's examples on one side, end symbols not counted; all 0 where there are none.

    quantiles: percentage → the least length that so many of the examples, or more, do not exceed.
    histogram: how many examples have 0 to bin_width - 1 tokens, the next bin_width, and so on; the last bin is open.
    """

    mean: float
    minimum: int
    maximum: int
    quantiles: dict[str, int]
    bin_width: int
    histogram: tuple[int, ...]


def quantile(counts: Counts, percent: int) -> int:
    """The least length that `percent` of the examples do not exceed; counts: examples of each length, [length + 1]."""
    upto = np.cumsum(counts)
    # In whole numbers: 0.95 × 20 would be a little more than 19.
    return int(np.searchsorted(upto * 100, percent * int(upto[-1]), side="left"))


def choose_bins(counts: Iterable[Counts]) -> tuple[int, int]:
    """The width and number of bins that suit several histograms at once: 1, 2, 5, 10, 20 … tokens."""
    longest = max((quantile(each, _NEARLY_ALL) for each in counts if each.any()), default=0)
    width = next(
        digit * 10**power
        for power in range(20)
        for digit in (1, 2, 5)
        if digit * 10**power * (_MOST_BINS - 1) > longest
    )
    return width, longest // width + 2


def describe_lengths(counts: Counts, bin_width: int, num_bins: int) -> LengthStatistics:
    """Put lengths into figures; counts: how many examples there are of each length, [length + 1]."""
    present = np.flatnonzero(counts)
    bins = np.minimum(present // bin_width, num_bins - 1)
    total = int(counts.sum())
    return LengthStatistics(
        mean=float(present @ counts[present]) / max(1, total),
        minimum=int(present[0]) if total else 0,
        maximum=int(present[-1]) if total else 0,
        quantiles={str(percent): quantile(counts, percent) if total else 0 for percent in PERCENTS},
        bin_width=bin_width,
        histogram=tuple(
            np.bincount(bins, weights=counts[present], minlength=num_bins).astype(np.int64).tolist()
        ),
    )
