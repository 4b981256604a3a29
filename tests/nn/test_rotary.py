"""Rotary positions against multiplications of complex numbers."""

from __future__ import annotations

import cmath

import pytest
import torch

from s2scli.nn.kernels import switched
from s2scli.nn.kernels.rotation import rotate
from s2scli.nn.rotary import RotaryPositions

WIDTH, BASE, BLOCKS, HEADS = 6, 50.0, 3, 2


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("start", [0, 3, 40])
def test_pairs_are_complex_numbers_that_are_turned(start: int, kernels: bool) -> None:
    """In all blocks but the last."""
    positions = RotaryPositions(WIDTH, BASE, BLOCKS, initial_length=4)
    x = torch.randn(5, BLOCKS, HEADS, WIDTH, dtype=torch.float64)
    with switched(kernels):
        found = rotate(x, positions(start, 5))
    assert torch.equal(found[:, -1], x[:, -1])
    for offset in range(5):
        for block in range(BLOCKS - 1):
            for head in range(HEADS):
                for pair in range(WIDTH // 2):
                    at = offset, block, head
                    number = complex(x[*at, 2 * pair], x[*at, 2 * pair + 1])
                    number *= cmath.exp(1j * (start + offset) * BASE ** (-2 * pair / WIDTH))
                    assert abs(complex(found[*at, 2 * pair], found[*at, 2 * pair + 1]) - number) < 1e-5


def test_a_table_that_grew_in_a_search_can_be_differentiated_through() -> None:
    positions = RotaryPositions(WIDTH, BASE, BLOCKS, initial_length=4)
    with torch.inference_mode():
        positions(0, 30)
    x = torch.randn(5, BLOCKS, HEADS, WIDTH, requires_grad=True)
    rotate(x, positions(0, 5)).sum().backward()
    assert x.grad is not None


def test_positions_one_by_one_are_those_of_the_sequence() -> None:
    positions = RotaryPositions(WIDTH, BASE, BLOCKS, initial_length=4)
    whole = positions(0, 30)
    assert torch.equal(positions.at(torch.tensor([29, 0, 11]), 30), whole[[29, 0, 11]])
    assert not positions.state_dict()


def test_products_depend_on_distances_alone() -> None:
    positions = RotaryPositions(WIDTH, BASE, 2)
    query, key = torch.randn(WIDTH), torch.randn(WIDTH)
    products = [
        rotate(query, positions(at + 3, 1)[0, 0, 0]) @ rotate(key, positions(at, 1)[0, 0, 0])
        for at in (0, 1, 90)
    ]
    torch.testing.assert_close(torch.stack(products), products[0].expand(3), rtol=1e-4, atol=1e-4)
