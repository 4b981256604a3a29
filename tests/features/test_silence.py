"""Long recordings are cut in their pauses, into pieces that are not too long."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from s2scli.features.silence import pieces_between_pauses


def test_cuts_are_in_the_middle_of_pauses() -> None:
    frames = np.full((1000, 3), 5.0, np.float32)
    for start in (180, 430, 700, 880):
        frames[start : start + 40] = -3.0
    # A stop within a word is quieter, and too short.
    frames[300:304] = -9.0
    assert pieces_between_pauses(frames, 300) == pytest.approx(
        np.array([(0, 200), (200, 450), (450, 720), (720, 1000)]), abs=12
    )


@given(some.integers(1, 400), some.integers(1, 90), some.integers(0, 1000))
def test_pieces_are_all_there_is_in_order_and_none_is_too_long(length: int, longest: int, seed: int) -> None:
    frames = np.random.default_rng(seed).normal(size=(length, 2)).astype(np.float32)
    pieces = pieces_between_pauses(frames, longest)
    assert [frame for start, end in pieces for frame in range(start, end)] == list(range(length))
    assert all(0 < end - start <= longest for start, end in pieces)
