"""Terms and what they are to be called in the other language."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from s2scli.errors import DataError
from s2scli.io import read_lines
from s2scli.text.word_boundaries import are_joined


def read_glossary(path: Path) -> dict[str, tuple[str, int]]:
    """Read `source TAB target` a line: source term → target and line number, from 1; blank lines are left out.

    Raises DataError, naming the line, for one that is no such pair, or a term that is there with two targets.
    """
    terms: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        source, _, target = (part.strip() for part in line.partition("\t"))
        if not source or not target or "\t" in target:
            raise DataError(f"{path}:{number}: {line!r} is not a source term, a tab and a target term")
        if terms.setdefault(source, (target, number))[0] != target:
            raise DataError(
                f"{path}:{number}: {source!r} is {target!r} here and {terms[source][0]!r} in line "
                f"{terms[source][1]}; remove one of the lines"
            )
    return terms


class Glossary:
    """Finds terms in text: from left to right, at each place the longest, none within another.

    A term stands there as whole words, in scripts without spaces anywhere. normalize: what is done to terms and text
    before they are compared.
    """

    def __init__(self, terms: Mapping[str, str], normalize: Callable[[str], str] = str) -> None:
        self._normalize = normalize
        self._targets = {normalize(source): target for source, target in terms.items()}
        lengths: dict[str, set[int]] = defaultdict(set)
        for source in self._targets:
            lengths[source[:1]].add(len(source))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items() if first}

    def find(self, text: str) -> list[str]:
        """The targets of the terms in a text, in the order of their first places; each once."""
        text = self._normalize(text)
        found: dict[str, None] = {}
        place = 0
        while place < len(text):
            length = self._length_at(text, place)
            if length:
                found[self._targets[text[place : place + length]]] = None
            place += length or 1
        return list(found)

    def _length_at(self, text: str, place: int) -> int:
        """The length of the longest term at a place, or 0."""
        if place and are_joined(text[place - 1], text[place]):
            return 0
        for length in self._lengths.get(text[place], ()):
            end = place + length
            term = text[place:end]
            if term in self._targets and not are_joined(term[-1], text[end : end + 1]):
                return length
        return 0
