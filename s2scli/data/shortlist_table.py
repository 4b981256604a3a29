"""The table of a dataset folder that vocabulary shortlists are made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from s2scli.data.meta import CHANGED
from s2scli.errors import DataError

SHORTLIST = ("shortlist.targets", "shortlist.frequent")
SHORTLIST_DTYPE = np.dtype("<i4")


class ShortlistTable(NamedTuple):
    """What vocabulary shortlists are made from.

    targets: the most probable target tokens of each source token, the best first, [source vocabulary, N], -1 where
    there are fewer. frequent: all target tokens, from the most to the least frequent, special symbols last.
    """

    targets: npt.NDArray[np.int32]
    frequent: npt.NDArray[np.int32]


def read_shortlist(folder: Path, sizes: Mapping[str, int], num_translations: int) -> ShortlistTable:
    """The table of a dataset folder; DataError, with the file, where it is not of vocabularies of these sizes."""
    targets, frequent = (np.fromfile(folder / name, SHORTLIST_DTYPE) for name in SHORTLIST)
    for name, table, least, number in (
        (SHORTLIST[0], targets, -1, sizes["source"] * num_translations),
        (SHORTLIST[1], frequent, 0, sizes["target"]),
    ):
        if len(table) != number or not ((table >= least) & (table < sizes["target"])).all():
            raise DataError(f"{folder / name}: not a table of these vocabularies; {CHANGED}")
    return ShortlistTable(targets.reshape(-1, num_translations), frequent)
