"""Noise on the words of a source sentence: deleted, masked or moved a little."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from s2scli.data.transforms import Example


class WordNoise:
    """A transform that deletes words of the source, masks them and moves them (Lample et al. 2018, section 2.3).

    A word is a token that starts one with those up to the next such token. starts: whether each id of the vocabulary
    starts a word; [V]. unknown: the id of its unknown symbol. dropout: the probability that a word is deleted; one word
    always stays. mask: that it becomes one unknown symbol. shuffle: k; words are sorted by i + U(0, k + 1), i being a
    word's number: none moves by more than k. marks: the ids of tags and of what separates lines of context, which stay
    as they are; noise is within what is between them.
    """

    purpose = "noise"

    def __init__(
        self,
        starts: NDArray[np.bool_],
        unknown: int,
        *,
        dropout: float,
        mask: float,
        shuffle: int,
        marks: frozenset[int] = frozenset(),
    ) -> None:
        self._starts = starts
        self._unknown = unknown
        self._dropout = dropout
        self._mask = mask
        self._shuffle = shuffle
        self._marks = list(marks)

    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        """The example with noise in its source."""
        if not example.source:
            return example
        tokens = np.array(example.source, np.int64)
        marks = np.flatnonzero(np.isin(tokens, self._marks)).tolist() if self._marks else []
        noisy: list[int] = []
        for start, end in pairwise((-1, *marks, len(tokens))):
            noisy += tokens[start : start + 1].tolist() if start >= 0 else []
            noisy += self.apply(tokens[start + 1 : end], generator) if end > start + 1 else []
        return Example(noisy, example.target)

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
