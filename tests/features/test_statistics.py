from __future__ import annotations

import json

import numpy as np

from s2scli.features.deltas import add_deltas
from s2scli.features.statistics import Statistics, normalized_by_itself


def test_parts_have_the_statistics_of_the_whole() -> None:
    frames = np.random.default_rng(1).normal([3, -1e6, 0], [1, 0.5, 1e-3], (500, 3))
    total = Statistics.none(3)
    for start, stop in ((0, 1), (1, 100), (100, 100), (100, 499), (499, 500)):
        total += Statistics.of(frames[start:stop])
        total = Statistics.from_json(json.loads(json.dumps(total.to_json())))
    assert total.count == 500
    np.testing.assert_allclose(total.mean, frames.mean(0), rtol=1e-12)
    # The mean of the second is two million times its deviation.
    np.testing.assert_allclose(total.deviation, frames.std(0), rtol=1e-9)


def test_normalized_frames_have_mean_0_and_deviation_1() -> None:
    frames = np.random.default_rng(2).normal([1e4, 0, -3], [100, 2, 0.1], (300, 3)).astype(np.float32)
    frames = np.concatenate([frames, np.full((300, 1), -15.94, np.float32)], axis=1)
    found = normalized_by_itself(frames)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(0), [1, 1, 1, 0], atol=1e-5)


def test_one_frame_is_normalized_to_zeros() -> None:
    np.testing.assert_array_equal(normalized_by_itself(np.array([[3.0, -2.0]], np.float32)), [[0, 0]])


def test_deltas_are_those_of_kaldi() -> None:
    """Kaldi's own numbers, worked out by its weights: (-2 -1 0 1 2) / 10, and those folded with themselves."""
    frames = np.array([[0], [1], [4], [9], [16], [25]], np.float32)
    found = add_deltas(frames, 2)
    assert found.shape == (6, 3)
    np.testing.assert_array_equal(found[:, 0], frames[:, 0])
    # Of t²: 2 t within, and the ends go on as they are.
    np.testing.assert_allclose(found[:, 1], [0.9, 2.2, 4.0, 6.0, 5.8, 4.1], atol=1e-6)
    weights = {-4: 4, -3: 4, -2: 1, -1: -4, 0: -10, 1: -4, 2: 1, 3: 4, 4: 4}
    expected = [
        sum(weight * frames[min(5, max(0, at + step)), 0] for step, weight in weights.items()) / 100
        for at in range(6)
    ]
    np.testing.assert_allclose(found[:, 2], expected, atol=1e-6)
    np.testing.assert_array_equal(add_deltas(frames, 0), frames)
