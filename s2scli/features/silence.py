"""Cutting long recordings where nobody speaks."""

from __future__ import annotations

import numpy as np

from s2scli.features.fbank import FeatureArray

# So many frames are averaged: a stop within a word is shorter than this fifth of a second, a pause is not.
_PAUSE = 20


def pieces_between_pauses(frames: FeatureArray, longest: int) -> list[tuple[int, int]]:
    """First frame and end of pieces, none of more than `longest` frames, of a recording's log energies [S, F].

    Each piece but the last ends in the middle of the quietest 20 frames that begin after its first half and before it
    would be too long.
    """
    loudness = frames.mean(1, dtype=np.float64)  # [S]
    window = min(_PAUSE, max(1, longest // 4))
    # The mean loudness of `window` frames from each one on.
    sums = np.cumsum(np.concatenate([[0.0], loudness]))
    means = sums[window:] - sums[:-window]
    pieces, start = [], 0
    while len(frames) - start > longest:
        first, last = start + longest // 2, start + longest - window
        quietest = first + int(means[first : last + 1].argmin())
        end = quietest + (window + 1) // 2
        pieces.append((start, end))
        start = end
    return [*pieces, (start, len(frames))]
