"""Lines longer than those that the model was trained on: refused, or translated in parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Sized
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

from s2scli.console import counted
from s2scli.data.source_form import SourceForm
from s2scli.errors import DataError
from s2scli.inference.encoding import LineEncoder
from s2scli.inference.lines import Line
from s2scli.notes import Note
from s2scli.record import Alignment, AttendedFrames, Attribution, Hypothesis, Record
from s2scli.text.normalization import is_blank
from s2scli.text.words import places_of_words


class LinePart(NamedTuple):
    """A part of a line: what stands before it there, a space or nothing, and a line of its own."""

    space: str
    line: Line


# An end is at the first of its marks, lest a line of dots is read through once for each; possessive for that too.
_SENTENCE_END = re.compile(
    r"(?<![.!?…؟۔।॥։።])[.!?…؟۔।॥։።]++[\"'”’»)\]]*+(?=\s)|(?<![。！？｡])[。！？｡]++[”’」』）]*+"
)
Divided = tuple[str, str]
"""What stands before a part of a text, a space or nothing, and the part."""
_WHITE_SPACE = re.compile(r"\s+")
# Of a character; more come only where normalization makes several characters of one.
_MOST_TOKENS = 4


def find_parts(encoder: LineEncoder, line: Line, on_long: str | None) -> list[LinePart]:
    """The parts to translate one by one; DataError for a line that is too long if that is an error."""
    pieces = encoder.recorded(line, on_long)
    if pieces is not None:
        return [LinePart(" " if number else "", piece) for number, piece in enumerate(pieces)]
    longest, whole = encoder.longest, [LinePart("", line)]
    if on_long not in ("split", "error") or longest is None or is_blank(line.text):
        return whole
    if len(line.text) * _MOST_TOKENS <= longest:
        return whole
    length = encoder.num_tokens(line.text)
    # Of constraints nobody knows to which part they belong: a line that has some is cut.
    if length <= longest or (on_long == "split" and line.constraints):
        return whole
    if on_long == "error":
        raise DataError(
            f"line {line.id + 1}: {counted(length, encoder.unit)}, more than the {longest} that the "
            f"model was made for; "
            "shorten it, or give --on-long truncate or split"
        )
    tag, own = encoder.form.line_of(line.text)
    tagged = f"{tag} {{}}".format if tag else str
    parts = split_line(own, lambda text: encoder.num_tokens(tagged(text)) <= longest)
    # Where the line alone is short enough, the engine leaves out of its context what is too much.
    return (
        [LinePart(space, replace(line, text=tagged(text))) for space, text in parts]
        if len(parts) > 1
        else whole
    )


def split_line(text: str, fits: Callable[[str], bool]) -> list[Divided]:
    """A text cut at the ends of its sentences, and those that do not fit in pieces; whole where it fits."""
    if fits(text):
        return [("", text)]
    text = text.strip()
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    parts: list[Divided] = []
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        sentence = text[start:end]
        if sentence.strip():
            parts += _halved(sentence.strip(), fits, " " if sentence[0].isspace() else "")
    return parts


def _halved(text: str, fits: Callable[[str], bool], space: str) -> list[Divided]:
    """A text cut in two, at the white space nearest to its middle if it has any, until it fits."""
    if len(text) < 2 or fits(text):
        return [(space, text)]
    middle = len(text) // 2
    gaps = [match.span() for match in _WHITE_SPACE.finditer(text)]
    start, end = min(gaps, key=lambda gap: abs(gap[0] - middle), default=(middle, middle))
    return [
        *_halved(text[:start], fits, space),
        *_halved(text[end:], fits, " " if end > start else ""),
    ]


def join_parts(
    encoder: LineEncoder,
    line: Line,
    parts: Sequence[LinePart],
    records: Sequence[Record],
    *,
    alignment: str,
    warns: bool,
) -> Record:
    """The record of a line from those of its parts.

    alignment: over "word"s or "token"s, "" for none. warns: whether a note says that the line was split.
    """
    if len(records) == 1:
        return records[0]
    # Of characters that normalization removes there is no output.
    said = [part for part, record in enumerate(records) if record.hypotheses]
    spaces = [parts[part].space for part in said]
    # Of parts with fewer hypotheses than others there is no further one to join.
    each = list(zip(*(records[part].hypotheses for part in said), strict=False))
    hypotheses = [_join_hypotheses(spaces, items) for items in each]
    if alignment:
        by_token = alignment == "token"
        if any(record.frames for record in records):
            sources: Sequence[Sequence[int]] = _consecutive([frames_of(part.line) for part in parts])
        else:
            sources = _source_tokens(records) if by_token else _source_words(encoder.form, line, parts)
        hypotheses = [
            replace(
                joined, alignment=_join_alignments(joined, items, [sources[part] for part in said], by_token)
            )
            for joined, items in zip(hypotheses, each, strict=True)
        ]
    return replace(
        records[0],
        source=line.text,
        hypotheses=hypotheses,
        source_tokens=[token for record in records for token in record.source_tokens],
        attended=[token for record in records for token in record.attended],
        frames=_join_frames([frames_of(part.line) for part in parts], [record.frames for record in records]),
        notes=[
            *([_note_of_parts(encoder, parts, records)] if warns else []),
            *(note for record in records for note in record.notes),
        ],
    )


def _note_of_parts(encoder: LineEncoder, parts: Sequence[LinePart], records: Sequence[Record]) -> Note:
    which = f"more than the {encoder.longest} that the model was trained for"
    number = sum(
        len(record.source_tokens) or frames_of(part.line) for part, record in zip(parts, records, strict=True)
    )
    return Note(
        f"have more than the {encoder.longest} {encoder.unit}s that the model was trained for, and are "
        "translated in parts",
        f"{counted(number, encoder.unit)}, {which}; translated in {len(records):,} parts",
    )


def frames_of(line: Line) -> int:
    """The number of frames of a line that has them, else 0."""
    return len(line.features) if isinstance(line.features, Sized) else 0


def _join_hypotheses(spaces: Sequence[str], items: Sequence[Hypothesis]) -> Hypothesis:
    """The outputs of a line's parts as one, with the end symbol of each; scores count by the number of tokens."""
    tokens = [token for item in items for token in item.tokens]
    return replace(
        items[0],
        text="".join(space + item.text for space, item in zip(spaces, items, strict=True)).strip(),
        score=sum(item.score * len(item.tokens) for item in items) / len(tokens),
        tokens=tokens,
        token_scores=[score for item in items for score in item.token_scores],
        attention=_join_blocks([item.attention for item in items if item.attention is not None]),
        attribution=_join_attributions([item.attribution for item in items if item.attribution is not None]),
    )


def _join_frames(lengths: Sequence[int], parts: Sequence[AttendedFrames | None]) -> AttendedFrames | None:
    """The frames that the positions of all parts stand for, counted from the line's first; lengths: of the parts."""
    begins = [0, *accumulate(lengths)]
    found = [(begin, part) for begin, part in zip(begins, parts, strict=False) if part is not None]
    if not found:
        return None
    import numpy as np  # which lines of text do without

    pictures = [part.picture for _, part in found if part.picture is not None]
    return replace(
        found[0][1],
        starts=[begin + start for begin, part in found for start in part.starts],
        picture=np.concatenate(pictures, axis=1) if pictures else None,
    )


def _join_attributions(items: Sequence[Attribution]) -> Attribution | None:
    """What the tokens of all parts come from: nothing beyond their own part."""
    if not items:
        return None
    errors = [item.error for item in items if item.error is not None]
    return replace(
        items[0],
        source=_join_blocks([item.source for item in items]) or [],
        prefix=_join_blocks([item.prefix for item in items]) or [],
        prefix_tokens=[token for item in items for token in item.prefix_tokens],
        error=max(errors, default=None),
        steps=max((item.steps for item in items if item.steps is not None), default=None),
    )


def _join_blocks(blocks: Sequence[list[list[float]]]) -> list[list[float]] | None:
    """A matrix of those of all parts, rows of which have nothing beyond their own part."""
    widths = [len(block[0]) for block in blocks]
    return [
        [0.0] * sum(widths[:part]) + row + [0.0] * sum(widths[part + 1 :])
        for part, block in enumerate(blocks)
        for row in block
    ] or None


def _join_alignments(
    joined: Hypothesis, items: Sequence[Hypothesis], sources: Sequence[Sequence[int]], by_token: bool
) -> Alignment:
    """The alignments of a line's parts as one; sources: where the words, or tokens, of each part are in the line.

    An output word that was put together from two parts is aligned as in the first.
    """
    if by_token:
        targets = _consecutive([len(item.tokens) for item in items])
    else:
        targets = places_of_words(joined.text, [item.text for item in items])
    found: dict[int, int] = {}
    for item, of_source, of_target in zip(items, sources, targets, strict=True):
        for source, target in item.alignment or ():
            found.setdefault(of_target[target], of_source[source])
    return [(source, target) for target, source in found.items()]


def _source_tokens(records: Sequence[Record]) -> list[list[int]]:
    return _consecutive([len(record.source_tokens) for record in records])


def _source_words(form: SourceForm, line: Line, parts: Sequence[LinePart]) -> list[list[int]]:
    """Where the words of each part, the first of which may be the line's tag, are in the line."""
    tag, own = form.line_of(line.text)
    texts = [part.line.text.removeprefix(f"{tag} ") if tag else part.line.text for part in parts]
    before = line.text[: len(line.text) - len(own)]
    _, *places = places_of_words(line.text, [before, *texts])
    return [[0, *found] if tag else found for found in places]


def _consecutive(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers from 0, divided into parts of these lengths."""
    ends = list(accumulate(lengths))
    return [list(range(end - length, end)) for end, length in zip(ends, lengths, strict=True)]
