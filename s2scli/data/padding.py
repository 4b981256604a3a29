"""Stacking sequences of token ids into arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2scli.text.vocabulary import EOS, PAD


class Padded(NamedTuple):
    """Sequences of token ids: ids [B, length] padded on the right, lengths [B]; both count the end symbol.

    extended: as in `Tokens`, where there are such ids.
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    extended: NDArray[np.int64] | None = None


def pad(
    sequences: Sequence[NDArray[np.integer] | Sequence[int]],
    extended: Sequence[Sequence[int]] | None = None,
) -> Padded:
    """Stack sequences without end symbols, each with its end symbol; extended: the same tokens' other ids."""
    lengths = np.fromiter((len(sequence) + 1 for sequence in sequences), dtype=np.int64, count=len(sequences))
    ids = np.full((len(sequences), int(lengths.max())), PAD, dtype=np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
        row[len(sequence)] = EOS
    return Padded(ids, lengths, None if extended is None else pad(extended).ids)
