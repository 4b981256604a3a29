"""What the frames of a dataset are made of, so that those of other recordings can be made alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from s2scli.components import FRAME_READERS
from s2scli.document import check
from s2scli.errors import CheckpointError, DataError, UsageError
from s2scli.features.deltas import add_deltas
from s2scli.features.fbank import FeatureArray
from s2scli.features.statistics import Statistics, normalized, normalized_by_itself
from s2scli.registry import Names
from s2scli.schema import setting, spelled

NORMALIZATIONS = ("utterance", "global", "none")
DTYPES = ("float16", "float32")


class TooLargeError(DataError):
    """A feature is too large for the type that features are stored in."""


@dataclass(frozen=True, kw_only=True)
class FeatureForm:
    """How frames are made, stored and normalized.

    source_type: what of, a row of FRAME_READERS. sample_rate: that of recordings when frames are made of them, 0: there
    are none. patch_size: that of the sides of a picture's patches, 0: frames are its columns. channels: those of
    pictures, 0: there are none. num_features: F, deltas counted. mean, deviation: those by which cmvn "global"
    normalizes; [F].
    """

    source_type: str = setting(..., "what frames are made of", choices=Names(FRAME_READERS))
    sample_rate: int = setting(0, "samples a second", at_least=0)
    num_mel_bins: int = setting(80, "mel bands", at_least=1)
    frame_length: float = setting(25.0, "ms", above=0)
    frame_shift: float = setting(10.0, "ms", above=0)
    deltas: int = setting(0, "orders of deltas", at_least=0, at_most=2)
    cmvn: str = setting("utterance", "normalization", choices=NORMALIZATIONS)
    dtype: str = setting("float16", "type of the numbers", choices=DTYPES)
    patch_size: int = setting(0, "pixels", at_least=0)
    channels: int = setting(0, "colours of a picture", at_least=0, at_most=3)
    num_features: int = setting(..., "numbers of a frame", at_least=1)
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    CLOSED: ClassVar[bool] = True

    @classmethod
    def from_meta(cls, values: Any, *, is_part: bool = False) -> Self:
        """Read what `to_meta` gave; DataError where it is something else.

        is_part: it is of a part of the training data, the statistics of which are not there yet.
        """
        check(values, cls, "features")
        found = cls(**{**values, "mean": tuple(values["mean"]), "deviation": tuple(values["deviation"])})
        wanted = found.num_features if found.cmvn == "global" and not is_part else 0
        if not len(found.mean) == len(found.deviation) == wanted:
            raise DataError(f"features: wanted: {wanted} means and deviations")
        return found

    @classmethod
    def of_source(cls, dataset: Mapping[str, Any]) -> Self | None:
        """The form of a model's source, by what its checkpoint remembers of the dataset; None where that is text."""
        features = dataset.get("features")
        return None if features is None else cls.from_meta(features)

    @staticmethod
    def check(own: FeatureForm | None, found: FeatureForm | None, path: Path, data: Path) -> None:
        """UsageError where one of a model and a dataset is of frames and one of text, CheckpointError of other frames.

        own, found: the form of the model's source and of the dataset's, None where that is text. path, data: theirs.
        """
        if own is None or found is None:
            if own is not found:
                reads, has = ("text", "frames") if own is None else ("frames", "no frames")
                raise UsageError(f"{data}: has {has} of features as source, and {path} reads {reads}")
            return
        for name, (value, other) in own.differences(found).items():
            raise CheckpointError(
                f"{path}: reads frames with {name} = {spelled(value)}, and those of {data} have {spelled(other)}; "
                "preprocess as the training data was"
            )

    def to_meta(self) -> dict[str, Any]:
        """The form as JSON values."""
        return {**asdict(self), "mean": list(self.mean), "deviation": list(self.deviation)}

    def differences(self, other: FeatureForm) -> dict[str, tuple[Any, Any]]:
        """The settings by which frames of this form are not those of another: name → the value here, the value there.

        How numbers are stored is no matter.
        """
        one, two = asdict(self), asdict(other)
        return {name: (one[name], two[name]) for name in one if name != "dtype" and one[name] != two[name]}

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The type of stored numbers."""
        return np.dtype(self.dtype).newbyteorder("<")

    def stored(self, frames: FeatureArray) -> NDArray[Any]:
        """Frames as they come [S, F / (1 + deltas)], with deltas, as they are stored; [S, F].

        Raises TooLargeError where one is too large for the type.
        """
        complete = add_deltas(frames, self.deltas) if self.deltas else frames
        largest = float(np.abs(complete).max(initial=0))
        if largest > float(np.finfo(self.dtype).max):
            raise TooLargeError(
                f"a feature is {largest:g}, too large for {self.dtype}; give --feature-dtype float32"
            )
        return complete.astype(self.numpy_dtype)

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return np.array(self.mean, np.float32), np.array(self.deviation, np.float32)

    def normalized(self, stored: NDArray[Any]) -> FeatureArray:
        """What a model reads of the stored frames of one example; [S, F]."""
        if self.cmvn == "none":
            return stored.astype(np.float32)
        frames = stored.astype(np.float32)
        return normalized(frames, *self._moments) if self.cmvn == "global" else normalized_by_itself(frames)

    @property
    def frame_seconds(self) -> float | None:
        """The seconds from one frame to the next; None where frames are parts of pictures."""
        return None if self.channels else self.frame_shift / 1000

    def as_computed(self, normalized: FeatureArray) -> FeatureArray:
        """What `normalized` gave, [S, F], without deltas, and as it was before, where one rule normalized all frames.

        [S, F / (1 + deltas)]
        """
        number = self.num_features // (1 + self.deltas)
        found = normalized[:, :number]
        if self.cmvn != "global":
            return found
        mean, deviation = self._moments
        return found * deviation[:number] + mean[:number]

    def with_statistics(self, found: Statistics) -> Self:
        """The same with the statistics of the training data, where they are what normalizes."""
        if self.cmvn != "global":
            return self
        return type(self)(
            **{
                **asdict(self),
                "mean": tuple(found.mean.tolist()),
                "deviation": tuple(found.deviation.tolist()),
            }
        )


def check_same_sources(
    path: Path, own: FeatureForm | None, other_path: Path, other: FeatureForm | None
) -> None:
    """CheckpointError where of two models one reads frames and one none, or both frames that are made otherwise.

    path, other_path: what the models are called; own, other: the forms of their sources, None: text, or there are none.
    """
    if own is None or other is None:
        if own is not other:
            frames, text = (other_path, path) if own is None else (path, other_path)
            raise CheckpointError(
                f"{frames}: reads frames, and {text} reads none, so they have no source in common; give one of them"
            )
        return
    for name, (value, found) in own.differences(other).items():
        raise CheckpointError(
            f"{other_path}: reads frames with {name} = {spelled(found)}, and {path} with {spelled(value)}; models that "
            "are used together are trained on frames that are made alike"
        )
