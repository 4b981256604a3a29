"""How the examples of a column are stored: the kinds of columns, and what files each has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

# What a column's values are called, which is the ending of the file that has them.
COLUMN_KINDS = {"text": "ids", "tag": "ids", "features": "frames"}
ID_TYPES = ("uint16", "uint32")


@dataclass(frozen=True, kw_only=True)
class ColumnLayout:
    """How a column's values are stored: one after the other, of a type, `width` numbers at each position.

    vocabulary_size: how many ids there may be; 0: the values are no ids.
    """

    kind: str
    dtype: np.dtype[Any]
    width: int = 1
    vocabulary_size: int = 0

    @classmethod
    def of(cls, column: Mapping[str, Any], tokenizers: Mapping[str, Any]) -> Self:
        """That of a column, by what meta.json says of it and of the tokenizers."""
        dtype = np.dtype(column["dtype"]).newbyteorder("<")
        if form := column.get("features"):
            return cls(kind=column["kind"], dtype=dtype, width=form["num_features"])
        size = tokenizers[column["tokenizer"]]["size"]
        return cls(kind=column["kind"], dtype=dtype, vocabulary_size=size)

    @classmethod
    def of_ids(cls, vocabulary_size: int, kind: str = "text") -> Self:
        """That of ids of a vocabulary, of the smallest type that holds them."""
        dtype = np.dtype("<u2") if vocabulary_size <= 0x10000 else np.dtype("<u4")
        return cls(kind=kind, dtype=dtype, vocabulary_size=vocabulary_size)

    @property
    def values(self) -> str:
        """The ending of the file with the values."""
        return COLUMN_KINDS[self.kind]

    @property
    def endings(self) -> tuple[str, str, str, str]:
        """Those of the files: values, where each example ends in them, its text, and where it ends in that."""
        return self.values, "ends", "text", "text_ends"

    @property
    def position_bytes(self) -> int:
        """The bytes of what stands at one position."""
        return self.width * self.dtype.itemsize
