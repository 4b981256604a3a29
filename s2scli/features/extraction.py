"""From what a manifest refers to, to frames as they come: before deltas and normalization."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2scli.components import FRAME_READERS
from s2scli.errors import DataError
from s2scli.features.fbank import FeatureArray, Filterbank
from s2scli.features.form import FeatureForm
from s2scli.features.opening import FileReference, open_recording, read_matrix, resolve_all
from s2scli.features.recording import Recording, Samples
from s2scli.features.resampling import Resampler

# A segment may end so many seconds after its recording does, as rounded times do; what goes beyond is cut off.
_OVERSHOOT = 0.5


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """What one source is: files that are joined, or a segment of one, from `start` to `end` in seconds.

    references: to files, see features/opening.py, relative to the folder; where no file has such a name, there may be
    several in one, with blanks between them. data: the contents of one file, in place of references, whose only one is
    then what messages call it. num_frames: how long it is as a manifest has it.
    """

    references: tuple[str, ...]
    folder: Path = Path()
    data: bytes | None = None
    start: float | None = None
    end: float | None = None
    num_frames: int | None = None

    def resolved(self) -> list[FileReference]:
        """What the references are to; DataError where something is missing, or the segment is none."""
        if not self.references:
            raise DataError("names no file")
        if self.data is not None:
            return [FileReference(Path(self.references[0]), "", self.data)]
        found = [reference for text in self.references for reference in resolve_all(text, self.folder)]
        if self.start is None and self.end is None:
            return found
        if len(found) > 1:
            raise DataError(
                "start and end are of one file, and there are several; join them or cut them before"
            )
        if (self.start or 0) < 0 or (self.end is not None and self.end <= (self.start or 0)):
            raise DataError(f"a segment from {self.start or 0:g} to {self.end:g} seconds is none")
        return found

    def cut(self, length: int, rate: float, name: str) -> tuple[int, int]:
        """Where the segment begins and ends in a file of so many samples, or frames, of which a second has `rate`."""
        start = round((self.start or 0) * rate)
        end = length if self.end is None else round(self.end * rate)
        if start >= max(length, 1) or end > length + _OVERSHOOT * rate:
            last = "its end" if self.end is None else f"{self.end:g}"
            raise DataError(
                f"{name}: is {length / rate:.2f} seconds long, and a segment from {self.start or 0:g} to {last} is "
                "asked for"
            )
        return start, min(end, length)


class Extracted(NamedTuple):
    """The frames of an utterance [S, F], and what there is to know of how they came about.

    resampled: whether it had another rate; padded: was shorter than a window; miscounted: is not as long as its
    manifest says, in frames or in samples.
    """

    frames: FeatureArray
    resampled: bool = False
    padded: bool = False
    miscounted: bool = False


class FrameReader(ABC):
    """Makes frames of utterances of one source type; rows of FRAME_READERS name classes of this."""

    def __init__(self, form: FeatureForm) -> None:
        self.form = form

    @classmethod
    @abstractmethod
    def settled(cls, form: FeatureForm, first: Utterance) -> FeatureForm:
        """The form with what only the first utterance tells: its rate, where none is given, and F."""

    @abstractmethod
    def read(self, utterance: Utterance, speed: float = 1.0) -> Extracted:
        """The frames of an utterance that is spoken so many times as fast.

        Raises DataError where it cannot be read, holds nothing, or is of another width than the first.
        """

    def shown(self, frames: FeatureArray) -> NDArray[np.float32]:
        """What a model reads, [S, F], as a picture [height, width, 1 or 3], frames from left to right, more is lighter.

        Here the features of a frame are one above the other, the first at the bottom.
        """
        return self.form.as_computed(frames).T[::-1, :, None]  # [F, S, 1]

    def frames(self, utterance: Utterance) -> FeatureArray:
        """What a model reads of an utterance: with deltas, rounded as datasets store it, and normalized; [S, F]."""
        return self.form.normalized(self.form.stored(self.read(utterance).frames))


class AudioFrames(FrameReader):
    """Log-mel filterbanks of recordings, which are resampled where they have another rate."""

    @classmethod
    def settled(cls, form: FeatureForm, first: Utterance) -> FeatureForm:
        """The rate is that of the first recording unless one is given."""
        rate = form.sample_rate
        if not rate:
            with open_recording(first.resolved()[0]) as recording:
                rate = recording.rate
        return replace(form, sample_rate=rate, num_features=form.num_mel_bins * (1 + form.deltas))

    @cached_property
    def _filterbank(self) -> Filterbank:
        form = self.form
        return Filterbank(form.sample_rate, form.num_mel_bins, form.frame_length, form.frame_shift)

    def read(self, utterance: Utterance, speed: float = 1.0) -> Extracted:
        """The frames of recordings that are joined; memory grows with the frames alone."""
        with ExitStack() as stack:
            opened = [stack.enter_context(open_recording(item)) for item in utterance.resolved()]
            cuts = [utterance.cut(item.num_samples, item.rate, item.name) for item in opened]
            if not any(stop - start for start, stop in cuts):
                raise DataError(f"{opened[0].name}: has no samples; record it anew, or remove it")
            samples = self._samples(opened, cuts, speed)
            frames = np.concatenate(list(self._filterbank.frames(samples)))
        seconds = sum((stop - start) / item.rate for item, (start, stop) in zip(opened, cuts, strict=True))
        lengths = None, len(frames), sum(stop - start for start, stop in cuts)
        return Extracted(
            frames,
            resampled=any(item.rate != self.form.sample_rate for item in opened),
            padded=seconds / speed * self.form.sample_rate < self._filterbank.window_size,
            miscounted=speed == 1 and utterance.num_frames not in lengths,
        )

    def _samples(
        self, opened: list[Recording], cuts: list[tuple[int, int]], speed: float
    ) -> Iterator[Samples]:
        for recording, (start, stop) in zip(opened, cuts, strict=True):
            resampler = Resampler(round(recording.rate * speed), self.form.sample_rate)
            yield from resampler(recording.blocks(start, stop))


class GivenFrames(FrameReader):
    """Matrices of features that others have computed."""

    @classmethod
    def settled(cls, form: FeatureForm, first: Utterance) -> FeatureForm:
        """The width is that of the first matrix."""
        width = read_matrix(first.resolved()[0]).shape[1]
        if not width:
            raise DataError(f"{first.references[0]}: its frames have no features")
        return replace(form, num_features=width * (1 + form.deltas))

    def read(self, utterance: Utterance, speed: float = 1.0) -> Extracted:
        """The frames of matrices that are joined, stretched as their speed says."""
        parts = []
        width = self.form.num_features // (1 + self.form.deltas)
        for reference in utterance.resolved():
            matrix = read_matrix(reference)
            if matrix.shape[1] != width:
                raise DataError(
                    f"{reference}: its frames have {matrix.shape[1]} features, and those before have {width}; compute "
                    "all of them alike"
                )
            start, stop = utterance.cut(len(matrix), 1000 / self.form.frame_shift, str(reference))
            parts.append(matrix[start:stop])
        frames = np.concatenate(parts)
        if not len(frames):
            raise DataError(f"{utterance.references[0]}: has no frames; compute it anew, or remove it")
        if utterance.num_frames not in (None, len(frames)):
            raise DataError(
                f"{utterance.references[0]}: has {len(frames):,} frames, and its manifest says "
                f"{utterance.num_frames:,}; correct the row, or leave the column out"
            )
        return Extracted(stretched(frames, speed))


def stretched(frames: FeatureArray, speed: float) -> FeatureArray:
    """Frames [S, F] as if all went so many times as fast: [max(1, round(S / speed)), F].

    Frame t is the one at (t + ½) · speed - ½, interpolated linearly between its neighbours; those before the first and
    after the last are these.
    """
    if speed == 1:
        return frames
    number = max(1, round(len(frames) / speed))
    at = np.clip((np.arange(number) + 0.5) * speed - 0.5, 0, len(frames) - 1)  # [number]
    before = np.floor(at).astype(np.int64)
    after = np.minimum(before + 1, len(frames) - 1)
    share = (at - before)[:, None]  # [number, 1]
    found: FeatureArray = ((1 - share) * frames[before] + share * frames[after]).astype(np.float32)
    return found


def frame_reader(form: FeatureForm) -> FrameReader:
    """What makes frames as a form says."""
    found: FrameReader = FRAME_READERS[form.source_type](form)
    return found
