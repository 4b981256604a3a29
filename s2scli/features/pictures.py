"""Pictures, read as a sequence: column by column, or patch by patch."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from s2scli.errors import DataError
from s2scli.features.extraction import Extracted, FrameReader, Utterance
from s2scli.features.fbank import FeatureArray
from s2scli.features.form import FeatureForm
from s2scli.features.opening import FileReference, open_file

Pixels = NDArray[np.float32]

# Netpbm's formats of whole numbers in bytes: gray and colour, with width, height and the largest value.
_NETPBM = re.compile(rb"P([56])(?:\s+|#[^\n]*\n)+(\d+)(?:\s+|#[^\n]*\n)+(\d+)(?:\s+|#[^\n]*\n)+(\d+)\s")
# More pixels than any camera's picture has, and no more than memory can do with.
_MOST_PIXELS = 1 << 28
# ITU-R BT.601: how light red, green and blue are.
_LIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)


class PictureFrames(FrameReader):
    """Frames of pictures: their columns from left to right, or square patches row by row (Dosovitskiy et al. 2021).

    A frame of a column has height · channels numbers, from the top down, a frame of a patch of p pixels p² · channels;
    they are from 0 to 1. The last patches of a row and column are completed by zeros. Pictures are gray or colour, as
    the first is; columns have its height.
    """

    @classmethod
    def settled(cls, form: FeatureForm, first: Utterance) -> FeatureForm:
        """Height and channels are those of the first picture."""
        height, _, channels = read_picture(first.resolved()[0]).shape
        pixels = form.patch_size**2 if form.patch_size else height
        return replace(form, channels=channels, num_features=pixels * channels * (1 + form.deltas))

    def read(self, utterance: Utterance, speed: float = 1.0) -> Extracted:
        """The frames of a picture, or of several side by side."""
        del speed
        if utterance.start is not None or utterance.end is not None:
            raise DataError("start and end are of recordings, and a picture has no seconds; leave them out")
        return Extracted(np.concatenate([self._frames(item) for item in utterance.resolved()]))

    def shown(self, frames: FeatureArray) -> Pixels:
        """Columns, or patches, of a picture side by side, [height, width, 1 or 3]."""
        form = self.form
        own = form.as_computed(frames)
        size = form.patch_size or own.shape[1] // form.channels
        found = own.reshape(len(own), size, -1, form.channels)  # [S, height, width, C]
        return found.transpose(1, 0, 2, 3).reshape(size, -1, form.channels)

    def _frames(self, reference: FileReference) -> Pixels:
        picture = _with_channels(read_picture(reference), self.form.channels)
        size = self.form.patch_size
        if not size:
            frames = picture.transpose(1, 0, 2).reshape(picture.shape[1], -1)  # [W, H · C]
            if frames.shape[1] != (wanted := self.form.num_features // (1 + self.form.deltas)):
                raise DataError(
                    f"{reference}: is {picture.shape[0]:,} pixels high, and those before are "
                    f"{wanted // self.form.channels:,}; scale all to one height, or read patches: --patch-size"
                )
            return frames
        height, width, channels = picture.shape
        picture = np.pad(picture, ((0, -height % size), (0, -width % size), (0, 0)))
        rows, columns = picture.shape[0] // size, picture.shape[1] // size
        patches = picture.reshape(rows, size, columns, size, channels).transpose(0, 2, 1, 3, 4)
        return patches.reshape(rows * columns, -1)  # [patches, p · p · C]


def read_picture(reference: FileReference) -> Pixels:
    """A picture, [height, width, 1 or 3], from 0 to 1; DataError where it is none, or a library is missing."""
    with open_file(reference) as (stream, _):
        picture = _read_netpbm(stream, str(reference))
        return _read_with_library(stream, str(reference)) if picture is None else picture


def _with_channels(picture: Pixels, channels: int) -> Pixels:
    """A picture in so many channels: gray is as light as its colours are, and the same in all colours."""
    if picture.shape[2] == channels:
        return picture
    return (picture @ _LIGHTNESS)[..., None] if channels == 1 else picture.repeat(channels, axis=2)


def _scaled(values: NDArray[np.uint8 | np.uint16], largest: int) -> Pixels:
    """Whole numbers up to the largest, as numbers from 0 to 1."""
    return np.divide(values, largest, dtype=np.float32)


def _read_netpbm(stream: BinaryIO, name: str) -> Pixels | None:
    """A picture of Netpbm's binary formats; None where the stream is none, which then stands at its beginning."""
    head = stream.read(1024)
    match = _NETPBM.match(head)
    stream.seek(0)
    if match is None:
        return None
    width, height, largest = (int(match[group][:9]) for group in (2, 3, 4))
    channels = 1 if match[1] == b"5" else 3
    if not 0 < largest < 256 or not 0 < width * height <= _MOST_PIXELS:
        raise DataError(
            f"{name}: {width} × {height} pixels up to {largest}; allowed: 1 to 255, and some pixels"
        )
    stream.seek(match.end())
    data = np.frombuffer(stream.read(width * height * channels), np.uint8)
    if len(data) < width * height * channels:
        raise DataError(f"{name}: cut short: {len(data):,} bytes are there of {width * height * channels:,}")
    return _scaled(data.reshape(height, width, channels), largest)


def _read_with_library(stream: BinaryIO, name: str) -> Pixels:
    """A picture of any format that Pillow reads."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise DataError(
            f"{name}: is no .pgm or .ppm, and other pictures need Pillow, which is not installed: pip install "
            "'s2scli[image]'"
        ) from None
    try:
        with Image.open(stream) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise DataError(f"{name}: has more pixels than a picture; scale it")
            if picture.mode in ("I", "F"):
                raise DataError(
                    f"{name}: is gray in 32 bits, of which nothing says what is white; make it 8 or 16 bits"
                )
            if picture.mode.startswith("I;16"):
                # Pillow would cut them off at 255.
                pixels = _scaled(np.asarray(picture), (1 << 16) - 1)
            else:
                gray = picture.mode in ("1", "L", "LA")
                pixels = _scaled(np.asarray(picture.convert("L" if gray else "RGB")), 255)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{name}: is no picture that can be read: {error}; take another copy of the file"
        ) from None
    return pixels[..., None] if pixels.ndim == 2 else pixels
