"""Marian's binary files of weights, version 1, as its browser engine Bergamot reads them too.

A file is: two numbers, its version and how many tensors there are; for each tensor four numbers, the length of its
name, its type, its number of dimensions and the bytes of its data; all names; all shapes, of 32-bit numbers; a number
of bytes of padding, and those; all data. Other numbers have 64 bits, the lowest byte first. A name counts its closing
zero.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from s2scli.errors import CheckpointError

# Types, as the sum of a class and the bytes of an element: float, and what intgemm quantizes to int8.
FLOAT32, INTGEMM8 = 0x404, 0x4101
# Tensors of the largest models are some hundreds; of a claimed number, headers are read before anything else.
_MOST_TENSORS, _MOST_DIMENSIONS = 100_000, 8
_HEADER = struct.Struct("<4Q")
# A quantized matrix of embeddings is stored row by row, unlike all others.
EMBEDDINGS = ("Wemb", "encoder_Wemb", "decoder_Wemb")


@dataclass(frozen=True)
class _Stored:
    """Where a tensor stands in a file: its name and type, its shape, and the offset and size of its data, in bytes."""

    name: str
    kind: int
    shape: tuple[int, ...]
    offset: int
    size: int


def read_marian_binary(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file by name, in float32, and the text of its settings, if it has some.

    A quantized matrix is q / m, m being the multiplier that stands behind its bytes. Raises CheckpointError for another
    version or type, and where lengths go beyond the file, before memory is taken for any tensor.
    """
    data = memoryview(path.read_bytes())
    found: dict[str, Tensor] = {}
    settings = ""
    for item in _headers(data, path):
        content = data[item.offset : item.offset + item.size]
        if item.name.startswith("special:"):
            settings = bytes(content).rstrip(b"\0").decode("utf-8", errors="replace")
        elif item.kind == FLOAT32:
            _check_size(item, 4 * math.prod(item.shape), path)
            values = torch.frombuffer(bytearray(content), dtype=torch.float32)
            found[item.name] = values[: math.prod(item.shape)].reshape(item.shape)
        elif item.kind == INTGEMM8:
            found[item.name] = _dequantized(item, content, path)
        else:
            raise CheckpointError(
                f"{path}: {item.name} is of type {item.kind:#x}; wanted: float32 ({FLOAT32:#x}) or int8 of intgemm "
                f"({INTGEMM8:#x})"
            )
    return found, settings


def _headers(data: memoryview, path: Path) -> list[_Stored]:
    """Where each tensor stands; CheckpointError where that is beyond the file."""
    reader = _Reader(data, path)
    version, number = reader.numbers(2)
    if version != 1:
        raise CheckpointError(f"{path}: is of version {version} of Marian's binary files; wanted: 1")
    if number > _MOST_TENSORS:
        raise CheckpointError(f"{path}: says that it has {number:,} tensors, which no model has")
    headers = [_HEADER.unpack(reader.take(_HEADER.size)) for _ in range(number)]
    names = [
        bytes(reader.take(header[0])).rstrip(b"\0").decode("utf-8", errors="replace") for header in headers
    ]
    shapes = []
    for name, header in zip(names, headers, strict=True):
        if header[2] > _MOST_DIMENSIONS:
            raise CheckpointError(f"{path}: {name} says that it has {header[2]:,} dimensions")
        shape = struct.unpack(f"<{header[2]}i", reader.take(4 * header[2]))
        if any(size < 0 for size in shape):
            raise CheckpointError(f"{path}: {name} says that its shape is {shape}")
        shapes.append(shape)
    (padding,) = reader.numbers(1)
    reader.take(padding)
    found = []
    for name, header, shape in zip(names, headers, shapes, strict=True):
        offset = reader.position
        reader.take(header[3])
        found.append(_Stored(name, header[1], shape, offset, header[3]))
    return found


def _dequantized(item: _Stored, content: memoryview, path: Path) -> Tensor:
    number = math.prod(item.shape)
    _check_size(item, number + 4, path)
    if len(item.shape) != 2:
        raise CheckpointError(
            f"{path}: {item.name} is quantized and has shape {item.shape}; wanted: a matrix"
        )
    (multiplier,) = struct.unpack("<f", content[number : number + 4])
    if not math.isfinite(multiplier) or multiplier == 0:
        raise CheckpointError(f"{path}: {item.name} is quantized with the multiplier {multiplier}")
    stored = torch.frombuffer(bytearray(content[:number]), dtype=torch.int8)
    values: Tensor = stored.to(torch.float32) / multiplier
    rows, columns = item.shape
    return values.view(rows, columns) if item.name in EMBEDDINGS else values.view(columns, rows).T


def _check_size(item: _Stored, least: int, path: Path) -> None:
    if item.size < least:
        raise CheckpointError(
            f"{path}: {item.name} of shape {item.shape} needs {least:,} bytes, and {item.size:,} are there"
        )


class _Reader:
    """Takes bytes off the beginning of a file; CheckpointError where there are not so many."""

    def __init__(self, data: memoryview, path: Path) -> None:
        self.data, self.path, self.position = data, path, 0

    def take(self, size: int) -> memoryview:
        """The next bytes."""
        if size > len(self.data) - self.position:
            raise CheckpointError(
                f"{self.path}: cut short, or no binary file of Marian: {size:,} bytes are wanted at byte "
                f"{self.position:,} of {len(self.data):,}"
            )
        start = self.position
        self.position += size
        return self.data[start : self.position]

    def numbers(self, count: int) -> tuple[int, ...]:
        """The next whole numbers of 64 bits."""
        return struct.unpack(f"<{count}Q", self.take(8 * count))
