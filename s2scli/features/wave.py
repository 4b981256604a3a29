"""Recordings in RIFF files, .wav: whole numbers of 8 to 32 bits and floating-point numbers, in any number of channels.

The format is that of Microsoft's "Multimedia Programming Interface and Data Specifications 1.0", with the extensible
header of "Multiple channel audio data and WAVE files", and the 64-bit sizes of EBU Tech 3306 (RF64).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2scli.console import counted
from s2scli.errors import DataError
from s2scli.features.recording import Recording, check_rate

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_FORMAT_SIZE = 40
_UNKNOWN_SIZE = 0x7FFF0000
_MOST_CHANNELS = 1024
_ANOTHER = "take another copy of the file"


class WaveFormat(NamedTuple):
    """How samples are stored: codec, channels, samples a second, bytes of a sample of all channels, bits of one."""

    codec: int
    num_channels: int
    rate: int
    frame_bytes: int
    bits: int


class WaveRecording(Recording):
    """A recording in a RIFF file whose samples are plain numbers."""

    endings = (".wav", ".wave")

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self.name = name
        self._stream = stream
        self._format, self._first, size = _find_samples(stream, name)
        self.rate = check_rate(self._format.rate, name)
        self.num_samples = size // self._format.frame_bytes

    @staticmethod
    def recognizes(head: bytes) -> bool:
        """Whether data begins as such a file; what has another codec is for the library of all others."""
        if not _is_wave(head):
            return False
        form = head[20:] if head[12:16] == b"fmt " else b""
        return len(form) < _FORMAT_SIZE or _conversion(_format_of(form)) is not None

    def channels(self, start: int, number: int) -> NDArray[np.float32]:
        """Some samples of each channel; [num_samples, num_channels]."""
        size = self._format.frame_bytes
        self._stream.seek(self._first + start * size)
        data = self._stream.read(number * size)
        data = data[: len(data) // size * size]
        converted = _conversion(self._format)
        assert converted is not None
        return converted(data, self._format.bits).reshape(-1, self._format.num_channels)


def _is_wave(head: bytes) -> bool:
    return head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE"


def _find_samples(stream: BinaryIO, name: str) -> tuple[WaveFormat, int, int]:
    """How samples are stored, where the first is in the file, and how many bytes there are of them."""
    total = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    head = stream.read(12)
    if not _is_wave(head):
        raise DataError(f"{name}: is no wav file; {_ANOTHER}")
    form: WaveFormat | None = None
    said_of_all, long_size = int.from_bytes(head[4:8], "little"), 0
    while len(chunk := stream.read(8)) == 8:
        kind, size = struct.unpack("<4sI", chunk)
        here = stream.tell()
        if kind == b"ds64":
            long_size = int.from_bytes(stream.read(16)[8:], "little")
        elif kind == b"fmt ":
            form = _checked_format(stream.read(min(size, _FORMAT_SIZE)), name)
        elif kind == b"data":
            if form is None:
                break
            # What writes to a pipe does not know how much will come, and says none, or as much as there can be.
            unknown = not long_size and (said_of_all == 0 or size >= _UNKNOWN_SIZE)
            size = total - here if unknown else long_size or size
            if size > total - here:
                there, said = (total - here) // form.frame_bytes, size // form.frame_bytes
                raise DataError(
                    f"{name}: cut short: it has {there:,} of {counted(said, 'sample')}; {_ANOTHER}"
                )
            return form, here, size
        # Chunks begin at even places.
        stream.seek(here + size + size % 2)
    what = "how its samples are stored" if form is None else "samples"
    raise DataError(f"{name}: cut short, or broken: the file does not say {what}; {_ANOTHER}")


def _format_of(data: bytes) -> WaveFormat:
    """The format that a chunk says, of 16 bytes or more."""
    codec, channels, rate, _, frame_bytes, bits = struct.unpack("<HHIIHH", data[:16])
    if codec == _EXTENSIBLE and len(data) >= 26:
        # The first two bytes of the sub-format are what the codec would be.
        codec = int.from_bytes(data[24:26], "little")
    return WaveFormat(codec, channels, rate, frame_bytes, bits)


def _checked_format(data: bytes, name: str) -> WaveFormat:
    """The format that a chunk says; DataError where that is none of ours, or contradicts itself."""
    if len(data) < 16:
        raise DataError(f"{name}: cut short: half of its format is missing; {_ANOTHER}")
    form = _format_of(data)
    if _conversion(form) is None:
        raise DataError(
            f"{name}: its codec is {form.codec:#06x} with {form.bits} bits; make plain numbers of it: "
            "ffmpeg -i FILE -c:a pcm_s16le FILE.wav"
        )
    if not 0 < form.num_channels <= _MOST_CHANNELS or form.frame_bytes != form.num_channels * -(
        -form.bits // 8
    ):
        raise DataError(
            f"{name}: says that {form.num_channels} channels of {form.bits} bits take {form.frame_bytes} bytes; "
            f"{_ANOTHER}"
        )
    return form


Converted = Callable[[bytes, int], NDArray[np.float32]]


def _conversion(form: WaveFormat) -> Converted | None:
    """What makes numbers from -1 to 1 of stored bytes; None where the codec is none of ours."""
    if form.codec == _PCM and 0 < form.bits <= 32:
        return _from_whole
    return _from_float if form.codec == _FLOAT and form.bits in (32, 64) else None


def _from_whole(data: bytes, bits: int) -> NDArray[np.float32]:
    """Whole numbers of so many bits, over their largest: of 8 bits from 0 to 255, of others with a sign."""
    size = -(-bits // 8)
    if size == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    if size == 3:
        # The three bytes become the upper ones of four.
        parts = np.zeros((len(data) // 3, 4), np.uint8)
        parts[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data, size = parts.tobytes(), 4
    return np.frombuffer(data, f"<i{size}").astype(np.float32) / np.float32(2.0 ** (8 * size - 1))


def _from_float(data: bytes, bits: int) -> NDArray[np.float32]:
    """Floating-point numbers as they are."""
    return np.frombuffer(data, f"<f{bits // 8}").astype(np.float32)
