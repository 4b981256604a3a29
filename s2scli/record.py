"""The one record that generate, score and reports exchange, as a line of JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from s2scli.notes import Note
from s2scli.values import value

if TYPE_CHECKING:
    # Few records have arrays, and numpy takes a while to load.
    import numpy as np
    from numpy.typing import NDArray

VERSION = 1
# That of a record's field "attribution".
ATTRIBUTION_VERSION = 1
# NUL, and the halves of characters, which JSON can hold and a line of text cannot.
NOT_TEXT = re.compile("[\0\ud800-\udfff]")
# An exponent with which a number may be too large for a float.
_HUGE = re.compile(r"[0-9][eE]\+?0*[0-9]{3}")
Alignment = list[tuple[int, int]]
"""Pairs of a source and a target place, from 0, by target place; of frames it is the first frame of a position."""
# The names of a record's own fields; what an input has under them is not passed through.
FIELDS = {
    "version",
    "id",
    "source",
    "source_tokens",
    "source_frames",
    "frame_seconds",
    "text",
    "reference",
    "score",
    "tokens",
    "token_scores",
    "nbest",
    "attention",
    "alignment",
    "attribution",
    "warnings",
}


@dataclass(frozen=True, kw_only=True)
class AttendedFrames:
    """The frames that the positions of an encoder stand for, where a source is no text.

    starts: the first frame of each position, from 0. seconds: of a frame, None where frames are no time. picture: the
    frames as they are to be seen, side by side and all equally wide, [height, width, 1 or 3], the more the lighter; all
    positions have as many, so that the last ones of some may be none, not a number.
    """

    starts: list[int]
    seconds: float | None = None
    picture: NDArray[np.float32] | None = field(default=None, compare=False)

    @property
    def labels(self) -> list[str]:
        """Where each position begins: the time, as 0.36 s, or the number of the frame."""
        if self.seconds is None:
            return [str(start) for start in self.starts]
        return [f"{start * self.seconds:.2f} s" for start in self.starts]


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """What each piece of a hypothesis, a row, comes from, by a method of `s2s explain`.

    source: shares of the record's `attended`; prefix: shares of `prefix_tokens`, which the decoder had read: the start
    symbol and the pieces before. Shares may be negative; what they add up to depends on the method. contrast: the token
    against which they are, "" for none. error: how far sums of integrated gradients are from what they should be, at
    most, as a share of that, and steps: how many gradients that took; None for other methods.
    """

    method: str
    source: list[list[float]]
    prefix: list[list[float]]
    prefix_tokens: list[str]
    contrast: str = ""
    error: float | None = None
    steps: int | None = None

    def to_fields(self) -> dict[str, Any]:
        """Its fields in JSON; version rises when one changes its meaning or goes away."""
        fields = {
            "version": ATTRIBUTION_VERSION,
            "method": self.method,
            "contrast": self.contrast or None,
            "source": _rounded(self.source),
            "prefix_tokens": self.prefix_tokens,
            "prefix": _rounded(self.prefix),
            "completeness_error": None if self.error is None else round(self.error, 6),
            "steps": self.steps,
        }
        return {name: value for name, value in fields.items() if value is not None}


def _rounded(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Shares to five significant digits: of gradients those that vanish are to be seen."""
    return [[float(f"{value:.5g}") for value in row] for row in rows]


class Pieces(Sequence[str]):
    """The pieces of some ids, which are looked up as they are read: of most records nothing but the text is.

    of: what gives the pieces of ids.
    """

    __slots__ = ("_ids", "_of")

    def __init__(self, of: Callable[[Sequence[int]], list[str]], ids: Sequence[int]) -> None:
        self._of, self._ids = of, ids

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._of(self._ids))

    def __getitem__(self, places: Any) -> Any:
        return self._of(self._ids)[places]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pieces | list) and [*self] == [*other]

    def __repr__(self) -> str:
        return repr([*self])

    def __reduce__(self) -> tuple[Any, ...]:
        # To other processes go the pieces themselves, not the vocabulary.
        return list, ([*self],)


@value(frozen=True, kw_only=True)
class Hypothesis:
    """One output for a source line.

    score: its log-probability, length-normalized as the search ranks it; nan where nothing asked the engine for it.
    tokens, token_scores: its pieces with the end symbol, and the log-probability (base e) of each.
    alignment, attention, where they were asked for: the source's word, or token, or the first frame of the position,
    that each of its own attends to most; how much each piece attends to each of the record's `attended`, or positions
    of its `frames`. attribution, likewise: what each piece comes from.
    """

    text: str
    score: float
    tokens: Sequence[str]
    token_scores: list[float]
    alignment: Alignment | None = None
    attention: list[list[float]] | None = None
    attribution: Attribution | None = None

    @property
    def pieces(self) -> str:
        """Its pieces, without the end symbol, with a space between each two."""
        return " ".join(self.tokens[:-1])

    @property
    def pharaoh(self) -> str:
        """The alignment as text, 0-0 1-2, the source's place before the target's."""
        return " ".join(f"{source}-{target}" for source, target in self.alignment or ())


@value(frozen=True, kw_only=True)
class Record:
    """A source line, numbered from 0, with its hypotheses, best first, and its reference if there is one.

    given_reference: the reference as the input has it, where that is in pieces of words; reference has whole words.
    source_tokens, reference_tokens: the pieces that source, as the model saw it, and reference are made of.
    attended: those of the source with the end symbol, where the hypotheses have their attention or attribution over
    them; frames: what is in their stead where the source is no text.
    notes: what is to be said of the line, as that it was cut; `warnings` in JSON, where there are any.
    extra: fields of the input that go into the JSON as they are, but for those with the name of one of ours.
    """

    id: int
    source: str
    hypotheses: list[Hypothesis] = field(default_factory=list)
    reference: str | None = None
    given_reference: str | None = None
    source_tokens: Sequence[str] = field(default_factory=list)
    reference_tokens: list[str] = field(default_factory=list)
    attended: list[str] = field(default_factory=list)
    frames: AttendedFrames | None = None
    notes: Sequence[Note] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The best hypothesis as text; the empty line for an empty source."""
        return self.hypotheses[0].text if self.hypotheses else ""

    def to_json(self) -> str:
        """The record as one line of JSON; `nbest` is there when there is more than one hypothesis."""
        fields: dict[str, Any] = {"version": VERSION, "id": self.id, "source": self.source, "text": self.text}
        if self.reference is not None:
            fields["reference"] = self.reference
        if self.hypotheses:
            best = self.hypotheses[0]
            fields |= {
                "score": round(best.score, 6),
                "tokens": [*best.tokens],
                "token_scores": [round(score, 6) for score in best.token_scores],
            } | self._attention(best)
        if len(self.hypotheses) > 1:
            fields["nbest"] = [
                {"text": item.text, "score": round(item.score, 6)}
                | ({"tokens": [*item.tokens]} if item.attention or item.attribution else {})
                | self._attention(item, with_source=False)
                for item in self.hypotheses
            ]
        if self.notes:
            fields["warnings"] = [note.text for note in self.notes]
        fields |= {name: value for name, value in self.extra.items() if name not in FIELDS}
        return to_line(fields)

    def _attention(self, item: Hypothesis, *, with_source: bool = True) -> dict[str, Any]:
        """What was asked for of a hypothesis's attention, and of what it comes from."""
        fields: dict[str, Any] = {} if item.alignment is None else {"alignment": item.pharaoh}
        if with_source and self.frames is not None and self.frames.seconds is not None:
            fields["frame_seconds"] = self.frames.seconds
        if with_source and (item.attention is not None or item.attribution is not None):
            if self.frames is not None:
                fields["source_frames"] = self.frames.starts
            else:
                fields["source_tokens"] = self.attended
        if item.attention is not None:
            fields["attention"] = item.attention
        if item.attribution is not None:
            fields["attribution"] = item.attribution.to_fields()
        return fields

    def to_fairseq(self) -> str:
        """The record as fairseq-generate prints it, its scores in base 2.

        S-id source pieces, T-id reference pieces, and for each hypothesis H-id score and pieces, D-id score and text,
        P-id the score of each piece and of the end, A-id the alignment where it was asked for.
        """
        lines = [f"S-{self.id}\t{' '.join(self.source_tokens)}"]
        if self.reference is not None:
            lines.append(f"T-{self.id}\t{' '.join(self.reference_tokens)}")
        if not self.hypotheses:
            # A blank line is answered by a blank one for sure: the lines of H and D are as many as the sources.
            lines += [f"H-{self.id}\t0.0\t", f"D-{self.id}\t0.0\t", f"P-{self.id}\t"]
        for item in self.hypotheses:
            score = round(item.score / math.log(2), 6)
            token_scores = (f"{token_score / math.log(2):.4f}" for token_score in item.token_scores)
            lines += [
                f"H-{self.id}\t{score}\t{item.pieces}",
                f"D-{self.id}\t{score}\t{item.text}",
                f"P-{self.id}\t{' '.join(token_scores)}",
            ]
            if item.alignment is not None:
                lines.append(f"A-{self.id}\t{item.pharaoh}")
        return "\n".join(lines)


class NotJSONError(ValueError):
    """A text that is no JSON: what is wrong with it."""


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text; what Python takes besides, Infinity, NaN and numbers that become them, is none.

    Raises NotJSONError, and RecursionError for what is nested too deeply.
    """
    # Few texts hold such an exponent, and asking of each number takes as long as reading it.
    hook = _finite if _HUGE.search(text if isinstance(text, str) else text.decode("utf-8")) else None
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=hook)
    except NotJSONError:
        raise
    except ValueError as error:
        digits = (
            "" if isinstance(error, json.JSONDecodeError) else ": it holds a number of thousands of digits"
        )
        raise NotJSONError(f"is no JSON{digits}") from None


def _refuse(name: str) -> Any:
    raise NotJSONError(f"holds {name}, which is no JSON")


def _finite(digits: str) -> float:
    if math.isinf(float(digits)):
        raise NotJSONError(f"holds {digits[:20]}, which is no number that can be used")
    return float(digits)


def to_line(fields: Mapping[str, Any]) -> str:
    """Values as one line of JSON, see `to_json_text`."""
    return to_json_text(fields)


def to_json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON that every reader takes: numbers that are not finite are null.

    Halves of characters, which JSON may hold and UTF-8 may not, go out escaped as they came in.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:
        value = _without_infinities(value)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, indent=indent)
    return text


def _without_infinities(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _without_infinities(item) for name, item in value.items()}
    return [_without_infinities(item) for item in value] if isinstance(value, list | tuple) else value
