"""Reading what is to be translated: lines of text, or JSON records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from s2scli.data.record_fields import text_field, why_no_record
from s2scli.data.source_form import SourceComposer
from s2scli.errors import DataError
from s2scli.inference.lines import Line
from s2scli.io import COMPRESSED
from s2scli.record import NOT_TEXT, read_json
from s2scli.text.normalization import is_blank

if TYPE_CHECKING:
    # Of a dataset are the fewest inputs, and numpy takes a while to load.
    from s2scli.data.split import Split

T = TypeVar("T")


def input_format(path: Path) -> str:
    """What a file's ending says that it holds: jsonl or text."""
    plain = path.with_suffix("") if path.suffix in COMPRESSED else path
    return "jsonl" if plain.suffix == ".jsonl" else "text"


def text_lines(
    texts: Iterable[str], composer: SourceComposer, *, constraints: bool = False
) -> Iterator[Line]:
    """Lines of text, composed as the model's sources were.

    constraints: they have phrases after them, tab-separated, that their outputs must hold.
    """
    for number, text in enumerate(texts):
        source, *phrases = text.split("\t") if constraints else [text]
        held = [phrase for phrase in phrases if not is_blank(phrase)]
        extra = {"constraints": held} if held else {}
        yield Line(number, composer.compose(source), extra=extra, constraints=tuple(held))


def json_lines(
    texts: Iterable[str], name: str, composer: SourceComposer, source_field: str = ""
) -> Iterator[Line]:
    """The records of a text, one a line; DataError has the text's name and the line of one that is broken.

    A record's source is made of its turns, where it has some and the model answers dialogues, or is its source_field.
    """
    wanted = f"--source-field is {source_field}" if source_field else 'wanted: {"turns": ["…", "…"]}'
    for number, text in enumerate(texts):
        try:
            record = read_json(text)
            if not isinstance(record, dict):
                raise TypeError("JSON is no object")
            source = _source(record, composer, source_field)
            reference = record.get("reference")
            if reference is not None:
                reference = NOT_TEXT.sub("\ufffd", text_field(record, "reference"))
            constraints, excluded = (phrases_of(record, name) for name in ("constraints", "exclude"))
        except RecursionError:
            raise DataError(f"{name}:{number + 1}: the line's JSON is nested too deeply") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{name}:{number + 1}: {why_no_record(error, 'jsonl')}; {wanted}") from None
        yield Line(number, source, reference, record, constraints, excluded)


def _source(record: dict[str, Any], composer: SourceComposer, source_field: str) -> str:
    form = composer.form.dialogue
    if form is not None and ("turns" in record or not source_field):
        return composer.compose_dialogue(form, record)
    return composer.compose(NOT_TEXT.sub("\ufffd", text_field(record, source_field)))


def phrases_of(record: dict[str, Any], name: str) -> tuple[str, ...]:
    """A field that is a list of phrases, or is not there."""
    phrases = record.get(name)
    if phrases is None:
        return ()
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
        raise TypeError(f"{name} is no list of texts")
    return tuple(NOT_TEXT.sub("\ufffd", phrase) for phrase in phrases if not is_blank(phrase))


def split_lines(split: Split, *, reads_source: bool) -> Iterator[Line]:
    """The pairs of a dataset's split as lines with references; without a source where the model reads none."""
    import numpy as np

    has_frames = reads_source and split.features("source") is not None
    for number in range(len(split)):
        source = split.text("source", number) if reads_source else ""
        frames = split.frames_of("source", np.array([number]))[0] if has_frames else None
        yield Line(number, source, split.text("target", number), features=frames)


class UntilBroken(Generic[T]):
    """Lines up to one that cannot be used, whose error waits until those before it have been answered."""

    def __init__(self, lines: Iterable[T]) -> None:
        self._lines = lines
        self._error: DataError | None = None

    def __iter__(self) -> Iterator[T]:
        try:
            yield from self._lines
        except DataError as error:
            self._error = error

    def check(self) -> None:
        """Raise the error, if there was one."""
        if self._error is not None:
            raise self._error
