from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from s2scli.errors import DataError
from s2scli.features.opening import FileReference, open_recording, recording_in
from s2scli.features.recording import Recording

FORMATS = [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)]


def riff(
    form: bytes, data: bytes, *, before: bytes = b"", after: bytes = b"", size: int | None = None
) -> bytes:
    """A file written byte by byte: chunks before, the format, the samples, chunks after."""
    size = len(data) if size is None else size
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", size) + data + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


def form_of(codec: int, channels: int, rate: int, bits: int) -> bytes:
    width = channels * bits // 8
    return struct.pack("<HHIIHH", codec, channels, rate, rate * width, width, bits)


def extensible(codec: int, channels: int, rate: int, bits: int) -> bytes:
    tail = bytes.fromhex("000000001000800000aa00389b71")
    return form_of(0xFFFE, channels, rate, bits) + struct.pack("<HHIH", 22, bits, 0, codec) + tail


def stored(values: list[float], codec: int, bits: int) -> bytes:
    """Numbers from -1 to below 1 as the format has them."""
    if codec == 3:
        return struct.pack(f"<{len(values)}{'f' if bits == 32 else 'd'}", *values)
    if bits == 8:
        return bytes(round(value * 128) + 128 for value in values)
    whole = [round(value * 2 ** (bits - 1)) for value in values]
    return b"".join(number.to_bytes(bits // 8, "little", signed=True) for number in whole)


def opened(data: bytes) -> Recording:
    return recording_in(io.BytesIO(data), "a.wav")


@pytest.mark.parametrize(("codec", "bits"), FORMATS)
@pytest.mark.parametrize("form", [form_of, extensible])
def test_every_format_gives_the_same_numbers(codec: int, bits: int, form: type) -> None:
    values = [0.0, 0.5, -0.5, -1.0, 0.25, 0.9921875]
    found = opened(riff(form(codec, 1, 8000, bits), stored(values, codec, bits)))
    assert (found.rate, found.num_samples) == (8000, 6)
    np.testing.assert_array_equal(found.read(0, 6), np.array(values, np.float32))
    np.testing.assert_array_equal(found.read(2, 3), np.array(values[2:5], np.float32))


def test_channels_are_averaged() -> None:
    data = stored([0.5, -0.25, 0.25, 0.25, -1.0, 0.0], 1, 16)
    found = opened(riff(form_of(1, 2, 8000, 16), data))
    np.testing.assert_array_equal(found.read(0, 3), [0.125, 0.25, -0.5])


def test_it_reads_what_python_writes(tmp_path: Path) -> None:
    whole = np.random.default_rng(1).integers(-32768, 32768, 200_000).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as stream:
        stream.setparams((1, 2, 16000, 0, "NONE", ""))
        stream.writeframes(whole.tobytes())
    with open_recording(FileReference(tmp_path / "a.wav", "")) as recording:
        found = np.concatenate(list(recording.blocks()))
        part = np.concatenate(list(recording.blocks(70_000, 140_001)))
    np.testing.assert_array_equal(found, whole / 32768)
    np.testing.assert_array_equal(part, whole[70_000:140_001] / 32768)


def test_other_chunks_are_passed_over() -> None:
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    data = stored([0.5, 0.25], 1, 16)
    found = opened(riff(form_of(1, 1, 8000, 16), data, before=odd, after=odd))
    np.testing.assert_array_equal(found.read(0, 2), [0.5, 0.25])


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_what_was_written_to_a_pipe_goes_to_the_end_of_the_file(size: int) -> None:
    found = opened(riff(form_of(1, 1, 8000, 16), stored([0.5, 0.25], 1, 16), size=size))
    assert found.num_samples == 2


def test_sizes_of_64_bits_are_read() -> None:
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 0, 4, 2, 0)
    data = riff(form_of(1, 1, 8000, 16), stored([0.5, 0.25], 1, 16), before=sizes, size=0xFFFFFFFF)
    found = opened(b"RF64" + data[4:] + b"LIST\x02\0\0\0ab")
    np.testing.assert_array_equal(found.read(0, 2), [0.5, 0.25])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (riff(form_of(1, 1, 8000, 16), b"\0" * 10, size=20), "cut short: it has 5 of 10 samples"),
        (riff(form_of(1, 1, 8000, 16), b"")[:30], "cut short"),
        (riff(form_of(1, 1, 8000, 16), b"")[:36], "does not say samples"),
        (b"RIFF\x04\0\0\0WAVEdata\0\0\0\0", "does not say how its samples are stored"),
        (riff(form_of(1, 0, 8000, 16), b""), "0 channels of 16 bits take 0 bytes"),
        (riff(struct.pack("<HHIIHH", 1, 1, 8000, 16000, 3, 16), b""), "1 channels of 16 bits take 3 bytes"),
        (riff(form_of(1, 1, 0, 16), b"\0\0"), "0 samples a second"),
        (riff(form_of(1, 1, 2_000_000_000, 16), b"\0\0"), "2,000,000,000 samples a second"),
        (riff(form_of(0x55, 1, 8000, 16), b"\0\0", before=b"junk\x02\0\0\0ab"), "its codec is 0x0055"),
    ],
)
def test_what_is_broken_is_named(data: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=rf"^a\.wav: .*{problem}"):
        opened(data)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e30])
def test_what_is_no_number_is_named(wrong: float) -> None:
    found = opened(riff(form_of(3, 1, 8000, 32), stored([0.5, wrong, 0.5], 3, 32)))
    with pytest.raises(DataError, match=r"^a\.wav: sample 2 is (nan|inf|1e\+30), which no sound is"):
        found.read(0, 3)


def test_what_is_cut_while_it_is_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(riff(form_of(1, 1, 8000, 16), b"\0" * 300_000))
    with open_recording(FileReference(tmp_path / "a.wav", "")) as recording:
        blocks = recording.blocks()
        next(blocks)
        with (tmp_path / "a.wav").open("rb+") as stream:
            stream.truncate(200_000)
        with pytest.raises(DataError, match="cut short"):
            list(blocks)
