"""Marian's binary shortlists: for each source symbol the target symbols that may translate it.

A file is six numbers of 64 bits, the lowest byte first: what it begins with, a checksum, how many of the most frequent
target symbols are in every shortlist, how many of each source symbol there are at most, and the lengths of two lists;
then the first list, of 64-bit numbers, where the symbols of each source symbol begin in the second, and the second, of
32-bit ids.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch

from s2scli.console import counted
from s2scli.data.shortlist import Shortlist
from s2scli.errors import CheckpointError
from s2scli.text.vocabulary import Vocabulary

_BEGINNING = 0xF11A48D5013417F5
_HEADER = struct.Struct("<6Q")


def read_shortlist(path: Path, source: int, vocabulary: Vocabulary) -> Shortlist:
    """The table of a file for so many source symbols and a target vocabulary.

    The most frequent symbols are the first ones, as Marian's vocabularies have them. Raises CheckpointError for another
    file, lengths beyond it, and ids beyond the vocabularies.
    """
    data = path.read_bytes()
    if len(data) < _HEADER.size:
        raise CheckpointError(f"{path}: no binary shortlist, or cut short")
    beginning, _, _, _, num_offsets, num_ids = _HEADER.unpack_from(data)
    if beginning != _BEGINNING:
        raise CheckpointError(f"{path}: no binary shortlist of Marian's")
    if _HEADER.size + 8 * num_offsets + 4 * num_ids != len(data):
        raise CheckpointError(
            f"{path}: says that it has {num_offsets:,} offsets and {num_ids:,} ids, but has {len(data):,} bytes"
        )
    offsets = np.frombuffer(data, "<u8", num_offsets, _HEADER.size).astype(np.int64)
    ids = np.frombuffer(data, "<u4", num_ids, _HEADER.size + 8 * num_offsets).astype(np.int64)
    sizes = np.diff(offsets)
    if num_offsets != source + 1 or (sizes < 0).any() or offsets[0] != 0 or offsets[-1] != num_ids:
        raise CheckpointError(
            f"{path}: is of {num_offsets - 1:,} source symbols, the vocabulary has {source:,}"
        )
    target = len(vocabulary)
    if num_ids and ids.max() >= target:
        raise CheckpointError(
            f"{path}: holds the id {ids.max():,}, the target vocabulary has {counted(target, 'symbol')}"
        )
    table = np.full((source, max(1, int(sizes.max(initial=0)))), -1, np.int32)
    table[np.arange(table.shape[1]) < sizes[:, None]] = ids
    frequent = torch.arange(target, dtype=torch.int32)
    return Shortlist(torch.from_numpy(table), frequent, vocabulary.special.count)
