"""Manifests: tables of which file is which source, and the text that goes with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from s2scli.console import counted
from s2scli.data.corpus import BROKEN_RECORD, BROKEN_TEXT, Corpus, Item, Pair
from s2scli.data.dialogue import one_line
from s2scli.data.record_fields import why_no_record
from s2scli.data.table import check_column, first_line
from s2scli.errors import DataError
from s2scli.features.extraction import Utterance
from s2scli.io import STDIN, decode, input_name, read_raw_lines
from s2scli.record import NOT_TEXT, read_json
from s2scli.schema import to_number, to_whole

# What the columns of manifests are called: by fairseq, by Common Voice and NeMo, and by others. The first that there is
# counts, where the user names none.
_USUAL = {
    "source": ("audio", "audio_filepath", "path", "paths", "wav", "file", "features", "image", "source"),
    "target": ("tgt_text", "transcript", "transcription", "text", "sentence", "target"),
    "id": ("id", "utt_id", "utterance_id", "key"),
    "start": ("start", "offset", "start_time"),
    "end": ("end", "end_time"),
    "duration": ("duration",),
    "frames": ("n_frames", "num_frames"),
}
_NEEDED = ("source", "target")


class ManifestColumns(NamedTuple):
    """What the columns of a manifest are called; nothing for those that there are not.

    source: files, several with blanks between them; start, end, duration: seconds of a segment; frames: its length as
    the manifest has it.
    """

    source: str = ""
    target: str = ""
    id: str = ""
    start: str = ""
    end: str = ""
    duration: str = ""
    frames: str = ""


class RowError(ValueError):
    """What is wrong with a row, in words."""


@dataclass(frozen=True, kw_only=True)
class ManifestCorpus(Corpus):
    """Sources that are files, and their text: a table with a header, or JSON objects, one a line.

    layout: "tsv" or "jsonl". named: by what it holds, the column that the user names. on_broken_row: what becomes of a
    row that is broken, and of a source that cannot be read: error or skip.
    """

    layout: str
    named: Mapping[str, str]
    on_broken_row: str = "error"

    items_a_chunk: ClassVar[int] = 16

    @property
    def header_lines(self) -> int:
        """The lines before the first source."""
        return 1 if self.layout == "tsv" else 0

    @property
    def folder(self) -> Path:
        """What paths are relative to."""
        return Path() if self.paths[0] == STDIN else self.paths[0].parent

    def line(self, number: int) -> str:
        """The file and line of the `number`-th source, for messages."""
        return self.location(0, number + self.header_lines)

    @cached_property
    def header(self) -> tuple[str, ...]:
        """The names of the columns; of JSON those of the first object. DataError where there are none."""
        line = first_line(self, "a manifest")
        if self.layout == "tsv":
            return tuple(line.split("\t"))
        try:
            record = read_json(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{input_name(self.paths[0])}:1: {why_no_record(error, self.layout)}") from None
        return tuple(record) if isinstance(record, dict) else ()

    @cached_property
    def columns(self) -> ManifestColumns:
        """Which column holds what; DataError, with those that there are, where one that is needed is missing."""
        found: dict[str, str] = {}
        for what, usual in _USUAL.items():
            name = self.named.get(what)
            if name is None:
                name = next((item for item in usual if item in self.header), "")
            else:
                check_column(self, name, self.header)
            if not name and what in _NEEDED:
                raise DataError(
                    f"{input_name(self.paths[0])}: which column holds the {'files' if what == 'source' else 'text'}? "
                    f"There are {', '.join(self.header)}; give --{what}-field"
                )
            found[what] = name
        return ManifestColumns(**found)

    def items(self) -> Iterator[Item]:
        """Yield each line of a source, undecoded."""
        lines = islice(read_raw_lines(self.files[0]), self.header_lines, None)
        return ((line,) for line in lines)

    def parse(self, item: Item, number: int) -> Pair:
        """The pair of an item, with what its source is made of; DataError where it is broken and that is an error."""
        assert not isinstance(item, Pair)
        decoded = [decode(raw) for raw in item]
        lines, place = [line for line, _ in decoded], number + self.header_lines
        for side, ((line, problem), raw) in enumerate(zip(decoded, item, strict=True)):
            problem = problem or ("holds NUL or half of a character" if NOT_TEXT.search(line) else "")
            if problem and self.on_broken == "error":
                raise self.broken_text(self.location(side, place), problem, raw)
            if problem and self.on_broken == "skip":
                return Pair(lines[0], "", problem=BROKEN_TEXT, line=place)
        try:
            values = self.values(lines)
            broken = self._broken(values)
            if broken and self.on_broken == "error":
                raise DataError(
                    f"{self.line(number)}: {broken[0]} holds NUL or half of a character; mend it, or give "
                    "--encoding-errors replace or skip"
                )
            if broken and self.on_broken == "skip":
                return Pair(lines[0], "", problem=BROKEN_TEXT, line=place)
            mended = {name: NOT_TEXT.sub("\ufffd", values[name]) for name in broken}
            return self._pair({**values, **mended}, place)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if self.on_broken_row == "skip":
                return Pair(lines[0], "", problem=BROKEN_RECORD, line=place)
            why = str(error) if isinstance(error, RowError) else why_no_record(error, self.layout)
            raise DataError(f"{self.line(number)}: {why}; mend the row, or remove it") from None

    def values(self, lines: Sequence[str]) -> Mapping[str, Any]:
        """What the line of a row has in each column."""
        (line,) = lines
        if self.layout == "tsv":
            cells = line.split("\t")
            if len(cells) != len(self.header):
                raise RowError(
                    f"the row has {counted(len(cells), 'column')}, and the header {len(self.header)}"
                )
            return dict(zip(self.header, cells, strict=True))
        record = read_json(line)
        if not isinstance(record, dict):
            raise TypeError("JSON is no object")
        return record

    def _pair(self, values: Mapping[str, Any], line: int) -> Pair:
        columns = self.columns
        references = _references(values.get(columns.source), columns.source)
        target = values.get(columns.target)
        if not isinstance(target, str):
            raise RowError(f"has no text in {columns.target}")
        start, end, duration = (
            _seconds(values.get(name), name)
            for name in (self._name(what, values) for what in ("start", "end", "duration"))
        )
        # A duration without a beginning is that of the whole file.
        if end is None and start is not None and duration is not None:
            end = start + duration
        utterance = Utterance(
            references=references,
            folder=self.folder,
            start=start,
            end=end,
            num_frames=_number(values.get(frames := self._name("frames", values)), frames),
        )
        name = values.get(self._name("id", values))
        called = _without_id(utterance) if name in (None, "") else str(name)
        return Pair(one_line(called), one_line(target), self.tag, line=line, utterance=utterance)

    def _broken(self, values: Mapping[str, Any]) -> list[str]:
        """The columns of a row, of those that are read, whose text is none."""
        names = (self.columns.source, self.columns.target, self._name("id", values))
        texts = {name: values[name] for name in names if isinstance(values.get(name), str)}
        return [name for name, text in texts.items() if NOT_TEXT.search(text)]

    def _name(self, what: str, values: Mapping[str, Any]) -> str:
        """What a row's column is called that need not be there; of JSON each row has its own."""
        name: str = getattr(self.columns, what)
        if name or self.layout != "jsonl":
            return name
        return next((item for item in _USUAL[what] if item in values), "")

    def count(self) -> int:
        """Read the manifest through; the number of its sources.

        Raises DataError for a row that is broken, if that is an error, for an id that two rows have, and where there
        are no rows.
        """
        number, seen = 0, dict[int, int]()
        _ = self.columns
        for number, item in enumerate(self.items(), start=1):
            pair = self.parse(item, number)
            if pair.utterance is None or (not self.columns.id and pair.source == _without_id(pair.utterance)):
                continue
            if (before := seen.setdefault(hash(pair.source), number)) != number:
                raise DataError(
                    f"{self.line(number)}: the id {pair.source} is that of line {before + self.header_lines} "
                    "too; an id names one source of a split"
                )
        if not number:
            raise DataError(f"{input_name(self.paths[0])}: names no sources; wanted: a row for each")
        return number

    def first(self) -> tuple[Utterance, str] | None:
        """What the first source is made of, and where it stands; None where all rows are broken."""
        for number, item in enumerate(self.items(), start=1):
            if (found := self.parse(item, number).utterance) is not None:
                return found, self.line(number)
        return None


def _without_id(utterance: Utterance) -> str:
    """What a source is called that has no id: its files, and which part of them."""
    name, start, end = " ".join(utterance.references), utterance.start, utterance.end
    if start is None and end is None:
        return one_line(name)
    return one_line(f"{name} {start or 0:g}-{'' if end is None else f'{end:g}'}")


def _references(value: Any, name: str) -> tuple[str, ...]:
    """The files of a source: a text, in which blanks divide several, or a list of JSON."""
    parts: Sequence[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str) and not NOT_TEXT.search(part) for part in parts):
        raise RowError(f"has no file in {name}")
    found = tuple(part.strip() for part in parts if part.strip())
    if not found:
        raise RowError(f"has no file in {name}")
    return found


def _seconds(value: Any, name: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        found = to_number(value)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e9:
        raise RowError(f"{name} is {value!r}; wanted: seconds")
    return found


def _number(value: Any, name: str) -> int | None:
    if value is None or value == "":
        return None
    try:
        return to_whole(value)
    except ValueError:
        raise RowError(f"{name} is {value!r}; wanted: a whole number") from None
