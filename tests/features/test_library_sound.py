from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from s2scli.errors import DataError
from s2scli.features.opening import open_recording, recording_in, resolve
from s2scli.features.recording import Samples

RATE = 16_000
SAMPLES = (0.5 * np.sin(np.arange(100_000) / 20) * np.linspace(0, 1, 100_000)).astype(np.float32)


def read(path: Path) -> tuple[int, Samples]:
    with open_recording(resolve(path.name, path.parent)) as recording:
        found = np.concatenate(list(recording.blocks()))
        assert len(found) == recording.num_samples
        return recording.rate, found


@pytest.mark.parametrize(
    ("name", "kind", "error"),
    [
        ("a.flac", "PCM_16", 2**-15),
        ("a.flac", "PCM_24", 2**-23),
        ("a.ogg", "VORBIS", 0.05),
        ("a.mp3", "MPEG_LAYER_III", 0.05),
        ("a.wav", "ULAW", 0.02),
        ("a.wav", "PCM_16", 2**-15),
        ("a.wav", "FLOAT", 0),
        ("a.aiff", "PCM_16", 2**-15),
    ],
)
def test_what_soundfile_writes_is_read(name: str, kind: str, error: float, tmp_path: Path) -> None:
    soundfile.write(tmp_path / name, SAMPLES, RATE, subtype=kind)
    rate, found = read(tmp_path / name)
    assert rate == RATE
    np.testing.assert_allclose(found[: len(SAMPLES)], SAMPLES, atol=error)


def test_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.stack([SAMPLES, 0 * SAMPLES], axis=1), RATE, subtype="PCM_24")
    np.testing.assert_allclose(read(tmp_path / "a.flac")[1], SAMPLES / 2, atol=2**-22)


def test_a_segment_is_read_alone(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", SAMPLES, RATE, subtype="PCM_24")
    with open_recording(resolve("a.flac", tmp_path)) as recording:
        np.testing.assert_allclose(
            np.concatenate(list(recording.blocks(50_001, 50_101))), SAMPLES[50_001:50_101], atol=2**-22
        )


def test_a_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", SAMPLES, RATE)
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"a\.flac: .*another copy"):
        read(tmp_path / "a.flac")
    with pytest.raises(DataError, match=r"b\.flac: soundfile cannot read it"):
        recording_in(io.BytesIO(data[:20]), "b.flac")


def test_without_soundfile_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.flac", SAMPLES, RATE)
    soundfile.write(tmp_path / "a.wav", SAMPLES, RATE)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(DataError, match=r"a\.flac: .*pip install 's2scli\[audio\]'"):
        read(tmp_path / "a.flac")
    assert read(tmp_path / "a.wav")[0] == RATE
