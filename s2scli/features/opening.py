"""Opening what manifests refer to: recordings and matrices of features, in files of their own or within others."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from s2scli.components import MATRIX_FORMATS, SOUND_FORMATS
from s2scli.errors import DataError
from s2scli.features.arrays import BROKEN_ARCHIVE
from s2scli.features.fbank import FeatureArray
from s2scli.features.recording import HEAD, Recording
from s2scli.registry import Registry
from s2scli.schema import to_whole

# Files that hold several things, and what says which: x.zip:OFFSET:LENGTH, x.ark:OFFSET, x.npz:NAME.
_WITHIN = re.compile(r"(.+?\.(?:zip|ark|npz|safetensors)):(.+)")
_IN_ZIP = re.compile(r"(\d+):(\d+)")
# What is larger than this within a zip archive is no utterance.
_LARGEST = 1 << 32


class FileReference(NamedTuple):
    """A file, and which part of it, or nothing; data: what is in it, where it is in memory and not read."""

    path: Path
    part: str
    data: bytes | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.part}" if self.part else str(self.path)


def resolve(text: str, folder: Path) -> FileReference:
    """What a reference in a manifest is to; its path is relative to a folder, that of the manifest.

    Raises DataError for what is missing, and for a command, "sox … |", which Kaldi would run.
    """
    text = text.strip()
    if text.endswith("|") or text.startswith("|"):
        raise DataError(
            f"{text}: is a command, and none is run; run it yourself, keep what it writes in a file and name that"
        )
    path, part = folder / text, ""
    if not path.is_file() and (match := _WITHIN.fullmatch(text)):
        path, part = folder / match[1], match[2]
    if not path.is_file():
        raise DataError(f"{path}: {'is no file' if path.exists() else 'no such file'}")
    return FileReference(path, part)


def resolve_all(text: str, folder: Path) -> list[FileReference]:
    """What one reference is to, or several with blanks between them, where no file has such a name.

    Raises DataError for what is missing.
    """
    if (
        len(parts := text.split()) > 1
        and not text.strip().endswith("|")
        and not (folder / text.strip()).is_file()
    ):
        try:
            return [resolve(part, folder) for part in parts]
        except DataError as error:
            raise DataError(f"{error}, nor is there a file {folder / text.strip()}") from None
    return [resolve(text, folder)]


@contextmanager
def open_recording(reference: FileReference) -> Iterator[Recording]:
    """Open a recording; DataError where it is none, or in a format that cannot be read, and what to do about it."""
    with open_file(reference) as (stream, part):
        if part:
            raise DataError(f"{reference}: is within a file of features, and no recording")
        yield recording_in(stream, str(reference))


def recording_in(stream: BinaryIO, name: str) -> Recording:
    """The recording that a stream holds, which can be read from anywhere; name: what messages call it."""
    found: Recording = _format_of(stream, name, SOUND_FORMATS, MATRIX_FORMATS)(stream, name)
    return found


def read_matrix(reference: FileReference) -> FeatureArray:
    """The features of an utterance, [num_frames, F]; DataError where they are none, or not finite."""
    name = str(reference)
    with open_file(reference) as (stream, part):
        form = _format_of(stream, str(reference.path), MATRIX_FORMATS, SOUND_FORMATS)
        found = form.read(stream, str(reference.path), part)
    if found.ndim != 2:
        raise DataError(f"{name}: is an array of shape {found.shape}; wanted: [frames, features]")
    frames = np.ascontiguousarray(found, np.float32)
    if not np.isfinite(frames).all():
        row, column = (int(place) + 1 for place in np.argwhere(~np.isfinite(frames))[0])
        raise DataError(
            f"{name}: feature {column} of frame {row:,} is not a finite number; mend or remove it"
        )
    return frames


@contextmanager
def open_file(reference: FileReference) -> Iterator[tuple[BinaryIO, str]]:
    """A stream of what a reference is to, at its beginning, and what the format is to find in it."""
    if reference.data is not None:
        yield io.BytesIO(reference.data), reference.part
        return
    try:
        with reference.path.open("rb") as stream:
            if reference.path.suffix == ".zip" and reference.part:
                yield io.BytesIO(_from_zip(stream, reference)), ""
            else:
                yield stream, reference.part
    except OSError as error:
        raise DataError(f"{reference.path}: cannot read: {error.strerror or error}") from None


def _from_zip(stream: BinaryIO, reference: FileReference) -> bytes:
    """What is stored in a zip archive, at an offset with a length as fairseq has it, or under a name."""
    match = _IN_ZIP.fullmatch(reference.part)
    if match is None:
        try:
            with zipfile.ZipFile(stream) as archive:
                if archive.getinfo(reference.part).file_size > _LARGEST:
                    raise DataError(f"{reference}: is larger than any utterance")
                return archive.read(reference.part)
        except BROKEN_ARCHIVE as error:
            raise DataError(
                f"{reference}: {error}; wanted: FILE.zip:OFFSET:LENGTH, or FILE.zip:NAME"
            ) from None
    offset, length = to_whole(match[1]), to_whole(match[2])
    if length > _LARGEST or offset + length > stream.seek(0, io.SEEK_END):
        raise DataError(
            f"{reference}: goes beyond the end of the file; make the manifest anew for this archive"
        )
    stream.seek(offset)
    return stream.read(length)


def _format_of(stream: BinaryIO, name: str, formats: Registry, others: Registry) -> Any:
    """The class of the format that a stream is of: the first that recognizes it, or else by the name's ending."""
    head = stream.read(HEAD)
    stream.seek(0)
    for row in formats:
        if formats[row].recognizes(head):
            return formats[row]
    if not head:
        raise DataError(f"{name}: the file is empty")
    if head[4:8] == b"ftyp" or head.startswith(b"\x1aE\xdf\xa3"):
        raise DataError(
            f"{name}: is a video or AAC; make a wav file of it: ffmpeg -i {Path(name).name} -vn FILE.wav"
        )
    for row in others:
        if others[row].recognizes(head):
            other = (
                "--source-type features reads it"
                if others is MATRIX_FORMATS
                else "--source-type audio reads it"
            )
            raise DataError(f"{name}: is of the format {row}; {other}")
    for row in formats:
        if Path(name.partition(":")[0]).suffix.lower() in formats[row].endings:
            return formats[row]
    raise DataError(
        f"{name}: of no format that is known: {', '.join(formats)}; ffmpeg -i FILE FILE.wav makes a wav file"
    )
