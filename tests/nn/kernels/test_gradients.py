"""What acts on gradients alone, against torch's own gradients."""

from __future__ import annotations

import pytest
import torch
from kernel_formulas import DEVICES, hold_equal, sizes

from s2scli.nn import kernels
from s2scli.nn.kernels.switch import switched


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("factor", [0.0, 0.125, 3.0])
def test_the_gradient_is_scaled(factor: float, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(1)
    hold_equal(
        lambda x: kernels.scale_gradient(x, factor),
        torch.randn(sizes(1, 3, 9), dtype=dtype, device=device),
        rounding=0,
    )


@pytest.mark.parametrize("on", [True, False])
def test_the_value_is_not(on: bool) -> None:
    x = torch.randn(100)
    with switched(on=on):
        assert torch.equal(kernels.scale_gradient(x, 0.3), x)
