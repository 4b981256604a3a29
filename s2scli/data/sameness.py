"""Examples of one split that are in another too, as where validation data is training data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from s2scli.data.column import Column, Indices, Values
from s2scli.data.split import Split

# Examples that are looked at at once: what bounds the memory.
_ROWS = 1 << 18
# And of which all tokens or frames are.
_READ = 1 << 9
# An odd number of 64 bits, by which what has been found so far is spread before more is added.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)

Keys = NDArray[np.uint64]


def count_shared(split: Split, other: Split) -> int:
    """How many examples of a split are examples of another split too: the same tokens, or frames, on all sides.

    Of each example of the other split, the lengths and a few tokens are read; only where they are those of one that is
    looked for, the rest of it is. So the memory is that of the first split, however many examples the other has.
    """
    wanted: dict[tuple[bytes, ...], list[int]] = {}
    keys: list[Keys] = []
    number = 0
    for columns, rows in _parts(split):
        keys.append(_keys(columns, rows))
        for tokens in _tokens(columns, rows):
            wanted.setdefault(tokens, []).append(number)
            number += 1
    if not number:
        return 0
    known = np.unique(np.concatenate(keys))
    found: set[int] = set()
    for columns, rows in _parts(other):
        places = np.searchsorted(known, candidates := _keys(columns, rows))
        matching = known[np.minimum(places, len(known) - 1)] == candidates
        for tokens in _tokens(columns, rows[matching]):
            found.update(wanted.pop(tokens, ()))
    return len(found)


def _parts(split: Split) -> Iterator[tuple[Mapping[str, Column], Indices]]:
    """The sides of each shard, with some of its rows at a time."""
    for _, size, columns in split.shards():
        sides = {name: columns[name] for name in split.sides}
        for first in range(0, size, _ROWS):
            yield sides, np.arange(first, min(first + _ROWS, size))


def _keys(columns: Mapping[str, Column], rows: Indices) -> Keys:
    """A number for each example that equal ones have in common, of lengths and of first, middle and last tokens.

    Of a frame, all bytes are added up.
    """
    keys = np.zeros(len(rows), np.uint64)
    for column in columns.values():
        starts, ends = column.spans(rows)
        lengths = ends - starts
        parts = [lengths]
        if column.num_values:
            for places in (starts, starts + lengths // 2, ends - 1):
                tokens = column.at(np.clip(places, 0, column.num_values - 1))
                if tokens.ndim > 1:
                    tokens = tokens.view(np.uint8).sum(1, dtype=np.int64)
                parts.append(np.where(lengths > 0, tokens, 0))
        for part in parts:
            keys = (keys ^ part.astype(np.uint64)) * _SPREAD
            keys ^= keys >> np.uint64(29)
    return keys


def _tokens(columns: Mapping[str, Column], rows: Indices) -> Iterator[tuple[bytes, ...]]:
    """All tokens of each of some examples, by side; of frames, of which there is much more, a hash."""
    for start in range(0, len(rows), _READ):
        part = rows[start : start + _READ]
        sides = [[_told_by(values) for values in column.values(part)] for column in columns.values()]
        yield from zip(*sides, strict=True)


def _told_by(values: Values) -> bytes:
    """What tells the values of an example from others."""
    data = values.tobytes()
    return data if values.ndim == 1 else hashlib.blake2b(data, digest_size=16).digest()
