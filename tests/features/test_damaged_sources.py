"""Recordings and features with bytes changed, cut and put in: each is read, or is one clear line."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import save

from s2scli.errors import DataError
from s2scli.features.fbank import Filterbank
from s2scli.features.opening import open_recording, read_matrix, resolve
from s2scli.features.resampling import Resampler


def sources() -> dict[str, bytes]:
    """A file of each format, by its name."""
    matrix = np.random.default_rng(1).normal(0, 3, (9, 4)).astype("<f4")
    sound = (0.3 * np.sin(np.arange(3000) / 7)).astype(np.float32)
    found: dict[str, bytes] = {}
    for name, kind, subtype in (
        ("pcm.wav", "WAV", "PCM_16"),
        ("float.wav", "WAV", "FLOAT"),
        ("extensible.wav", "WAVEX", "PCM_24"),
        ("law.wav", "WAV", "ULAW"),
        ("a.flac", "FLAC", "PCM_16"),
        ("a.ogg", "OGG", "VORBIS"),
    ):
        stream = io.BytesIO()
        soundfile.write(stream, sound, 8000, format=kind, subtype=subtype)
        found[name] = stream.getvalue()
    for name, write in (("a.npy", np.save), ("a.npz", np.savez), ("small.npz", np.savez_compressed)):
        stream = io.BytesIO()
        write(stream, matrix)
        found[name] = stream.getvalue()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.npy", found["a.npy"])
    found["a.zip"] = stream.getvalue()
    found["a.safetensors"] = save({"a": matrix})
    found["a.ark"] = b"\0BFM \4" + struct.pack("<i", 9) + b"\4" + struct.pack("<i", 4) + matrix.tobytes()
    found["small.ark"] = b"\0BCM " + struct.pack("<ffii", -1, 2, 9, 4) + bytes(range(32)) + bytes(36)
    found["text.ark"] = b" [ 1 2\n 3 4 ]\n"
    return found


def damaged(data: bytes, draw: random.Random) -> bytes:
    """The data with a few changes, most of them near its beginning, where headers are."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(1 + min(len(changed), 80 if draw.random() < 0.7 else len(changed)))
        match draw.randrange(4):
            case 0:
                changed[place : place + 1] = bytes([draw.choice((0, 255, draw.randrange(256)))])
            case 1:
                del changed[draw.randrange(1 + len(changed)) :]
            case 2:
                changed[place:place] = draw.randbytes(draw.randrange(9))
            case 3:
                del changed[place : place + draw.randrange(9)]
    return bytes(changed)


def problem_with(reference: str, folder: Path) -> str:
    """What is said of a source that cannot be read; nothing where it is read, and is finite numbers."""
    try:
        if reference.endswith((".wav", ".flac", ".ogg")):
            with open_recording(resolve(reference, folder)) as recording:
                if recording.num_samples < 10**6 and recording.rate > 100:
                    blocks = Resampler(recording.rate, 8000)(recording.blocks())
                    assert all(np.isfinite(item).all() for item in Filterbank(8000, 8).frames(blocks))
        else:
            assert np.isfinite(read_matrix(resolve(reference, folder))).all()
    except DataError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("number", [30, pytest.param(3000, marks=pytest.mark.slow)])
def test_damage_is_a_line_at_most(number: int, tmp_path: Path) -> None:
    draw, outcomes = random.Random(5), {True: 0, False: 0}
    for name, data in sources().items():
        reference = f"{name}:a.npy" if name == "a.zip" else f"{name}:0" if name.endswith(".ark") else name
        for trial in range(number):
            (tmp_path / name).write_bytes(damaged(data, draw) if trial else data)
            problem = problem_with(reference, tmp_path)
            outcomes[not problem] += 1
            assert "\n" not in problem
            assert not problem or (trial and problem.startswith(str(tmp_path / name))), problem
    assert min(outcomes.values()) > number
