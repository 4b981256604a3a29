"""From lines that name recordings, or matrices of features, to the frames that an engine reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from s2scli.data.source_form import SourceForm
from s2scli.errors import DataError
from s2scli.features.extraction import Utterance, frame_reader
from s2scli.features.fbank import FeatureArray
from s2scli.features.form import FeatureForm
from s2scli.features.silence import pieces_between_pauses
from s2scli.inference.encoding import LineEncoder
from s2scli.inference.engine import Engine
from s2scli.inference.lines import EncodedLine, Line
from s2scli.notes import Note
from s2scli.record import AttendedFrames
from s2scli.text.normalization import is_blank
from s2scli.text.tokenizer import Tokenizer

# A recording may be so many times as long as the longest of training before it is divided: models read a little more
# than they were trained on, and what is divided loses what was between its pieces.
_SPARED = 1.5


class FeatureEncoder(LineEncoder):
    """Encodes lines that name recordings, or matrices of features, for an engine that reads frames.

    features: what frames are made of, and how, as in training. What cannot be read has no output, and its record says
    why.
    """

    unit = "frame"

    def __init__(
        self,
        engine: Engine,
        tokenizers: Mapping[str, Tokenizer],
        limits: Mapping[str, Any],
        form: SourceForm,
        features: FeatureForm,
    ) -> None:
        super().__init__(engine, tokenizers, limits, form)
        self._form, self._reader = features, frame_reader(features)
        self._stride = engine.frame_stride

    def read_ahead(self, lines: Sequence[Line]) -> None:
        """Read nothing: recordings are large, and each is read when it is divided or encoded."""

    def num_tokens(self, text: str) -> int:
        """None: a line names a file, whose frames are counted where it is divided."""
        del text
        return 0

    def recorded(self, line: Line, on_long: str | None) -> list[Line]:
        """The line with its frames, or with "split", of a recording that is too long, pieces that end in pauses.

        DataError for a recording that is too long where that is an "error". What cannot be read is one piece that says
        why, and has a note of it when it is encoded.
        """
        longest = self.longest
        is_to_be_read = on_long in ("split", "error") and isinstance(line.features, Utterance | None)
        if longest is None or not is_to_be_read:
            return [line]
        try:
            frames = self._stored(line)
        except DataError as error:
            return [replace(line, unreadable=str(error))]
        if frames is None:
            return [line]
        ends = [(0, len(frames))]
        if len(frames) > _SPARED * longest:
            if on_long == "error":
                raise DataError(
                    f"line {line.id + 1}: {line.text}: {len(frames):,} frames, more than the {longest:,} that the "
                    "model was made for; cut it, or give --on-long truncate or split"
                )
            # Of constraints nobody knows to which piece they belong.
            ends = ends if line.constraints else pieces_between_pauses(frames, longest)
        return [replace(line, features=self._form.normalized(frames[start:end])) for start, end in ends]

    def encode(self, line: Line) -> EncodedLine:
        """The frames of what a line names; none, and a note, where it cannot be read."""
        if not isinstance(line.features, Utterance | None):
            return EncodedLine(line.text, (), frames=line.features)
        try:
            frames = None if line.unreadable else self._stored(line)
        except DataError as error:
            line = replace(line, unreadable=str(error))
        if line.unreadable:
            why = f"{line.unreadable}; its output is empty"
            note = Note("have an empty output, as their source cannot be read", why)
            return EncodedLine(line.text, (), notes=[note])
        if frames is None:
            return EncodedLine(line.text, ())
        longest, notes = self.longest, list[Note]()
        if longest and len(frames) > _SPARED * longest and self._limits["on_long"] == "truncate":
            notes.append(
                self._note_of_length(len(frames), True, f"the {longest}", "that the model was trained on")
            )
            frames = frames[:longest]
        return EncodedLine(line.text, (), notes=notes, frames=self._form.normalized(frames))

    def _stored(self, line: Line) -> FeatureArray | None:
        """The frames of what a line names, as a dataset has them; nothing for a blank line."""
        if line.features is None and is_blank(line.text):
            return None
        wanted = line.features if isinstance(line.features, Utterance) else Utterance(references=(line.text,))
        return self._form.stored(self._reader.read(wanted).frames)

    def attended_frames(self, source: EncodedLine, positions: int) -> AttendedFrames | None:
        """The frames that so many positions of the encoder stand for; none where the source has none."""
        if source.frames is None:
            return None
        stride = self._stride
        missing = positions * stride - len(source.frames)
        shown = self._reader.shown(source.frames)
        width = shown.shape[1] // len(source.frames)
        return AttendedFrames(
            starts=list(range(0, positions * stride, stride)),
            seconds=self._form.frame_seconds,
            picture=np.pad(shown, ((0, 0), (0, missing * width), (0, 0)), constant_values=np.nan),
        )

    def has_output(self, source: EncodedLine) -> bool:
        """Whether there are frames."""
        return source.frames is not None

    def has_score(self, line: Line, source: EncodedLine) -> bool:
        """Whether there are frames."""
        del line
        return source.frames is not None
