from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from s2scli.errors import DataError
from s2scli.features.deltas import add_deltas
from s2scli.features.extraction import AudioFrames, Extracted, FrameReader, Utterance, frame_reader
from s2scli.features.fbank import FeatureArray, Filterbank
from s2scli.features.form import FeatureForm
from s2scli.features.recording import Samples
from s2scli.features.resampling import Resampler
from s2scli.features.statistics import Statistics, normalized_by_itself

FORM = FeatureForm(source_type="audio", num_mel_bins=40, num_features=40)
GIVEN = FeatureForm(source_type="features", num_features=4, cmvn="none", dtype="float32")


def write_wav(path: Path, samples: Samples, rate: int = 8000) -> None:
    with wave.open(str(path), "wb") as stream:
        stream.setparams((1, 2, rate, 0, "NONE", ""))
        stream.writeframes((samples * 32767).astype("<i2").tobytes())


def noise(number: int, seed: int) -> Samples:
    whole = np.random.default_rng(seed).integers(-9000, 9000, number)
    return (whole / 32767).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_wav(tmp_path / "a.wav", noise(8000, 1))
    write_wav(tmp_path / "b.wav", noise(3000, 2))
    write_wav(tmp_path / "fast.wav", noise(16000, 3), 16000)
    write_wav(tmp_path / "short.wav", noise(50, 4))
    write_wav(tmp_path / "empty.wav", noise(0, 5))
    np.save(tmp_path / "a.npy", np.arange(40, dtype=np.float32).reshape(10, 4))
    np.save(tmp_path / "b.npy", -np.arange(12, dtype=np.float32).reshape(3, 4))
    np.save(tmp_path / "wide.npy", np.zeros((3, 5)))
    np.save(tmp_path / "none.npy", np.zeros((0, 4)))
    return tmp_path


def reader(folder: Path, form: FeatureForm = FORM) -> FrameReader:
    return frame_reader(AudioFrames.settled(form, Utterance(references=("a.wav",), folder=folder)))


def read(
    folder: Path, *names: str, form: FeatureForm = FORM, speed: float = 1.0, **times: float
) -> Extracted:
    made = reader(folder, form) if form.source_type == "audio" else frame_reader(form)
    return made.read(Utterance(references=names, folder=folder, **times), speed)


def filtered(samples: Samples, rate: int = 8000) -> FeatureArray:
    return np.concatenate(list(Filterbank(rate, 40).frames([samples])))


def stored(number: int, seed: int) -> Samples:
    """The noise as a file of 16 bits has it."""
    return ((noise(number, seed) * 32767).astype("<i2") / 32768).astype(np.float32)


def test_files_are_joined_as_sound(folder: Path) -> None:
    found = read(folder, "a.wav", "b.wav", "a.wav")
    joined = np.concatenate([stored(8000, 1), stored(3000, 2), stored(8000, 1)])
    np.testing.assert_allclose(found.frames, filtered(joined), atol=1e-5)
    assert not found.resampled
    assert not found.padded


def test_segments_are_cut_out(folder: Path) -> None:
    found = read(folder, "a.wav", start=0.25, end=0.5)
    np.testing.assert_allclose(found.frames, filtered(stored(8000, 1)[2000:4000]), atol=1e-5)
    to_the_end = filtered(stored(8000, 1)[2000:])
    np.testing.assert_allclose(read(folder, "a.wav", start=0.25).frames, to_the_end, atol=1e-5)
    # Rounded times may lie a little behind the end.
    np.testing.assert_allclose(read(folder, "a.wav", start=0.25, end=1.4).frames, to_the_end, atol=1e-5)


def test_the_rate_is_that_of_the_first_file_unless_one_is_given(folder: Path) -> None:
    assert reader(folder).form.sample_rate == 8000
    found = read(folder, "fast.wav")
    slow = np.concatenate(list(Resampler(16000, 8000)([stored(16000, 3)])))
    np.testing.assert_allclose(found.frames, filtered(slow), atol=1e-4)
    assert found.resampled
    assert reader(folder, replace(FORM, sample_rate=16000)).form.sample_rate == 16000
    assert not read(folder, "fast.wav", form=replace(FORM, sample_rate=16000)).resampled


def test_speed_is_that_of_samples_at_another_rate(folder: Path) -> None:
    for speed in (0.9, 1.1):
        samples = np.concatenate(list(Resampler(round(8000 * speed), 8000)([stored(8000, 1)])))
        assert len(samples) == pytest.approx(8000 / speed, abs=1)
        np.testing.assert_allclose(read(folder, "a.wav", speed=speed).frames, filtered(samples), atol=1e-4)


def test_what_is_shorter_than_a_window_has_one_frame(folder: Path) -> None:
    found = read(folder, "short.wav")
    assert found.frames.shape == (1, 40)
    assert found.padded


def test_given_features_are_joined_and_cut(folder: Path) -> None:
    a, b = np.load(folder / "a.npy"), np.load(folder / "b.npy")
    np.testing.assert_array_equal(read(folder, "a.npy", "b.npy", form=GIVEN).frames, np.concatenate([a, b]))
    np.testing.assert_array_equal(read(folder, "a.npy", form=GIVEN, start=0.02, end=0.05).frames, a[2:5])


def test_given_features_of_another_speed_are_interpolated_between_frames(folder: Path) -> None:
    a = np.load(folder / "a.npy")
    for speed, number in ((0.8, 12), (1.25, 8), (1000, 1)):
        found = read(folder, "a.npy", form=GIVEN, speed=speed).frames
        # A frame lasts from t to t + 1: its middle is where the values are, before and after.
        middles = (np.arange(number) + 0.5) * speed
        expected = [np.interp(middles, np.arange(10) + 0.5, column) for column in a.T]
        np.testing.assert_allclose(found, np.stack(expected, axis=1), atol=1e-5)
        assert found.dtype == np.float32
    np.testing.assert_array_equal(read(folder, "a.npy", form=GIVEN).frames, a)


def test_models_read_frames_as_datasets_store_them(folder: Path) -> None:
    form = reader(folder, replace(FORM, deltas=2)).form
    assert form.num_features == 120
    utterance = Utterance(references=("a.wav",), folder=folder)
    kept = form.stored(frame_reader(form).read(utterance).frames)
    assert kept.dtype == np.dtype("<f2")
    np.testing.assert_array_equal(kept, add_deltas(filtered(stored(8000, 1)), 2).astype("<f2"))
    expected = normalized_by_itself(kept.astype(np.float32))
    np.testing.assert_array_equal(frame_reader(form).frames(utterance), expected)
    form = replace(form, cmvn="global").with_statistics(Statistics.of(kept))
    again = FeatureForm.from_meta(form.to_meta())
    assert again == form
    np.testing.assert_allclose(frame_reader(again).frames(utterance), expected, atol=1e-5)
    form = replace(form, cmvn="none", mean=(), deviation=())
    np.testing.assert_array_equal(frame_reader(form).frames(utterance), kept.astype(np.float32))


def test_what_is_too_large_for_the_type_is_not_stored_as_infinity() -> None:
    large = np.array([[70_000.0, 0, 0, 0]], np.float32)
    with pytest.raises(DataError, match="70000, too large for float16; give --feature-dtype float32"):
        replace(GIVEN, dtype="float16").stored(large)
    np.testing.assert_array_equal(GIVEN.stored(large), large)


def test_what_cannot_be_read_is_named(folder: Path) -> None:
    for names, times, problem in (
        (("empty.wav",), {}, "has no samples"),
        (("a.wav",), {"start": 1.5}, "is 1.00 seconds long, and a segment from 1.5 to its end"),
        (("a.wav",), {"start": 0.5, "end": 2.0}, "a segment from 0.5 to 2 is asked for"),
        (("a.wav",), {"start": 0.5, "end": 0.5}, "from 0.5 to 0.5 seconds is none"),
        (("a.wav", "b.wav"), {"start": 0.5}, "of one file"),
        ((), {}, "names no file"),
    ):
        with pytest.raises(DataError, match=problem):
            read(folder, *names, **times)
    for name, problem in (
        ("wide.npy", "have 5 features, and those before have 4"),
        ("none.npy", "has no frames"),
    ):
        with pytest.raises(DataError, match=problem):
            read(folder, name, form=GIVEN)


def test_a_form_that_contradicts_itself_is_refused() -> None:
    for wrong in (
        {"cmvn": "global"},
        {"mean": [1.0]},
        {"dtype": "float64"},
        {"source_type": "smell"},
        {"other": 1},
    ):
        with pytest.raises(DataError, match="features"):
            FeatureForm.from_meta(FORM.to_meta() | wrong)
