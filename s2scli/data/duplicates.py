"""Finding lines that came before, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from s2scli.data.corpus import SIDES, Corpus
from s2scli.files import open_own

# Corpus.key → whether each line is to be left out; a byte each.
Flags = dict[str, npt.NDArray[np.bool_]]
# Hashes that are sorted in memory at once.
_PART = 4_000_000
_SLICE = 1_000_000
_HASH = np.dtype([("high", "<u8"), ("low", "<u8")])


def find_duplicates(corpora: Sequence[Corpus], by: str, sides: Sequence[str], scratch: Path) -> Flags:
    """Which pairs of some corpora, one after the other, repeat an earlier one.

    by: pairs, source or target, what has to be equal. sides: those that there are; a pair of which one is blank is left
    out anyway, and repeats none. 128-bit hashes of all lines go to the file `scratch`, which is removed; equal ones are
    found by sorting a share of them at a time.
    """
    sizes = _write_hashes(corpora, by, [SIDES.index(side) for side in sides], scratch)
    number = sum(sizes)
    repeated = np.zeros(number, np.bool_)
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
            repeated[rows[order[1:][(high[1:] == high[:-1]) & (low[1:] == low[:-1])]]] = True
    finally:
        scratch.unlink(missing_ok=True)
    ends = np.cumsum(sizes)
    return {
        corpus.key: repeated[end - size : end] for corpus, size, end in zip(corpora, sizes, ends, strict=True)
    }


def _write_hashes(corpora: Sequence[Corpus], by: str, needed: Sequence[int], scratch: Path) -> list[int]:
    """Write the hash of what has to be equal in each line; the number of lines of each corpus.

    needed: the places of the sides without which a pair is left out anyway.
    """
    chosen = (0, 1) if by == "pairs" else (SIDES.index(by),)
    sizes = []
    with open_own(scratch, "wb") as stream:
        for corpus in corpora:
            sizes.append(0)
            for pair in corpus.pairs():
                text = "\n".join(pair.sides[side] for side in chosen)
                if pair.problem or not all(pair.sides[side].strip() for side in needed):
                    # What is left out for another reason hides no pair after it.
                    text = f"{corpus.key}\n\n{sizes[-1]}"
                stream.write(hashlib.blake2b(text.encode(), digest_size=_HASH.itemsize).digest())
                sizes[-1] += 1
    return sizes
