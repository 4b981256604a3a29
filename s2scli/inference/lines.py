"""The lines of the input, as they are read and as they are encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from s2scli.notes import Note


@dataclass(frozen=True)
class Line:
    """A source line, numbered from 0, with its reference if there is one.

    extra: what else was with it in the input, for its record. constraints, excluded: phrases that its output must hold,
    and must not.
    """

    id: int
    text: str
    reference: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncodedLine:
    """A line, and the ids of what the model sees of it, without the end symbol.

    extended, words: for a model that copies, the ids in the extended vocabulary and the line's own words.
    notes: what its record is to say of it, as that it was cut.
    """

    text: str
    ids: Sequence[int]
    extended: Sequence[int] = ()
    words: tuple[str, ...] = ()
    notes: list[Note] = field(default_factory=list)
