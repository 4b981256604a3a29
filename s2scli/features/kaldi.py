"""Matrices of Kaldi: archives (.ark), binary, compressed or text, which tables of references (.scp) point into.

The formats are those of Kaldi's matrix/kaldi-matrix.cc and matrix/compressed-matrix.cc.
"""

from __future__ import annotations

import re
import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from s2scli.errors import DataError
from s2scli.features.matrix import MatrixFormat
from s2scli.schema import to_whole

# What a reference says of rows and columns to take: [0:9] and [0:9,3:5], whose ends belong to them.
_RANGE = re.compile(r"\[(?:(\d+):(\d+))?(?:,(\d+):(\d+))?\]$")
_PLAIN = {b"FM ": "<f4", b"DM ": "<f8"}
_VECTORS = {b"FV ": "<f4", b"DV ": "<f8"}
_BLOCK = 1 << 16
_CUT = "cut short; take another copy of the file, or make its archive anew"


class KaldiMatrix(MatrixFormat):
    """A matrix in an archive, x.ark:OFFSET, perhaps with a range of rows and columns, x.ark:OFFSET[0:9]."""

    endings = (".ark",)

    @staticmethod
    def recognizes(head: bytes) -> bool:
        """Whether data begins as a matrix does: with a mark and a type, or a bracket."""
        return (head[:2] == b"\0B" and head[2:4] in (b"FM", b"DM", b"CM", b"FV", b"DV")) or head.lstrip()[
            :1
        ] == b"["

    @staticmethod
    def read(stream: BinaryIO, name: str, part: str) -> NDArray[Any]:
        """The matrix at an offset in bytes."""
        limits = _RANGE.search(part)
        offset = part[: limits.start()] if limits else part
        try:
            stream.seek(to_whole(offset or "0"))
        except ValueError:
            raise DataError(f"{name}:{part}: wanted: FILE:OFFSET, in bytes, as an scp file has it") from None
        found = _read_matrix(stream, f"{name}:{offset}")
        if limits is None:
            return found
        rows, columns = (_range(limits[at], limits[at + 1]) for at in (1, 3))
        if max(rows.stop or 0, 0) > len(found) or max(columns.stop or 0, 0) > found.shape[-1]:
            raise DataError(
                f"{name}:{part}: goes beyond the matrix, which has {found.shape} rows and columns"
            )
        return found[rows, columns]


def _range(first: str | None, last: str | None) -> slice:
    return slice(int(first), int(last) + 1) if first is not None and last is not None else slice(None)


def _read_matrix(stream: BinaryIO, name: str) -> NDArray[Any]:
    head = stream.read(2)
    if head != b"\0B":
        blocks = [head]
        while b"]" not in blocks[-1] and (block := stream.read(_BLOCK)):
            blocks.append(block)
        return _read_text(b"".join(blocks), name)
    token = stream.read(3)
    if token[:2] == b"CM":
        return _read_compressed(stream, token, name)
    if token not in _PLAIN and token not in _VECTORS:
        raise DataError(f"{name}: no matrix of Kaldi, but {token!r}; is the offset right?")
    kind = np.dtype((_PLAIN | _VECTORS)[token])
    shape = tuple(_whole(stream, name) for _ in range(2 if token in _PLAIN else 1))
    return _numbers(stream, kind, shape, name)


def _whole(stream: BinaryIO, name: str) -> int:
    """A number of rows or columns: its size in bytes, 4, and itself."""
    data = stream.read(5)
    if len(data) < 5 or data[0] != 4 or (number := int.from_bytes(data[1:], "little", signed=True)) < 0:
        raise DataError(f"{name}: {_CUT}")
    return number


def _numbers(stream: BinaryIO, kind: np.dtype[Any], shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """Numbers that stand one after the other; DataError, before memory is taken, where they are not all there."""
    size = int(np.prod(shape, dtype=object)) * kind.itemsize
    here = stream.tell()
    if size > stream.seek(0, 2) - here:
        raise DataError(f"{name}: {_CUT}")
    stream.seek(here)
    return np.frombuffer(stream.read(size), kind).reshape(shape)


def _read_compressed(stream: BinaryIO, token: bytes, name: str) -> NDArray[np.float32]:
    """A matrix whose numbers are parts of the range between its least and its greatest.

    CM2: of 16 bits, CM3: of 8. CM: of 8 bits, which divide each column's range at its quartiles, given in 16 bits.
    """
    if token != b"CM ":
        stream.read(1)  # the space
    header = stream.read(16)
    if len(header) < 16:
        raise DataError(f"{name}: {_CUT}")
    least, extent, rows, columns = struct.unpack("<ffii", header)
    if rows < 0 or columns < 0:
        raise DataError(f"{name}: {_CUT}")
    if not all(abs(number) <= np.finfo(np.float32).max for number in (least, extent, least + extent)):
        raise DataError(
            f"{name}: its numbers are from {least:g} on, {extent:g} more at most; wanted: finite numbers"
        )
    if token != b"CM ":
        kind = np.dtype("<u2" if token == b"CM2" else "u1")
        parts = _numbers(stream, kind, (rows, columns), name).astype(np.float64) / np.iinfo(kind).max
        values: NDArray[np.float32] = (least + extent * parts).astype(np.float32)
        return values
    quartiles = least + extent * (_numbers(stream, np.dtype("<u2"), (columns, 4), name) / 65535)
    low, first, third, high = quartiles.T[:, :, None]  # each [columns, 1]
    steps = _numbers(stream, np.dtype("u1"), (columns, rows), name).astype(np.float64)
    found = np.where(
        steps <= 64,
        low + (first - low) * steps / 64,
        np.where(
            steps <= 192,
            first + (third - first) * (steps - 64) / 128,
            third + (high - third) * (steps - 192) / 63,
        ),
    )
    return np.ascontiguousarray(found.T, np.float32)  # [rows, columns]


def _read_text(data: bytes, name: str) -> NDArray[np.float64]:
    """A matrix as text: [ 1 2, a line for each row, 3 4 ]."""
    start, end = data.find(b"["), data.find(b"]")
    if start < 0 or data[:start].strip() or end < 0:
        raise DataError(f"{name}: no matrix of Kaldi, or cut short; is the offset right?")
    rows = [line.split() for line in data[start + 1 : end].split(b"\n") if line.strip()]
    try:
        return np.array([[float(number) for number in row] for row in rows])
    except ValueError as error:
        problem = "its rows have different lengths" if "inhomogeneous" in str(error) else error
        raise DataError(f"{name}: {problem}; wanted: numbers, a row a line") from None
