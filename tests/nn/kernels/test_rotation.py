"""The kernel of rotations against its formula."""

from __future__ import annotations

import pytest
import torch
from kernel_formulas import DEVICES, hold_equal, sizes
from torch import Tensor

from s2scli.nn.kernels.rotation import rotate


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_formula(seed: int, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(seed)
    rows, length, half = sizes(seed, 3)
    angles = torch.randn(length, half, device=device)
    rotations = torch.stack([angles.cos(), angles.sin()], dim=-1)

    def rotated(x: Tensor) -> Tensor:
        return rotate(x, rotations)

    hold_equal(rotated, torch.randn(rows, length, 2 * half, dtype=dtype, device=device))
