"""Arrays of numbers in files of NumPy, .npy and .npz, without pickled ones, and of safetensors."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from s2scli.errors import DataError, did_you_mean
from s2scli.features.matrix import MatrixFormat

# Bytes of an array's header; longer ones are no header.
_LONGEST_HEADER = 10_000
# Bytes of the JSON in which safetensors say what there is, at most.
_LONGEST_DESCRIPTION = 100_000_000
# What zipfile raises for an archive that is broken, or encrypted.
BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
)
_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
}


class NumPyArray(MatrixFormat):
    """One array, .npy."""

    endings = (".npy",)

    @staticmethod
    def recognizes(head: bytes) -> bool:
        """Whether data begins as such a file."""
        return head.startswith(b"\x93NUMPY")

    @staticmethod
    def read(stream: BinaryIO, name: str, part: str) -> NDArray[Any]:
        """The array; there are no parts."""
        del part
        here = stream.tell()
        held = stream.seek(0, 2) - here
        stream.seek(here)
        try:
            return read_array(stream, held)
        except ValueError as error:
            raise DataError(
                f"{name}: {error if isinstance(error, NoArrayError) else f'no array ({error})'}"
            ) from None


class NumPyArchive(MatrixFormat):
    """Arrays by name, .npz; a reference names one, x.npz:NAME, where there are several."""

    endings = (".npz",)

    @staticmethod
    def recognizes(head: bytes) -> bool:
        """Whether data begins as such a file."""
        return head.startswith(b"PK\x03\x04")

    @staticmethod
    def read(stream: BinaryIO, name: str, part: str) -> NDArray[Any]:
        """The array of a name, or the only one."""
        try:
            with zipfile.ZipFile(stream) as archive:
                infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                info = infos[chosen(part, infos, name)]
                with archive.open(info) as member:
                    return read_array(member, info.file_size)
        except NoArrayError as error:
            raise DataError(f"{name}: its array {error}") from None
        except BROKEN_ARCHIVE as error:
            problem = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{name}: no archive of arrays, or cut short ({problem})") from None


class Safetensors(MatrixFormat):
    """Tensors by name, .safetensors; a reference names one, x.safetensors:NAME, where there are several."""

    endings = (".safetensors",)

    @staticmethod
    def recognizes(head: bytes) -> bool:
        """Whether data begins as such a file: the length of a description in JSON, and that."""
        return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _LONGEST_DESCRIPTION

    @staticmethod
    def read(stream: BinaryIO, name: str, part: str) -> NDArray[Any]:
        """The tensor of a name, or the only one; nothing else is read."""
        size = int.from_bytes(stream.read(8), "little")
        try:
            tensors = json.loads(stream.read(min(size, _LONGEST_DESCRIPTION)))
            tensors.pop("__metadata__", None)
            facts = tensors[chosen(part, tensors, name)]
            kind, shape = _TYPES[facts["dtype"]], tuple(map(int, facts["shape"]))
            start, end = map(int, facts["data_offsets"])
            stream.seek(8 + size + start)
            return np.frombuffer(stream.read(max(0, end - start)), kind).reshape(shape)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{name}: no file of safetensors with numbers of {', '.join(_TYPES)}, or cut short ({error})"
            ) from None


def chosen(part: str, names: dict[str, Any], file: str) -> str:
    """The name of a part of a file, or of its only one; DataError where there is no such."""
    if part in names:
        return part
    if part:
        raise DataError(f"{file}: holds no {part!r}{did_you_mean(part, names)}")
    if len(names) != 1:
        first = ", ".join(list(names)[:3])
        raise DataError(f"{file}: holds {len(names):,} arrays ({first} …); name one: FILE:NAME")
    return next(iter(names))


class NoArrayError(ValueError):
    """What is wrong with an array, in words that go on after its name."""


def read_array(stream: Any, held: int, *, exactly: bool = False) -> NDArray[Any]:
    """An array that begins at a place of a stream, of which so many bytes are left; exactly: all of them are its.

    Raises NoArrayError for one of objects, and for one of another size than its header says, before memory is taken for
    it, and ValueError for data that is no array.
    """
    before = stream.tell()
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        shape, fortran, kind = read(stream, max_header_size=_LONGEST_HEADER)
    except (TokenError, SyntaxError):
        raise ValueError("a broken header") from None
    if kind.hasobject or kind.kind not in "fiub":
        raise NoArrayError(f"is of type {kind}; wanted: numbers")
    size, there = math.prod(shape) * kind.itemsize, held - (stream.tell() - before)
    if size > there or (exactly and size != there):
        raise NoArrayError(f"says that it has {size:,} bytes, shape {shape}, but {there:,} are there")
    data = bytearray(stream.read(size))
    if len(data) != size:
        raise NoArrayError("is cut short")
    return np.frombuffer(data, dtype=kind).reshape(shape, order="F" if fortran else "C")
