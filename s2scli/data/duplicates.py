"""Finding lines that came before, in bounded memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from s2scli.data.corpus import SIDES, Corpus

# Hashes that are sorted in memory at once.
_PART = 4_000_000
_SLICE = 1_000_000
_HASH = np.dtype([("high", "<u8"), ("low", "<u8")])


def find_duplicates(corpus: Corpus, by: str, scratch: Path) -> npt.NDArray[np.uint8]:
    """Which pairs of a corpus repeat an earlier one: a bit for each line, 8 to a byte, the first one lowest.

    by: pairs, source or target, what has to be equal. 128-bit hashes of all lines go to the file `scratch`, which is
    removed; equal ones are found by sorting a share of them at a time.
    """
    number = _write_hashes(corpus, by, scratch)
    repeated = np.zeros(-(-number // 8), np.uint8)
    try:
        hashes = np.memmap(scratch, _HASH, mode="r", shape=(number,)) if number else np.zeros(0, _HASH)
        parts = -(-number // _PART)
        for part in range(parts):
            rows = np.concatenate(
                [
                    start + np.flatnonzero(hashes["high"][start : start + _SLICE] % parts == part)
                    for start in range(0, number, _SLICE)
                ]
            )
            high, low = hashes["high"][rows], hashes["low"][rows]
            order = np.lexsort((low, high))  # stable: of equal ones the earliest stays first
            high, low = high[order], low[order]
            again = rows[order[1:][(high[1:] == high[:-1]) & (low[1:] == low[:-1])]]
            np.bitwise_or.at(repeated, again >> 3, (1 << (again & 7)).astype(np.uint8))
    finally:
        scratch.unlink(missing_ok=True)
    return repeated


def _write_hashes(corpus: Corpus, by: str, scratch: Path) -> int:
    """Write the hash of what has to be equal in each line; the number of lines."""
    chosen = (0, 1) if by == "pairs" else (SIDES.index(by),)
    number = 0
    with scratch.open("wb") as stream:
        for number, lines in enumerate(corpus.raw_lines(), start=1):
            pair = corpus.parse(lines, number)
            text = "\n".join(pair[side] for side in chosen)
            stream.write(hashlib.blake2b(text.encode(), digest_size=_HASH.itemsize).digest())
    return number
