"""Stacking sequences of token ids, or of frames, into arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2scli.text.vocabulary import SpecialSymbols


class Padded(NamedTuple):
    """Sequences of token ids: ids [B, length] padded on the right, lengths [B]; both count the end symbol.

    extended: as in `Tokens`, where there are such ids.
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    extended: NDArray[np.int64] | None = None


class PaddedFrames(NamedTuple):
    """Sequences of frames of features: frames [B, S, F], zero where there is padding, and lengths [B]."""

    frames: NDArray[np.float32]
    lengths: NDArray[np.int64]


def pad_frames(sequences: Sequence[NDArray[np.float32]]) -> PaddedFrames:
    """Stack sequences of frames, each [num_frames, F]; they have no end symbol."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    frames = np.zeros((len(sequences), int(lengths.max()), sequences[0].shape[1]), np.float32)
    for row, sequence in zip(frames, sequences, strict=True):
        row[: len(sequence)] = sequence
    return PaddedFrames(frames, lengths)


def pad(
    sequences: Sequence[NDArray[np.integer] | Sequence[int]],
    symbols: SpecialSymbols,
    extended: Sequence[Sequence[int]] | None = None,
    of_extended: SpecialSymbols | None = None,
) -> Padded:
    """Stack sequences without end symbols, each with the end symbol.

    symbols: the special symbols of the sequences' vocabulary. extended: the same tokens' ids in the extended target
    vocabulary; of_extended: the special symbols of that, by default the same.
    """
    lengths = np.fromiter((len(sequence) + 1 for sequence in sequences), dtype=np.int64, count=len(sequences))
    ids = np.full((len(sequences), int(lengths.max())), symbols.padding, dtype=np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
        row[len(sequence)] = symbols.end
    return Padded(ids, lengths, None if extended is None else pad(extended, of_extended or symbols).ids)
