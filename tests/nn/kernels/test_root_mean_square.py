"""The kernel of root mean square normalization against torch's, which is the plain formula."""

from __future__ import annotations

import pytest
import torch
from kernel_formulas import DEVICES, hold_equal, sizes
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn import kernels


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_formula(seed: int, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(seed)
    rows, length, width = sizes(seed, 3)
    x = torch.randn(rows, length, width, dtype=dtype, device=device)
    weight = torch.randn(width, dtype=dtype, device=device)

    def normalized(x: Tensor, weight: Tensor) -> Tensor:
        return kernels.rms_norm(x, weight, 1e-3)

    hold_equal(normalized, x, weight)


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("eps", [1e-12, 1e-6, 0.3])
def test_in_steps_it_is_torchs(eps: float, on: bool) -> None:
    torch.manual_seed(1)
    weight = torch.randn(24)
    with kernels.switched(on), torch.inference_mode():
        normalized = kernels.rms_norm_in_steps(weight, eps)
        for x in (torch.randn(5, 24), torch.randn(2, 3, 24) * 100, torch.randn(4, 24) * 1e-4):
            torch.testing.assert_close(normalized(x), F.rms_norm(x, (24,), weight, eps))
