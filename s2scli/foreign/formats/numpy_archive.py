"""NumPy's archives of arrays, .npz, as tensors."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from s2scli.errors import CheckpointError
from s2scli.features.arrays import BROKEN_ARCHIVE, NoArrayError, read_array


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
    except BROKEN_ARCHIVE as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path}: no archive of arrays, or cut short ({problem})") from None


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Tensor:
    with archive.open(info) as stream:
        try:
            array = read_array(stream, info.file_size, exactly=True)
        except NoArrayError as error:
            raise CheckpointError(f"{path}: {info.filename} {error}") from None
    return torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))
