"""Corpora whose pairs are lines: a line in each of two files, or both sides in a line of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, zip_longest
from typing import Any

from s2scli.console import counted
from s2scli.data.corpus import BROKEN_RECORD, BROKEN_TEXT, MOST_SYMBOLS, SIDES, Corpus, Item, Pair
from s2scli.data.record_fields import text_field, why_no_record
from s2scli.data.table import check_column, column_number, first_line
from s2scli.errors import DataError
from s2scli.io import count_lines, decode, input_name, read_raw_lines
from s2scli.record import NOT_TEXT, read_json


@dataclass(frozen=True, kw_only=True)
class LineCorpus(Corpus):
    """Text of one split: a source and a target file, or one file with both.

    Where there is only target text it is one file, and one field of that.

    layout: "lines" for two files, perhaps with a third for tags, "tsv" or "jsonl" for one. fields: where the sides and
    perhaps a tag are in its lines: of JSON the name of a field (a.b for one within another), of a table a column, by
    its number from 1, or by its name in the first line, which is no pair then.
    of_one_language: the target, the only side that is read, is the source too.
    """

    layout: str = "lines"
    fields: tuple[str, ...] = SIDES
    of_one_language: bool = False

    @cached_property
    def has_header(self) -> bool:
        """Whether the first line has the names of the columns."""
        return self.layout == "tsv" and not all(map(column_number, self.fields))

    @cached_property
    def columns(self) -> dict[str, int]:
        """Where a table has each of the fields, from 0; DataError where its first line lacks a name."""
        header = first_line(self, "the names of its columns").split("\t") if self.has_header else []
        columns = {name: column_number(name) - 1 for name in self.fields}
        for name in (name for name, column in columns.items() if column < 0):
            check_column(self, name, header)
            columns[name] = header.index(name)
        return columns

    def items(self) -> Iterator[Item]:
        """Yield a line of each file, undecoded."""
        for lines in self._rows():
            if None in lines:
                raise DataError(f"{' and '.join(map(str, self.paths))} changed while they were read")
            yield lines

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        """The lines of all files side by side, after the one with the names; None where a file has no more."""
        return islice(zip_longest(*map(read_raw_lines, self.files)), self.has_header, None)

    def parse(self, item: Item, number: int) -> Pair:
        """The `number`-th pair, of its lines; DataError where it is broken and that is an error."""
        if self.has_header:
            return self._pair(item, number + 1)._replace(line=number + 1)
        return self._pair(item, number)

    def _pair(self, item: Item, number: int) -> Pair:
        """The pair of the `number`-th line of each file."""
        lines = _undecoded(item)
        decoded = [decode(raw) for raw in lines]
        texts = [text for text, _ in decoded]
        for side, (_, problem) in enumerate(decoded):
            if problem and self.on_broken == "error":
                raise self.broken_text(self.location(side, number), problem, lines[side])
            if problem and self.on_broken == "skip":
                return Pair(texts[0], texts[1] if len(texts) > 1 else "", problem=BROKEN_TEXT)
        if self.layout != "lines":
            fields = self._fields(texts[0], number)
            if isinstance(fields, Pair):
                return fields
            texts = fields
        if self.of_one_language:
            texts = [texts[0], *texts]
        source, target, *tags = texts if len(texts) > 1 else ("", *texts)
        return Pair(source, target, self._tag(tags[0], number) if tags else self.tag)

    def _fields(self, line: str, number: int) -> list[str] | Pair:
        """The texts of a record's fields; a pair with its problem where they are broken and that is no error."""
        try:
            texts = [self._field(line, name) for name in self.fields]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            if self.on_broken == "skip":
                return Pair(line, "", problem=BROKEN_RECORD)
            only_target = self.of_one_language or len(self.fields) == 1
            flags = ["--source-field", "--target-field", "--tag-field"][only_target:]
            said = ", ".join(f"{flag} is {name}" for flag, name in zip(flags, self.fields, strict=False))
            raise DataError(
                f"{self.location(0, number)}: {why_no_record(error, self.layout)}; {said}"
            ) from None
        if not any(NOT_TEXT.search(text) for text in texts):
            return texts
        if self.on_broken == "error":
            raise DataError(
                f"{self.location(0, number)}: the line's text holds NUL or half of a character, which JSON "
                "can and text cannot; mend it, or give --encoding-errors replace or skip"
            )
        texts = [NOT_TEXT.sub("\ufffd", text) for text in texts]
        return Pair(texts[0], "", problem=BROKEN_TEXT) if self.on_broken == "skip" else texts

    def _field(self, line: str, name: str) -> str:
        if self.layout == "tsv":
            return line.split("\t")[self.columns[name]]
        return text_field(read_json(line), name)

    def _tag(self, text: str, number: int) -> str:
        """The tag that a pair's own text says, in angle brackets: bt and <bt> are <bt>."""
        text = text.strip()
        if not text:
            return self.tag
        if len(text.split()) > 1:
            raise DataError(f"{self.location(2, number)}: {text!r} is no tag; wanted: a word, as bt or <bt>")
        return text if text.startswith("<") else f"<{text}>"

    def tags(self) -> set[str]:
        """The tags that pairs have; where they have them of their own, the text is read through for that."""
        sides = 1 if self.of_one_language else len(SIDES)
        if max(len(self.paths), len(self.fields)) <= sides:
            return super().tags()
        found: set[str] = set()
        for number, pair in enumerate(self.pairs(), start=1 + self.has_header):
            found.add(pair.tag)
            if len(found) > MOST_SYMBOLS:
                raise DataError(
                    f"{self.location(2, number)}: more than {MOST_SYMBOLS} tags so far; is --tag-field the right one?"
                )
        return found - {""}

    def count(self) -> int:
        """Read the text through; the number of pairs.

        Raises DataError for what is broken, if that is an error, for an empty file, and for files of different length.
        """
        if self.has_header:
            # A name that it lacks is said even where no line comes after it.
            _ = self.columns
        surveys = [count_lines(path) for path in self.files]
        counts = [count for count, _ in surveys]
        if self.layout != "lines" or not all(is_whole for _, is_whole in surveys):
            counts = self._count_one_by_one()
        for path, count in zip(self.paths, counts, strict=True):
            if not count:
                what = (
                    "has no line after the names of its columns" if self.has_header else "the file is empty"
                )
                raise DataError(f"{input_name(path)}: {what}")
        if len(set(counts)) > 1:
            found = [
                f"{path} has {counted(count, 'line')}" for path, count in zip(self.paths, counts, strict=True)
            ]
            raise DataError(f"{' and '.join(found)}; line N of each must belong to the same pair")
        return counts[0]

    def _count_one_by_one(self) -> list[int]:
        """The pairs of each file; DataError names the first that is broken, if that is an error."""
        counts = [0] * len(self.paths)
        for number, lines in enumerate(self._rows(), start=1):
            counts = [count + (line is not None) for count, line in zip(counts, lines, strict=True)]
            if self.on_broken != "skip" and None not in lines:
                self.parse(lines, number)
        return counts


def _undecoded(item: Item) -> tuple[bytes, ...]:
    """The lines of an item, which of such a corpus is no pair."""
    assert not isinstance(item, Pair)
    return item
