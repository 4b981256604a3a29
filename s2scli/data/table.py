"""Tables: text whose columns are divided by tabs, and whose first line may say what they are called."""

from __future__ import annotations

from collections.abc import Sequence

from s2scli.data.corpus import Corpus
from s2scli.errors import DataError, did_you_mean
from s2scli.io import decode, input_name, read_raw_lines
from s2scli.schema import to_whole


def first_line(corpus: Corpus, wanted: str) -> str:
    """The first line of a corpus's first file; DataError, with what was wanted there, where it has no text.

    What is not UTF-8 is an error where that is one in other lines, else U+FFFD.
    """
    raw = next(iter(read_raw_lines(corpus.files[0])), b"")
    line, problem = decode(raw)
    name = input_name(corpus.paths[0])
    if not line.strip():
        raise DataError(f"{name}: {'its first line' if raw else 'the file'} is empty; wanted: {wanted}")
    if problem and corpus.on_broken == "error":
        raise corpus.broken_text(f"{name}:1", problem, raw)
    return line


def column_number(name: str) -> int:
    """The number of a column, from 1, that is written as a number; 0 of a name."""
    try:
        return max(0, to_whole(name))
    except ValueError:
        return 0


def check_column(corpus: Corpus, name: str, header: Sequence[str]) -> None:
    """DataError, with the nearest name or all of them, where no column has that one."""
    if name not in header:
        known = did_you_mean(name, header)
        raise DataError(f"{input_name(corpus.paths[0])}: has no column {name!r}{known}")
