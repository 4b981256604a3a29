"""A picture as the bytes of a PNG file, for pages that hold their pictures themselves."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

# Colour types of the PNG specification (ISO/IEC 15948, 11.2.2), by the number of channels.
_COLOUR_TYPES = {1: 0, 3: 2}


def as_png(picture: NDArray[np.float32]) -> bytes:
    """Pixels [height, width, 1 or 3] from 0 to 1, gray or red, green and blue, as a PNG file of 8 bits a channel."""
    height, width, channels = picture.shape
    pixels = (picture * 255).round().astype(np.uint8).reshape(height, -1)
    # Each row has the number of its filter before it: 0, none.
    rows = np.pad(pixels, ((0, 0), (1, 0))).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    """A chunk: its length, its name, its data, and the check sum of name and data."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
