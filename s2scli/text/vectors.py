"""Vectors of words from a text file, as GloVe, fastText and word2vec write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from pathlib import Path

from s2scli.errors import DataError
from s2scli.io import input_name, read_lines

_HEADER = re.compile(r"[0-9]+ [0-9]+")


def read_vectors(path: Path, numbers: Mapping[str, int], width: int, flag: str) -> dict[int, list[float]]:
    """Read the vectors of some symbols, by their numbers; of a symbol that comes twice, the last.

    A line is a symbol and its numbers, parted by spaces; a first line of two numbers, how many there are and their
    width, is left out. flag: how the width is set, for messages. Raises DataError for a line with another number of
    numbers, or with what is none.
    """
    found: dict[int, list[float]] = {}
    for number, line in enumerate(read_lines(path, replace=True), start=1):
        text = line.rstrip()
        if not text or (number == 1 and _HEADER.fullmatch(text)):
            continue
        fields = text.split(" ")
        where = f"{input_name(path)}:{number}"
        # A symbol may hold spaces; numbers it does not end with.
        if len(fields) <= width or _are_numbers(fields[1:-width]):
            raise DataError(
                f"{where}: has {len(fields) - 1} numbers, and {flag} is {width}; both must be the same"
            )
        symbol, values = " ".join(fields[:-width]), fields[-width:]
        if symbol in numbers:
            found[numbers[symbol]] = _vector(values, where)
    return found


def _vector(values: list[str], where: str) -> list[float]:
    if not _are_numbers(values):
        raise DataError(f"{where}: what follows the symbol is not all numbers; mend the line or take it out")
    return [float(value) for value in values]


def _are_numbers(words: list[str]) -> bool:
    """Whether there are words, and all of them finite numbers."""
    try:
        return bool(words) and all(isfinite(float(word)) for word in words)
    except ValueError:
        return False
