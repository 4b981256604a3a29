"""How varied the outputs are as a whole: distinct n-grams and their entropy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from s2scli.metrics.base import Floats, Metric, References, Rows
from s2scli.metrics.words import ngrams, splitter_beside


class Diversity(Metric):
    """A score of how often each n-gram of the outputs comes. A row: 64-bit numbers that stand for the n-grams."""

    needs = ()
    is_additive = False
    order: ClassVar[int]
    _words = "space"
    # Of the rows that were weighted last: themselves, different n-grams, and of each n-gram its number and segment.
    _latest: tuple[Rows, int, npt.NDArray[Any], npt.NDArray[Any]] | None = None

    @abstractmethod
    def of_counts(self, counts: Floats) -> float:
        """The score of n-grams that come so often each: [n-grams]."""

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """The n-grams of each output; [segments] of arrays."""
        del sources
        self._words, split = splitter_beside(self.options, hypotheses, references)
        rows = np.empty(len(hypotheses), dtype=object)
        for place, text in enumerate(hypotheses):
            numbers = [_number(" ".join(ngram)) for ngram in ngrams(split(text), self.order)]
            rows[place] = np.array(numbers, np.uint64)
        return rows

    def values(self, rows: Rows, weights: Floats) -> Floats:
        """The scores of samples."""
        if self._latest is None or self._latest[0] is not rows:
            different, ids = np.unique(np.concatenate(rows), return_inverse=True)
            owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
            self._latest = rows, len(different), ids, owners
        _, number, ids, owners = self._latest
        return np.array([self._value(np.bincount(ids, sample[owners], number)) for sample in weights])

    def segments(self, rows: Rows) -> Floats:
        """The score of each output's own n-grams."""
        counts = (np.unique(row, return_counts=True)[1].astype(np.float64) for row in rows)
        return np.array([self._value(item) for item in counts])

    def _value(self, counts: npt.NDArray[Any]) -> float:
        return self.of_counts(counts) if counts.any() else 0.0

    def terms(self) -> dict[str, str]:
        """Case and what a word is."""
        return super().terms() | {"tok": self._words}


def _number(text: str) -> int:
    """64 bits that stand for a text: the same in every process, unlike `hash`."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class Distinct1(Diversity):
    """distinct-1: 100 · different words / words (Li et al. 2016)."""

    name = "distinct-1"
    order = 1

    def of_counts(self, counts: Floats) -> float:
        """The share, in percent."""
        return 100 * float(np.count_nonzero(counts) / counts.sum())


class Distinct2(Distinct1):
    """distinct-2: the same of pairs of words."""

    name = "distinct-2"
    order = 2


class Entropy4(Diversity):
    """Ent-4: -Σ p · ln p over the different 4-grams, in nats (Zhang et al. 2018, arXiv 1809.05972)."""

    name = "entropy-4"
    order = 4

    def of_counts(self, counts: Floats) -> float:
        """The entropy."""
        p = counts[counts > 0] / counts.sum()
        return float(-(p * np.log(p)).sum())
