from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import kaldi_native_fbank
import numpy as np
import pytest
from numpy.typing import NDArray

from s2scli.features.fbank import FeatureArray, Filterbank, mel_bands
from s2scli.features.opening import open_recording, resolve
from s2scli.features.recording import BLOCK, Samples
from s2scli.features.resampling import Resampler

DIGITS = Path(__file__).resolve().parents[3] / "shared/data/fsdd/wav"


def kaldi_frames(
    samples: Samples, rate: int, num_bins: int, length: float = 25.0, shift: float = 10.0
) -> FeatureArray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = rate
    options.frame_opts.dither = 0.0
    options.frame_opts.frame_length_ms = length
    options.frame_opts.frame_shift_ms = shift
    options.mel_opts.num_bins = num_bins
    found = kaldi_native_fbank.OnlineFbank(options)
    found.accept_waveform(rate, (samples * 32768).tolist())
    found.input_finished()
    return np.array([found.get_frame(number) for number in range(found.num_frames_ready)]).reshape(
        -1, num_bins
    )


def exact_frame(samples: Samples, rate: int, num_bins: int, frame: int) -> NDArray[np.longdouble]:
    """One frame by the formula, in numbers of 64 bits and more, with the Fourier transform as a sum."""
    size, shift, one = rate * 25 // 1000, rate // 100, np.longdouble(1)
    length = 1 << (size - 1).bit_length()
    cut = samples[frame * shift :][:size].astype(np.longdouble) * 32768
    cut -= cut.mean()
    before = np.concatenate([cut[:1], cut[:-1]])
    pi = 4 * np.arctan(one)
    hann = (1 - np.cos(2 * pi * np.arange(size) / (size - 1))) / 2
    windowed = (cut - 97 * one / 100 * before) * hann ** (85 * one / 100)
    turns = np.outer(np.arange(length // 2 + 1), np.arange(size)) % length
    angles = 2 * pi * turns / length
    power = (np.cos(angles) @ windowed) ** 2 + (np.sin(angles) @ windowed) ** 2
    return np.log(np.maximum(power @ mel_bands(rate, length, num_bins).astype(np.longdouble), 2.0**-23))


def speech_like(rate: int, seconds: float, seed: int) -> Samples:
    """Harmonics of a wandering pitch in noise, in loud and quiet parts."""
    random = np.random.default_rng(seed)
    times = np.arange(int(rate * seconds)) / rate
    pitch = np.cumsum(2 * np.pi * (120 + 40 * np.sin(3 * times)) / rate)
    voice = sum(np.sin(number * pitch) / number for number in range(1, 20))
    loudness = 10 ** random.uniform(-4, -0.5, len(times) // 2000 + 1).repeat(2000)[: len(times)]
    return (
        (loudness * (0.3 * voice + 0.1 * random.standard_normal(len(times)))).clip(-1, 1).astype(np.float32)
    )


def frames_of(filterbank: Filterbank, samples: Samples, size: int = BLOCK) -> FeatureArray:
    parts = [samples[start : start + size] for start in range(0, len(samples), size)]
    return np.concatenate(list(filterbank.frames(parts)))


@pytest.mark.parametrize(
    ("rate", "num_bins", "length", "shift"),
    [
        (16_000, 80, 25.0, 10.0),
        (8_000, 80, 25.0, 10.0),
        (8_000, 23, 20.0, 8.0),
        (16_000, 40, 32.0, 12.5),
        (44_100, 80, 25.0, 10.0),
    ],
)
def test_frames_are_those_of_kaldi(rate: int, num_bins: int, length: float, shift: float) -> None:
    filterbank = Filterbank(rate, num_bins, length, shift)
    for seed in range(3):
        samples = speech_like(rate, 1.5 + 0.37 * seed, seed)
        expected = kaldi_frames(samples, rate, num_bins, length, shift)
        found = frames_of(filterbank, samples)
        assert found.dtype == np.float32
        assert filterbank.num_frames(len(samples)) == len(expected) > 100
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_noise_and_silence_are_those_of_kaldi() -> None:
    random = np.random.default_rng(3)
    noise = random.uniform(-1, 1, 8000).astype(np.float32)
    silence = np.zeros(4000, np.float32)
    for samples in (noise, silence, np.concatenate([noise, silence, noise * 1e-3])):
        np.testing.assert_allclose(
            frames_of(Filterbank(16_000), samples), kaldi_frames(samples, 16_000, 80), atol=2e-3
        )


@pytest.mark.skipif(not DIGITS.is_dir(), reason="needs the recordings in ../shared")
@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_frames_of_speech_are_those_of_kaldi(rate: int) -> None:
    deltas = []
    for path in sorted(DIGITS.iterdir())[::29]:
        with open_recording(resolve(path.name, DIGITS)) as recording:
            samples = np.concatenate(list(Resampler(recording.rate, rate)(recording.blocks())))
        found, expected = frames_of(Filterbank(rate), samples), kaldi_frames(samples, rate, 80)
        # Kaldi's 32 bits do not hold a band that is a hundred million times as quiet as another of its frame.
        heard = expected > expected.max(1, keepdims=True) - np.log(1e8)
        np.testing.assert_allclose(found[heard], expected[heard], atol=2e-3)
        np.testing.assert_allclose(found, expected, atol=2e-2)
        deltas.append(np.abs(found - expected).ravel())
        for frame in np.flatnonzero((np.abs(found - expected) > 2e-3).any(1)):
            # Where the two are further apart, Kaldi's is the one that is not exact.
            exact = exact_frame(samples, rate, 80, frame)
            np.testing.assert_allclose(found[frame], exact, atol=2e-6)
            assert np.abs(expected[frame] - exact).max() > 1.9e-3
    assert np.concatenate(deltas).mean() < 3e-5


def test_blocks_of_any_size_give_the_same_frames() -> None:
    samples = speech_like(8_000, 2.0, 5)
    whole = frames_of(Filterbank(8_000), samples)
    for size in (1, 79, 80, 81, 200, 5000):
        np.testing.assert_allclose(frames_of(Filterbank(8_000), samples, size), whole, atol=1e-5)


def test_frames_may_be_further_apart_than_they_are_long() -> None:
    """In blocks of any size, each the frame of its own samples."""
    filterbank, samples = Filterbank(8_000, 40, 10.0, 25.0), speech_like(8_000, 2.0, 5)
    for size in (1, 79, 130, 200, 5000, len(samples)):
        found = frames_of(filterbank, samples, size)
        assert found.shape == (filterbank.num_frames(len(samples)), 40)
        for number, frame in enumerate(found):
            own = samples[number * 200 :][:80]
            np.testing.assert_allclose(frame, frames_of(filterbank, own)[0], atol=1e-5)


def test_what_is_shorter_than_a_window_has_one_frame() -> None:
    filterbank = Filterbank(16_000)
    for number in (1, 2, 399):
        samples = speech_like(16_000, 1, 7)[:number]
        padded = np.pad(samples, (0, 400 - number))
        found = frames_of(filterbank, samples)
        assert found.shape == (filterbank.num_frames(number), 80) == (1, 80)
        np.testing.assert_array_equal(found, frames_of(filterbank, padded))
    assert filterbank.num_frames(0) == 0
    assert list(filterbank.frames([])) == []
    assert [filterbank.num_frames(number) for number in (400, 559, 560, 720)] == [1, 1, 2, 3]


def test_an_hour_takes_no_more_memory_than_a_minute() -> None:
    def peak(seconds: int) -> int:
        def blocks() -> Iterator[Samples]:
            random = np.random.default_rng(1)
            for _ in range(seconds * 8000 // BLOCK):
                yield random.uniform(-1, 1, BLOCK).astype(np.float32)

        tracemalloc.start()
        for _ in Filterbank(8_000, 40).frames(blocks()):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(20)  # what is made once
    assert peak(240) < 1.2 * peak(40)
