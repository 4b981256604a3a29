"""Noise on the words of a source sentence: deleted, masked or moved a little."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray


class WordNoise:
    """Deletes words, masks them and moves them (Lample et al. 2018, section 2.3).

    A word is a token that starts one with those up to the next such token. starts: whether each id of the vocabulary
    starts a word; [V]. unknown: the id of its unknown symbol. dropout: the probability that a word is deleted; one word
    always stays. mask: that it becomes one unknown symbol. shuffle: k; words are sorted by i + U(0, k + 1), i being a
    word's number: none moves by more than k.
    """

    def __init__(
        self, starts: NDArray[np.bool_], unknown: int, *, dropout: float, mask: float, shuffle: int
    ) -> None:
        self._starts = starts
        self._unknown = unknown
        self._dropout = dropout
        self._mask = mask
        self._shuffle = shuffle

    def apply(self, ids: NDArray[np.int64], generator: np.random.Generator) -> list[int]:
        """The ids [num_tokens] of a sentence with noise.

        Each word has the same draws whichever kinds of noise there are: adding one leaves the others as they were.
        """
        borders = [0, *(np.flatnonzero(self._starts[ids[1:]]) + 1).tolist(), len(ids)]
        tokens = ids.tolist()
        words = [tokens[start:end] for start, end in pairwise(borders)]
        moves, deletions, masks = generator.random((3, len(words)))
        if self._mask:
            for number in np.flatnonzero(masks < self._mask).tolist():
                words[number] = [self._unknown]
        keep = deletions >= self._dropout
        if not keep.any():
            keep[deletions.argmax()] = True
        order = np.arange(len(words))
        if self._shuffle:
            order = np.argsort(order + (self._shuffle + 1) * moves, kind="stable")
        return list(chain.from_iterable(words[number] for number in order[keep[order]].tolist()))
