"""As many lines out as there are files in, in order, whatever is in the files and whatever they are called."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from recordings import tone

RATE = 8000


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A RIFF file of chunks, each of which has an even length."""
    body = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def sound(samples: np.ndarray, codec: int = 1, channels: int = 1, rate: int = RATE) -> bytes:
    """A wav file of samples of any type, with the number that names the codec."""
    width = samples.dtype.itemsize
    form = struct.pack("<HHIIHH", codec, channels, rate, rate * channels * width, channels * width, 8 * width)
    return riff((b"fmt ", form), (b"data", samples.tobytes()))


def pcm(samples: np.ndarray, channels: int = 1, rate: int = RATE, width: int = 2) -> bytes:
    """A wav file as Python's own module writes it."""
    found = io.BytesIO()
    with wave.open(found, "wb") as stream:
        stream.setparams((channels, width, rate, 0, "NONE", ""))
        stream.writeframes(samples.tobytes())
    return found.getvalue()


def good(seed: int) -> Iterator[tuple[str, bytes]]:
    """What can be read, however odd."""
    plain = tone("two", seed)
    as_float = (plain / 32768).astype("<f4")
    yield "plain", pcm(plain)
    yield "with two channels", pcm(np.repeat(plain, 2), channels=2)
    yield "at 44.1 kHz", pcm(tone("one", seed, 44100), rate=44100)
    yield "at 11,025 Hz", pcm(tone("one", seed, 11025), rate=11025)
    yield "of 5 samples", pcm(plain[:5])
    yield "of 1 sample", pcm(plain[:1])
    yield "of 8 bits", pcm((plain // 256 + 128).astype("u1"), width=1)
    yield "of 24 bits", pcm((plain.astype("<i4") << 16).view("u1").reshape(-1, 4)[:, 1:], width=3)
    yield "of 32 bits", pcm(plain.astype("<i4") << 16, width=4)
    yield "of floats", sound(as_float, codec=3)
    yield "of doubles", sound(as_float.astype("<f8"), codec=3)
    yield "as loud as can be", pcm(np.where(np.arange(4000) % 40 < 20, 32767, -32768).astype("<i2"))
    yield "of silence", pcm(np.zeros(4000, "<i2"))
    yield "of silence as floats", sound(np.zeros(4000, "<f4"), codec=3)
    yield (
        "with notes",
        riff((b"LIST", b"INFOISFT\x05\0\0\0odd!\0"), *((name, data) for name, data in chunks(pcm(plain)))),
    )


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a RIFF file."""
    at = 12
    while at < len(data):
        (size,) = struct.unpack("<I", data[at + 4 : at + 8])
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def bad(seed: int) -> Iterator[tuple[str, bytes | None, str]]:
    """What cannot be read, and a word of what is said of it; None: there is no file."""
    whole = pcm(tone("three", seed))
    floats = np.full(2000, np.nan, "<f4")
    yield "missing", None, "no such file"
    yield "empty", b"", "is empty"
    yield "cut in its samples", whole[:900], "cut short"
    yield "cut in its header", whole[:30], ""
    yield "cut in its first word", whole[:3], ""
    yield "of text", b"no sound at all\n" * 50, "wav file"
    yield "of random bytes", np.random.default_rng(seed).bytes(3000), "wav file"
    yield "with an unknown codec", sound(tone("one", seed), codec=0x161), ""
    yield "of no samples", pcm(np.zeros(0, "<i2")), "no samples"
    yield "of floats that are no numbers", sound(floats, codec=3), ""
    yield "of huge floats", sound(tone("one", seed) * np.float32(1e30), codec=3), "which no sound is"
    yield "of infinite floats", sound(np.full(2000, np.inf, "<f4"), codec=3), ""
    yield "of no channel", sound(tone("one", seed), channels=0), ""
    yield "at no rate", sound(tone("one", seed), rate=0), ""
    yield "of an array", npy(np.zeros((4, 16))), "--source-type features reads it"


def npy(array: np.ndarray) -> bytes:
    """An array as numpy saves it."""
    found = io.BytesIO()
    np.save(found, array)
    return found.getvalue()


NAMES = (
    "{}",
    "{} with  blanks ",
    "'{}' \"quoted\"",
    "{};rm -rf $HOME `x`",
    "\x1b[31m{}\x1b[0m",
    "-{}",
    "ü中{}\u202e",
    "{}%s{{}}\\n*?",
    "{}|",
    "a:{}:0:9",
)


@pytest.mark.slow
def test_of_300_odd_files_each_has_a_line_in_order_and_each_bad_one_is_named(
    speech: Path, tmp_path: Path
) -> None:
    names: list[str] = []
    wanted: dict[int, str] = {}
    for seed, pattern in enumerate(NAMES):
        cases = [(kind, data, None) for kind, data in good(seed)] + list(bad(seed))
        for kind, data, problem in cases:
            name = f"{len(names):03d} {pattern.format(kind)}.wav"
            if problem is not None:
                wanted[len(names)] = problem
            if data is not None:
                (tmp_path / name).write_bytes(data)
            names.append(name)
    assert len(names) == 300
    found = subprocess.run(
        [
            sys.executable,
            "-m",
            "s2scli",
            "generate",
            "--path",
            str(speech / "run"),
            "--verbose",
            "--beam",
            "2",
        ],
        input="".join(f"{name}\n" for name in names).encode(),
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    errors = found.stderr.decode("utf-8")
    assert found.returncode == 0, errors
    assert "Traceback" not in errors
    lines = found.stdout.decode("utf-8").split("\n")
    assert lines.pop() == ""
    assert len(lines) == 300
    warnings = errors.splitlines()
    for number, line in enumerate(lines):
        own = [warning for warning in warnings if f"line {number + 1}: " in warning]
        if number in wanted:
            assert line == "", names[number]
            assert len(own) == 1, (names[number], own)
            assert wanted[number] in own[0], (names[number], own)
            assert names[number] in own[0]
            assert own[0].endswith("; its output is empty")
        else:
            assert own == [], names[number]
