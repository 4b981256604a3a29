"""Recordings: sound that is read a block at a time, so that long ones need no more memory than short ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from s2scli.console import counted
from s2scli.errors import DataError

Samples = NDArray[np.float32]

# Samples of one channel that are in memory at once.
BLOCK = 1 << 16
# Bytes from the beginning of a file by which its format is told.
HEAD = 256
# More than any microphone has, and fewer than a second in memory can do harm with.
HIGHEST_RATE = 1_000_000
# Samples go from -1 to 1, or where somebody forgot that, as far as 32 bits do; what is beyond is garbage.
_LOUDEST = 1e12


class Recording(ABC):
    """A format of sound, and one recording in it: a row of SOUND_FORMATS names a class of this.

    stream: the file, which can be read from anywhere; name: what messages call it. endings: those of the files' names.
    Constructors raise DataError where the data is not of the format, or cut short.

    rate: samples a second of each channel. num_samples: of one channel.
    """

    endings: ClassVar[tuple[str, ...]]

    name: str
    rate: int
    num_samples: int

    @abstractmethod
    def __init__(self, stream: BinaryIO, name: str) -> None: ...

    @staticmethod
    @abstractmethod
    def recognizes(head: bytes) -> bool:
        """Whether data that begins so is of this format; head: HEAD bytes, or all there are."""

    @abstractmethod
    def channels(self, start: int, number: int) -> NDArray[np.float32]:
        """Some samples of each channel, as they are stored; [num_samples, num_channels], from -1 to 1."""

    def read(self, start: int, number: int) -> Samples:
        """Some samples, the mean of all channels; [num_samples]. DataError where they are not there, or no numbers."""
        found = self.channels(start, number)
        if len(found) != number:
            raise DataError(
                f"{self.name}: cut short: it has {start + len(found):,} of {counted(self.num_samples, 'sample')}; "
                "take another copy of the file"
            )
        samples: Samples = found[:, 0] if found.shape[1] == 1 else found.mean(1, dtype=np.float32)
        # Written so that what is no number is not below either.
        if not (below := np.abs(samples) < _LOUDEST).all():
            first = int(np.flatnonzero(~below)[0])
            raise DataError(
                f"{self.name}: sample {start + first + 1:,} is {samples[first]:g}, which no sound is; mend or remove "
                "the file"
            )
        return samples

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Samples]:
        """Yield the samples from one to before another, a block at a time, which always ends at the same samples."""
        stop = self.num_samples if stop is None else stop
        for begin in range(start, stop, BLOCK):
            yield self.read(begin, min(BLOCK, stop - begin))


def check_rate(rate: int, name: str) -> int:
    """The rate of a recording; DataError for one that none has."""
    if not 0 < rate <= HIGHEST_RATE:
        raise DataError(
            f"{name}: says that it has {counted(rate, 'sample')} a second; take another copy of the file"
        )
    return rate
