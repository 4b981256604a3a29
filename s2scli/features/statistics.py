"""Means and deviations of features, by which they are normalized (CMVN: cepstral mean and variance normalization)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from s2scli.features.fbank import FeatureArray
from s2scli.schema import setting

# A deviation that is smaller is none: a feature that never changes is 0 when it is normalized.
LEAST_DEVIATION = 1e-5


@dataclass(frozen=True, kw_only=True)
class StatisticsState:
    """What `Statistics.to_json` gives."""

    count: int = setting(..., "frames", at_least=0)
    mean: tuple[float, ...]
    squares: tuple[float, ...]


@dataclass(frozen=True)
class Statistics:
    """How many frames there were, the mean of each feature, and the sum of its squared differences from the mean, [F].

    Sums over parts are joined as Chan, Golub and LeVeque (1979) do, since E[x²] - μ² loses all digits of a small
    variance beside a large mean.
    """

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def none(cls, num_features: int) -> Self:
        """Those of no frames."""
        return cls(0, np.zeros(num_features), np.zeros(num_features))

    @classmethod
    def of(cls, frames: NDArray[Any]) -> Self:
        """Those of some frames [S, F], in two passes."""
        if not len(frames):
            return cls.none(frames.shape[1])
        mean = frames.mean(0, dtype=np.float64)
        return cls(len(frames), mean, np.square(frames - mean).sum(0))

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Those that `to_json` gave."""
        return cls(values["count"], np.array(values["mean"]), np.array(values["squares"]))

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values, which keep every digit."""
        return {"count": self.count, "mean": self.mean.tolist(), "squares": self.squares.tolist()}

    def __add__(self, other: Statistics) -> Statistics:
        """Those of both parts."""
        count = self.count + other.count
        if not count:
            return self
        away = other.mean - self.mean
        mean = self.mean + away * (other.count / count)
        squares = self.squares + other.squares + away**2 * (self.count * other.count / count)
        return Statistics(count, mean, squares)

    @property
    def deviation(self) -> NDArray[np.float64]:
        """The deviation of each feature, and 1 of one that does not change; [F]."""
        deviation = np.sqrt(self.squares / max(1, self.count))
        return np.where(deviation < LEAST_DEVIATION, 1.0, deviation)


def normalized(frames: NDArray[Any], mean: NDArray[Any], deviation: NDArray[Any]) -> FeatureArray:
    """(x - μ) / σ of each feature of frames [S, F]."""
    found: FeatureArray = ((frames - mean) / deviation).astype(np.float32)
    return found


def normalized_by_itself(frames: NDArray[Any]) -> FeatureArray:
    """Frames [S, F] of an utterance, each feature with mean 0 and deviation 1 over it."""
    own = Statistics.of(frames)
    return normalized(frames, own.mean, own.deviation)
