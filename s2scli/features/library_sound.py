"""Recordings that the library soundfile reads: FLAC, Ogg Vorbis and Opus, MP3, NIST's SPHERE, AIFF, AU and more."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from s2scli.errors import DataError
from s2scli.features.recording import Recording, check_rate

_BEGINNINGS = (b"fLaC", b"OggS", b"ID3", b"NIST_1A", b"FORM", b".snd", b"caff", b"RIFX", b"RIFF")
# MP3 without a header begins with 11 bits that are set, and the layer: 3.
_MP3 = {b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xfa", b"\xff\xe3", b"\xff\xe2"}
# A frame of MP3, 1152 samples, is made of bits that may be as far before it as nine frames.
_MP3_LEAD = 20 * 1152


class LibraryRecording(Recording):
    """A recording that soundfile reads; DataError, with what to install, where that is missing."""

    endings = (".flac", ".ogg", ".oga", ".opus", ".mp3", ".sph", ".aiff", ".aif", ".au", ".snd", ".caf")

    def __init__(self, stream: BinaryIO, name: str) -> None:
        try:
            import soundfile
        except (ImportError, OSError):
            raise DataError(
                f"{name}: this format needs soundfile, which is not installed: pip install 's2scli[audio]' (or make a "
                f"wav file of it: ffmpeg -i FILE FILE.wav)"
            ) from None
        self.name = name
        self._error: type[Exception] = soundfile.SoundFileError
        stream.seek(0)
        try:
            self._file: Any = soundfile.SoundFile(stream)
        except self._error as error:
            raise self._broken(error) from None
        self.rate = check_rate(int(self._file.samplerate), name)
        self.num_samples = int(self._file.frames)
        # soundfile seeks after whatever it has read, and of MP3 the first samples after that are silent.
        self._lead = _MP3_LEAD if self._file.format in ("MP3", "MPEG") else 0

    @staticmethod
    def recognizes(head: bytes) -> bool:
        """Whether data begins as one of the formats."""
        return head.startswith(_BEGINNINGS) or head[:2] in _MP3

    def channels(self, start: int, number: int) -> NDArray[np.float32]:
        """Some samples of each channel; [num_samples, num_channels]."""
        try:
            lead = min(self._lead, start)
            self._file.seek(start - lead)
            found: NDArray[np.float32] = self._file.read(lead + number, dtype="float32", always_2d=True)[
                lead:
            ]
        except self._error as error:
            raise self._broken(error) from None
        return found

    def _broken(self, error: Exception) -> DataError:
        problem = " ".join(str(error).rpartition(": ")[2].split()).rstrip(".")
        return DataError(f"{self.name}: soundfile cannot read it: {problem}; take another copy of the file")
