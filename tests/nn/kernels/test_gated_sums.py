"""The kernel of an SSRU's recurrence against its formula."""

from __future__ import annotations

import pytest
import torch
from kernel_formulas import DEVICES, hold_equal, sizes

from s2scli.nn import kernels


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_formula(seed: int, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(seed)
    rows, length, width = sizes(seed, 3)
    length = 1 if seed == 0 else length
    forget = torch.rand(rows, length, width, dtype=dtype, device=device)
    hold_equal(kernels.gated_sums, forget, torch.randn(rows, length, width, dtype=dtype, device=device))


@pytest.mark.parametrize("on", [True, False])
def test_it_is_what_it_says_number_by_number(on: bool) -> None:
    forget, x = torch.tensor([[[0.5], [0.25], [1.0]]]), torch.tensor([[[4.0], [8.0], [16.0]]])
    with kernels.switched(on):
        # 0.5 · 0 + 0.5 · 4 = 2; 0.25 · 2 + 0.75 · 8 = 6.5; 1 · 6.5 + 0 · 16.
        assert kernels.gated_sums(forget, x).flatten().tolist() == [2.0, 6.5, 6.5]


def test_in_half_precision_sums_are_in_float32() -> None:
    forget, x = torch.full((1, 3000, 1), 0.999), torch.ones(1, 3000, 1)
    found = kernels.gated_sums(forget.bfloat16(), x.bfloat16())
    assert found.dtype == torch.float32
