"""The lines of the input, as they are read and as they are encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from s2scli.notes import Note
from s2scli.values import value

if TYPE_CHECKING:
    # They need numpy, which takes a while to load, and most sources are text.
    from s2scli.features.extraction import Utterance
    from s2scli.features.fbank import FeatureArray


@value(frozen=True)
class Line:
    """A source line, numbered from 0, with its reference if there is one.

    extra: what else was with it in the input, for its record. constraints, excluded: phrases that its output must hold,
    and must not. features: where a source is no text, what its frames are to be made of, or those of a dataset,
    [S, F]; None: of the file that `text` names. unreadable: why they cannot be had, where that has been tried.
    """

    id: int
    text: str
    reference: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    features: Utterance | FeatureArray | None = None
    unreadable: str = ""


@value(frozen=True)
class EncodedLine:
    """A line, and the ids of what the model sees of it, without the end symbol.

    extended, words: for a model that copies, the ids in the extended vocabulary and the line's own words.
    notes: what its record is to say of it, as that it was cut. adapter: the number of the adapter that reads and writes
    it, where a model has several to choose from, -1 for none. frames [S, F]: what the model sees where that is no
    text; then there are no ids.
    """

    text: str
    ids: Sequence[int]
    extended: Sequence[int] = ()
    words: tuple[str, ...] = ()
    notes: list[Note] = field(default_factory=list)
    frames: FeatureArray | None = None
    adapter: int = -1

    @property
    def length(self) -> int:
        """The number of tokens, end symbol not counted, or of frames."""
        return len(self.ids) if self.frames is None else len(self.frames)
