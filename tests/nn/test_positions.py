"""Position embeddings against the closed formula."""

from __future__ import annotations

import math

import pytest
import torch

from s2scli.errors import DataError
from s2scli.nn.positions import LearnedPositions, NoPositions, SinusoidalPositions, sinusoids


def formula(position: int, width: int) -> list[float]:
    """Sines, then cosines, of position · 10000^(-i / (width/2 - 1)): tensor2tensor's get_timing_signal_1d."""
    half = width // 2
    rates = [math.pow(10000, -i / (half - 1)) if half > 1 else 1.0 for i in range(half)]
    return [math.sin(position * rate) for rate in rates] + [math.cos(position * rate) for rate in rates]


@pytest.mark.parametrize("width", [2, 4, 16, 128])
def test_sinusoids(width: int) -> None:
    expected = torch.tensor([formula(position, width) for position in range(300)])
    torch.testing.assert_close(sinusoids(300, width), expected, rtol=0, atol=3e-5)


@pytest.mark.parametrize("width", [2, 4, 16, 128])
def test_the_papers_spacing_and_an_offset(width: int) -> None:
    """10000^(-2i / width), section 3.5, the sines before the cosines; counted from 2."""
    half = width // 2
    expected = torch.tensor(
        [
            [
                function(position / 10000 ** (2 * i / width))
                for function in (math.sin, math.cos)
                for i in range(half)
            ]
            for position in range(2, 302)
        ]
    )
    torch.testing.assert_close(sinusoids(300, width, "paper", 2), expected, rtol=0, atol=5e-5)
    positions = SinusoidalPositions(width, "paper", 2, initial_length=4)
    torch.testing.assert_close(positions(7, 3), expected[7:10], rtol=0, atol=5e-5)
    torch.testing.assert_close(positions.at(torch.tensor([9, 0]), 10), expected[[9, 0]], rtol=0, atol=5e-5)


def test_no_positions_add_nothing() -> None:
    positions, x = NoPositions(), torch.randn(3, 5, 4)
    assert torch.equal(x + positions(7, 5), x)
    assert torch.equal(x + positions.at(torch.tensor([7, 0, 1]), 8)[:, None], x)
    assert not positions.state_dict()


def test_the_table_grows_when_it_must() -> None:
    positions = SinusoidalPositions(8, initial_length=4)
    for start, length in [(0, 4), (3, 1), (3, 2), (40, 7), (2, 3)]:
        expected = torch.tensor([formula(start + offset, 8) for offset in range(length)])
        torch.testing.assert_close(positions(start, length), expected, rtol=0, atol=1e-5)
    assert not list(positions.parameters())
    assert not positions.state_dict()


def test_learned_positions_are_rows_of_a_table() -> None:
    positions = LearnedPositions(4, 5)
    assert positions(0, 5) is not None
    assert torch.equal(positions(2, 3), positions.weight[2:5])
    positions(1, 2).sum().backward()
    assert positions.weight.grad is not None
    assert positions.weight.grad.sum(1).tolist() == [0, 4, 4, 0, 0]


@pytest.mark.parametrize(("start", "length"), [(0, 6), (5, 1)])
def test_learned_positions_end(start: int, length: int) -> None:
    with pytest.raises(DataError, match=r"a sequence of 6 tokens is longer than the 5 positions"):
        LearnedPositions(4, 5)(start, length)
