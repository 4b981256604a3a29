"""Gradients by source position, as records of `s2s explain --method gradient_norm` have them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from s2scli import document
from s2scli.console import counted
from s2scli.errors import DataError
from s2scli.io import read_raw_lines
from s2scli.plotting.history import History

METHOD, FIGURE = "gradient_norm", "gradient_norm"
_REMEDY = f"give the output of s2s explain --method {METHOD} --format jsonl"


@dataclass(frozen=True, kw_only=True)
class _SourceGradients:
    """What is read of a record's field `attribution`."""

    method: str
    source: tuple[tuple[float, ...], ...]


def is_explained(path: Path) -> bool:
    """Whether a file holds records, not the events of a run."""
    if not path.is_file():
        return False
    for line in islice(read_raw_lines(path), 1):
        try:
            first = document.parse(line)
        except DataError:
            return False
        return isinstance(first, dict) and "event" not in first and "source" in first
    return False


def read_positions(paths: Sequence[Path]) -> list[History]:
    """The mean norm of the gradient of an output token's log-probability at each distance from the source's end.

    Each file is a history whose events are distances: 0 is the last token of the source, the end symbol if it has one.
    The mean is over all output tokens of all lines; where it is 0, nothing is told. Raises DataError for what is no
    such record, and where there is none.
    """
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return [_read(path, name) for path, name in zip(paths, names, strict=True)]


def _read(path: Path, name: str) -> History:
    sums: defaultdict[int, float] = defaultdict(float)
    counts: defaultdict[int, int] = defaultdict(int)
    lines = 0
    for found in _records(path):
        lines += 1
        for row in found.source:
            for distance, norm in enumerate(reversed(row)):
                sums[distance] += norm
                counts[distance] += 1
    if not any(sums.values()):
        raise DataError(f"{path}: no gradient at any source position; {_REMEDY}")
    events = {
        distance: {"update": distance, FIGURE: sums[distance] / counts[distance]}
        for distance in sorted(sums)
        if sums[distance] > 0
    }
    return History(
        name=name,
        path=path,
        events={"train": events, "valid": {}, "norms": {}},
        counts="position",
        told=counted(lines, "line"),
    )


def _records(path: Path) -> Iterator[_SourceGradients]:
    """What outputs come from, of the lines that have one."""
    for number, line in enumerate(read_raw_lines(path), start=1):
        if not line.strip():
            continue
        with document.blaming(f"{path}:{number}", _REMEDY):
            record = document.parse(line)
            document.check(record, Mapping[str, Any])
            if not record.get("tokens"):
                continue  # a blank line has no output
            shares = record.get("attribution")
            document.check(shares, _SourceGradients, "attribution")
            if shares["method"] != METHOD:
                raise DataError(f"attribution.method is {shares['method']}, not {METHOD}")
            yield _SourceGradients(method=METHOD, source=shares["source"])
