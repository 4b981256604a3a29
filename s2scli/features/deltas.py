"""Deltas of features: how they change in time, and how that changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from s2scli.features.fbank import FeatureArray

# Frames before and after one that its delta is made of.
_WINDOW = 2


def add_deltas(frames: FeatureArray, order: int) -> FeatureArray:
    """Frames [S, F] with their deltas of the first orders behind them, [S, F (1 + order)].

    The delta of order 1 is Σ_i i x_(t+i) / Σ_i i² for i from -2 to 2; of order 2 its weights are those folded with
    themselves, applied to the frames too, of which the first and the last go on before and after (Kaldi's
    feature-functions.cc).
    """
    steps = np.arange(-_WINDOW, _WINDOW + 1, dtype=np.float64)
    slope = steps / (steps @ steps)
    weights = np.ones(1)
    found = [frames]
    for _ in range(order):
        weights = np.convolve(weights, slope)
        found.append(_weighted(frames, weights))
    return np.concatenate(found, axis=1)


def _weighted(frames: FeatureArray, weights: NDArray[np.float64]) -> FeatureArray:
    """The sum of the frames around each, weighted; [S, F]."""
    reach = len(weights) // 2
    padded = np.pad(frames, ((reach, reach), (0, 0)), mode="edge")
    total = np.zeros(frames.shape, np.float64)
    for offset, weight in enumerate(weights.tolist()):
        if weight:
            total += weight * padded[offset : offset + len(frames)]
    return total.astype(np.float32)
