"""Turning what manifests refer to into the frames of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2scli.components import FRAME_READERS
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data.corpus import Corpus, Pair
from s2scli.data.manifest import ManifestCorpus
from s2scli.data.shard_writer import ColumnChunk, lengths_of
from s2scli.errors import DataError
from s2scli.features.extraction import frame_reader
from s2scli.features.form import FeatureForm, TooLargeError
from s2scli.features.statistics import Statistics

BROKEN_SOURCE = "broken source"
# What is counted of sources, and what it means in the words of notices.
SOURCES_IN_WORDS = {
    "resampled": "had another rate than {rate:,} Hz and {were} resampled",
    "padded": "{were} shorter than a window and {were} padded to one",
    "miscounted": "{have} another length than the manifest says",
}


def settled_form(config: PreprocessConfig, corpora: Sequence[Corpus]) -> FeatureForm:
    """How frames are made, which only the first source of the training data that can be read settles.

    Raises DataError where there is none, or the first cannot be read and that is an error.
    """
    form = FeatureForm(
        source_type=config.source_type,
        sample_rate=config.sample_rate,
        num_mel_bins=config.num_mel_bins,
        frame_length=config.frame_length,
        frame_shift=config.frame_shift,
        deltas=config.deltas,
        cmvn=config.cmvn,
        dtype="float16" if config.feature_dtype == "auto" else config.feature_dtype,
        patch_size=config.patch_size,
        num_features=1,
    )
    problem = "no source can be read"
    manifests = [corpus for corpus in corpora if isinstance(corpus, ManifestCorpus)]
    for corpus in sorted(manifests, key=lambda item: item.split != "train"):
        for number, pair in enumerate(corpus.pairs(), start=1):
            if pair.utterance is None:
                continue
            try:
                settled: FeatureForm = FRAME_READERS[form.source_type].settled(form, pair.utterance)
            except DataError as error:
                problem = f"{corpus.line(number)}: {error}"
                if corpus.on_broken_row == "error":
                    raise DataError(problem) from None
            else:
                return settled
    raise DataError(problem)


class FrameEncoder:
    """Makes the frames of sources: those of a training source at each speed, of others once, as it is.

    sources: by split, how many were resampled and the like. statistics: of the frames of the training data, where those
    normalize. Both are of the sources that have been read since `begin`.
    """

    def __init__(self, config: PreprocessConfig, form: FeatureForm) -> None:
        self._config = config
        self._reader = frame_reader(form)
        self._form = form
        self.begin()

    def begin(self) -> None:
        """Count anew."""
        self.sources: dict[str, Counter[str]] = {}
        self.statistics = Statistics.none(self._form.num_features)

    def read(self, pair: Pair, split: str, corpus: ManifestCorpus) -> tuple[list[NDArray[Any]], list[str]]:
        """The frames of a pair's source, at each speed, and why some are left out; DataError where that is an error."""
        assert pair.utterance is not None
        training = split == "train"
        speeds = self._config.speed_perturb if training else (1.0,)
        found: list[NDArray[Any]] = []
        left_out: list[str] = []
        counts = self.sources.setdefault(split, Counter())
        for number, speed in enumerate(speeds):
            try:
                extracted = self._reader.read(pair.utterance, speed)
                frames = self._form.stored(extracted.frames)
            except DataError as error:
                too_large = isinstance(error, TooLargeError)
                if too_large or corpus.on_broken_row == "error":
                    kind = TooLargeError if too_large else DataError
                    raise kind(f"{corpus.location(0, pair.line)}: {error}") from None
                return [], [BROKEN_SOURCE]
            if not number:
                counts.update(name for name in SOURCES_IN_WORDS if getattr(extracted, name))
            reason = self._too_long_or_short(len(frames)) if training else ""
            if reason:
                left_out.append(reason)
                continue
            found.append(frames)
            counts["frames"] += len(frames)
            if training and self._form.cmvn == "global":
                self.statistics += Statistics.of(frames)
        return found, left_out

    def _too_long_or_short(self, number: int) -> str:
        """Why a training source of so many frames is left out, or nothing."""
        if self._config.max_frames and number > self._config.max_frames:
            return "long source"
        return "short source" if number < self._config.min_frames else ""

    def column(self, names: Sequence[str], frames: Sequence[NDArray[Any]]) -> ColumnChunk:
        """A column's chunk of some sources, what they are called, and their frames."""
        raw = [name.encode("utf-8") for name in names]
        empty = np.zeros((0, self._form.num_features), self._form.numpy_dtype)
        return ColumnChunk(
            values=np.concatenate([empty, *frames]),
            lengths=lengths_of(frames),
            text=b"".join(raw),
            text_lengths=lengths_of(raw),
        )


def sources_in_words(sample_rate: int, counts: Mapping[str, int]) -> list[str]:
    """What there is to tell of a split's sources: how many were resampled, and the like."""
    told = []
    for name, words in SOURCES_IN_WORDS.items():
        if number := counts.get(name, 0):
            one = number == 1
            what = words.format(
                rate=sample_rate, were="was" if one else "were", have="has" if one else "have"
            )
            told.append(f"{number:,} {'source' if one else 'sources'} {what}")
    return told


def hours(form: FeatureForm, num_frames: int) -> float | None:
    """How long so many frames are, in hours; None where they are no time."""
    return None if form.frame_seconds is None else num_frames * form.frame_seconds / 3600
