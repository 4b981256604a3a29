"""How much of each corpus an epoch has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from s2scli.data.column import Indices
from s2scli.errors import UsageError, did_you_mean
from s2scli.schema import LARGEST_NUMBER, to_number


@dataclass(frozen=True)
class Mixture:
    """The pairs of an epoch: `quotas` of each corpus, whose `sizes` may be smaller or larger.

    Epoch after epoch a corpus is gone through in turn, so that all of its pairs are seen equally often.
    """

    sizes: tuple[int, ...]
    quotas: tuple[int, ...]

    def __len__(self) -> int:
        return sum(self.quotas)

    def pairs(self, places: Indices, epoch: int) -> Indices:
        """The pairs at some places, from 0, of an epoch, counted from 1."""
        ends = np.cumsum(self.quotas)
        corpora = np.searchsorted(ends, places, side="right")
        sizes, quotas = np.array(self.sizes), np.array(self.quotas)
        within = places - (ends - quotas)[corpora] + (epoch - 1) * quotas[corpora]
        pairs: Indices = (np.cumsum(sizes) - sizes)[corpora] + within % sizes[corpora]
        return pairs


def mix(
    corpora: Sequence[tuple[str, int]], weights: Mapping[str, float], temperature: float
) -> Mixture | None:
    """An epoch of as many pairs as there are, shared out over corpora of (name, size); None: each as it is.

    weights: the shares of the corpora, in proportion; one that is not named has 1. Without weights the shares are in
    proportion to size^(1/temperature): 1 leaves them as they are, more evens them out (Arivazhagan et al. 2019).
    Raises UsageError for a name that is not there, and where nothing is left.
    """
    names, sizes = [name for name, _ in corpora], np.array([size for _, size in corpora])
    for name in weights:
        if name not in names:
            raise UsageError(
                f"--corpus-weights {name}: the dataset has no such corpus{did_you_mean(name, names)}"
            )
    if not weights and temperature == 1:
        return None
    shares = np.array([weights.get(name, 1.0) for name in names]) if weights else sizes ** (1 / temperature)
    shares = np.where(sizes > 0, shares, 0)
    if not shares.sum():
        raise UsageError(
            "--corpus-weights leaves nothing to train on; give a corpus that has pairs more than 0"
        )
    quotas = np.rint(sizes.sum() * shares / shares.sum()).astype(int)
    return Mixture(tuple(sizes.tolist()), tuple(np.maximum(quotas, shares > 0).tolist()))


def read_weights(words: Sequence[str]) -> dict[str, float]:
    """{"news": 3.0} of ["news=3"]; UsageError where that cannot be."""
    weights = {}
    for word in words:
        name, _, number = word.partition("=")
        try:
            weights[name] = to_number(number)
        except ValueError:
            weights[name] = -1.0
        if not 0 <= weights[name] <= LARGEST_NUMBER:
            raise UsageError(f"--corpus-weights {word} is not valid; wanted: NAME=WEIGHT, as news=3,back=1")
    return weights
