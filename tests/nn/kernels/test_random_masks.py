"""The mask of dropout: the same for a value and its gradient, and where kernels are off torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from s2scli.nn import kernels
from s2scli.nn.kernels.switch import switched


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_with_its_mask_it_is_the_formula(dtype: torch.dtype, p: float) -> None:
    """x · m / (1 - p), p in steps of 1/256, for the mask m that was drawn; the gradient is dy · m / (1 - p)."""
    torch.manual_seed(1)
    x = (torch.randn(37, 19).abs() + 0.1).to(dtype).requires_grad_()
    dy = torch.randn(37, 19).to(dtype)
    with switched(on=True):
        y = kernels.dropout(x, p)
    (dx,) = torch.autograd.grad(y, x, dy)
    mask, kept = (y != 0).to(dtype), 1 - round(256 * p) / 256
    assert 0 < mask.float().mean() < 1
    torch.testing.assert_close(y, x * mask / kept)
    torch.testing.assert_close(dx, dy * mask / kept)


def test_without_kernels_it_is_torchs() -> None:
    x = torch.randn(50)
    with switched(on=False):
        torch.manual_seed(2)
        got = kernels.dropout(x, 0.3)
    torch.manual_seed(2)
    assert torch.equal(got, F.dropout(x, 0.3))


def test_a_rate_that_rounds_to_nothing_drops_nothing() -> None:
    x = torch.randn(5)
    with switched(on=True):
        assert kernels.dropout(x, 0.001) is x
