"""NumPy's archives of arrays, .npz, without pickled ones."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from s2scli.errors import CheckpointError

# Bytes of an array's header; longer ones are no header.
_LONGEST_HEADER = 10_000


def read_npz(path: Path) -> dict[str, Tensor]:
    """The arrays of an archive by name, as tensors.

    Raises CheckpointError for a file that is no archive of arrays or cut short, and for an array that is of objects, or
    of another size than its header says, before memory is taken for it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                info.filename.removesuffix(".npy"): _read_array(archive, info, path)
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, ValueError) as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path}: no archive of arrays, or cut short ({problem})") from None


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Tensor:
    with archive.open(info) as stream:
        shape, fortran, kind = _header(stream)
        if kind.hasobject or kind.kind not in "fiub":
            raise CheckpointError(f"{path}: {info.filename} is of type {kind}; wanted: numbers")
        size, held = math.prod(shape) * kind.itemsize, info.file_size - stream.tell()
        if size != held:
            raise CheckpointError(
                f"{path}: {info.filename} says that it has {size:,} bytes, shape {shape}, but {held:,} are there"
            )
        data = bytearray(stream.read(size))
    if len(data) != size:
        raise CheckpointError(f"{path}: {info.filename} is cut short")
    array = np.frombuffer(data, dtype=kind).reshape(shape, order="F" if fortran else "C")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=kind.newbyteorder("=")))


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type, of an array's header; ValueError where it is none."""
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, kind = read(stream, max_header_size=_LONGEST_HEADER)
    return shape, fortran, kind
