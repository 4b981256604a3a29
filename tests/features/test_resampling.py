from __future__ import annotations

import numpy as np
import pytest
import soxr

from s2scli.features.recording import Samples
from s2scli.features.resampling import Resampler


def resampled(samples: Samples, source: int, target: int, size: int = 1000) -> Samples:
    blocks = [samples[start : start + size] for start in range(0, len(samples), size)]
    return np.concatenate([np.zeros(0, np.float32), *Resampler(source, target)(blocks)])


def tones(rate: int, seconds: float, highest: float) -> Samples:
    """A chord below a frequency, which begins and ends softly."""
    times = np.arange(int(rate * seconds)) / rate
    chord = sum(np.sin(2 * np.pi * highest * share * times + share) for share in (0.05, 0.21, 0.5, 0.8, 1.0))
    return (0.15 * chord * np.sin(np.pi * times / seconds) ** 2).astype(np.float32)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (8_000, 16_000),
        (16_000, 8_000),
        (44_100, 16_000),
        (48_000, 16_000),
        (14_400, 16_000),
        (17_600, 16_000),
        (11_025, 8_000),
    ],
)
def test_it_agrees_with_soxr_where_the_filters_pass(source: int, target: int) -> None:
    samples = tones(source, 0.6, 0.5 * min(source, target) / 2)
    found = resampled(samples, source, target)
    expected = soxr.resample(samples, source, target, quality="VHQ")
    assert (
        len(found)
        == Resampler(source, target).num_samples(len(samples))
        == -(-len(samples) * target // source)
    )
    np.testing.assert_allclose(found[: len(expected)], expected[: len(found)], atol=3e-3)


@pytest.mark.parametrize(("source", "target"), [(3, 2), (2, 3), (441, 160), (7, 7)])
def test_it_is_the_formula(source: int, target: int) -> None:
    random = np.random.default_rng(2)
    samples = random.uniform(-1, 1, 150).astype(np.float32)
    passed = 0.99 * min(source, target)
    expected = []
    for number in range(-(-len(samples) * target // source)):
        times = passed * (np.arange(len(samples)) / source - number / target)
        window = np.where(np.abs(times) <= 6, np.cos(np.pi * times / 12) ** 2, 0)
        expected.append((samples * np.sinc(times) * window).sum() * passed / source)
    if source == target:
        expected = samples.tolist()
    np.testing.assert_allclose(resampled(samples, source, target, size=40), expected, atol=2e-6)


def test_what_is_above_the_lower_rate_does_not_come_back_as_something_else() -> None:
    times = np.arange(16_000) / 16_000
    high = np.sin(2 * np.pi * 6_500 * times).astype(np.float32)
    assert np.abs(resampled(high, 16_000, 8_000)[200:-200]).max() < 0.02


@pytest.mark.parametrize("size", [1, 7, 64, 999, 5000])
def test_blocks_of_any_size_give_the_same_samples(size: int) -> None:
    samples = tones(16_000, 0.2, 3_000)
    np.testing.assert_allclose(
        resampled(samples, 44_100, 16_000, size), resampled(samples, 44_100, 16_000, 10**6), atol=1e-6
    )


def test_little_is_resampled_too() -> None:
    assert len(resampled(np.zeros(0, np.float32), 8_000, 16_000)) == 0
    assert len(resampled(np.ones(1, np.float32), 8_000, 16_000)) == 2
    assert len(resampled(np.ones(1, np.float32), 48_000, 8_000)) == 1
