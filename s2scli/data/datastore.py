"""The file of a datastore: a model's decoder states before each target token of some pairs, and these tokens.

It is a safetensors file: `keys` [N, D], float16 or float32; `norms` [N], float32, the squared length of each key;
`values` [N], int32, token ids. Its metadata says the format and version, and the fingerprint of the checkpoint's
weights. It is mapped into memory, and may be larger than that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s2scli.errors import DataError
from s2scli.files import open_own
from s2scli.io import explain_write_errors, write_atomically

FORMAT, VERSION = "s2s-datastore", "1"
_TYPES = {"float16": "F16", "float32": "F32"}


class DatastoreWriter:
    """Appends states and the tokens that they are before, to a file of a size that is known."""

    def __init__(
        self, keys: NDArray[np.floating], norms: NDArray[np.float32], values: NDArray[np.int32]
    ) -> None:
        self._keys, self._norms, self._values = keys, norms, values
        self.size = 0

    def append(self, states: NDArray[np.float32], tokens: NDArray[np.int32]) -> None:
        """Write some states [n, D] and their tokens [n]; DataError for numbers that the file's type cannot hold."""
        rows = slice(self.size, self.size + len(tokens))
        with np.errstate(over="ignore"):
            kept = states.astype(self._keys.dtype)
        if not np.isfinite(kept).all():
            raise DataError(
                f"the model's states have numbers that {self._keys.dtype} cannot hold; give --dtype float32"
            )
        self._keys[rows], self._values[rows] = kept, tokens
        self._norms[rows] = np.square(kept.astype(np.float32)).sum(axis=1)
        self.size = rows.stop


@contextmanager
def write_datastore(
    path: Path, *, size: int, width: int, dtype: str, fingerprint: str
) -> Iterator[DatastoreWriter]:
    """Give what writes N = `size` states of D = `width` numbers; the file is whole in the end, or not there."""
    lengths = {
        "keys": size * width * np.dtype(dtype).itemsize,
        "norms": size * 4,
        "values": size * 4,
    }
    ends = np.cumsum([0, *lengths.values()]).tolist()
    kinds = {"keys": (_TYPES[dtype], [size, width]), "norms": ("F32", [size]), "values": ("I32", [size])}
    header = {
        "__metadata__": {"format": FORMAT, "version": VERSION, "fingerprint": fingerprint},
        **{
            name: {"dtype": kind, "shape": shape, "data_offsets": ends[at : at + 2]}
            for at, (name, (kind, shape)) in enumerate(kinds.items())
        },
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with write_atomically(path) as temporary:
        with explain_write_errors(path), open_own(temporary, "wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            # The whole room at once, so that a full disk is told before hours of work.
            stream.truncate(8 + len(text) + ends[-1])
        start = 8 + len(text)
        types = {"keys": np.dtype(dtype), "norms": np.dtype("<f4"), "values": np.dtype("<i4")}
        arrays = {
            name: np.memmap(temporary, types[name], "r+", start + ends[at], tuple(shape))
            for at, (name, (_, shape)) in enumerate(kinds.items())
        }
        yield DatastoreWriter(arrays["keys"], arrays["norms"], arrays["values"])
        for array in arrays.values():
            array.flush()
