"""Sources in one file and their text in another, a line each: tables of Kaldi, or a list of files beside text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

from s2scli.console import counted
from s2scli.data.corpus import Item
from s2scli.data.manifest import ManifestColumns, ManifestCorpus, RowError
from s2scli.errors import DataError
from s2scli.features.opening import resolve_all
from s2scli.io import decode, read_raw_lines

# The ending of Kaldi's tables.
TABLE = ".scp"


@dataclass(frozen=True, kw_only=True)
class ListedCorpus(ManifestCorpus):
    """Sources and text in two files, the lines of which belong together.

    layout: "scp" for Kaldi's tables, of which each line begins with the id: "ID FILE" and "ID TEXT"; "list" for a file
    a line, and text.
    """

    @property
    def header_lines(self) -> int:
        """There is no header."""
        return 0

    @cached_property
    def folder(self) -> Path:
        """What paths are relative to: the folder of the list; for Kaldi's the working directory, if it is there."""
        beside = self.paths[0].parent
        if self.layout == "scp":
            line = decode(next(read_raw_lines(self.files[0]), b""))[0]
            try:
                resolve_all(line.partition(" ")[2], Path())
            except DataError:
                return beside
            return Path()
        return beside

    @cached_property
    def columns(self) -> ManifestColumns:
        """What the lines are called when they are a row."""
        return ManifestColumns(source="source", target="text", id="id" if self.layout == "scp" else "")

    def items(self) -> Iterator[Item]:
        """Yield a line of each file, undecoded; DataError where one has fewer than the other."""
        counts = [0, 0]
        for lines in zip_longest(*map(read_raw_lines, self.files)):
            counts = [count + (line is not None) for count, line in zip(counts, lines, strict=True)]
            if None not in lines:
                yield lines
        if counts[0] != counts[1]:
            found = [
                f"{path} has {counted(count, 'line')}" for path, count in zip(self.paths, counts, strict=True)
            ]
            raise DataError(f"{' and '.join(found)}; line N of each must belong to the same source")

    def values(self, lines: Sequence[str]) -> Mapping[str, Any]:
        """A row of a line of each file."""
        source, text = lines
        if self.layout == "list":
            return {"source": source, "text": text}
        (name, _, source), (other, _, text) = source.partition(" "), text.partition(" ")
        if name != other:
            raise RowError(f"its id is {name}, and that of the text {other}; sort both files by their ids")
        return {"id": name, "source": source, "text": text}
