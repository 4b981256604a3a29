"""Sums over chunks against the function of all rows at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from kernel_formulas import DEVICES, hold_equal, sizes
from torch import Tensor

from s2scli.nn import kernels


def function(shared: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
    """A sum over rows in which nothing is linear."""
    (weight,), (hidden, factors) = shared, rows
    return (kernels.projection(hidden, weight).log_softmax(-1).sin().sum(-1) * factors).sum()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(4))
def test_a_sum_is_the_functions(seed: int, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(seed)
    rows, width, words, size = sizes(seed, 4)
    inputs = [
        torch.randn(shape, dtype=dtype, device=device) for shape in ((words, width), (rows, width), (rows,))
    ]
    hold_equal(lambda weight, *parts: kernels.chunked_sum(function, [weight], parts, size), *inputs)


def test_the_shared_tensor_is_in_autocasts_precision_in_both() -> None:
    torch.manual_seed(9)
    seen = []

    def half(shared: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
        seen.append(shared[0].dtype)
        return function(shared, rows)

    def total(weight: Tensor, *parts: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return kernels.chunked_sum(half, [weight], parts, 4)

    hold_equal(total, torch.randn(5, 3), torch.randn(9, 3), torch.randn(9), rounding=0.02)
    assert set(seen) == {torch.bfloat16}


def test_a_chunk_is_never_empty() -> None:
    assert kernels.chunk_rows(1 << 30) > 0
