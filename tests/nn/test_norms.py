"""Norms against torch's own, with their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from s2scli.nn.kernels import switched
from s2scli.nn.norms import NormConfig, make_norm

WIDTH = 12


def moved(norm: nn.Module, other: nn.Module) -> None:
    """Move every weight away from its first value, and give another norm the same."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    other.load_state_dict(norm.state_dict())


def results(norm: nn.Module, x: Tensor) -> list[Tensor]:
    """What a norm gives, and the gradients of a function of that."""
    x = x.clone().requires_grad_()
    y = norm(x)
    return [y, *torch.autograd.grad(y.sin().sum(), [x, *norm.parameters()])]


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize(
    ("config", "theirs"),
    [
        (NormConfig(), nn.LayerNorm(WIDTH)),
        (NormConfig(eps=0.3), nn.LayerNorm(WIDTH, 0.3)),
        (NormConfig(eps=1e-12, bias=False), nn.LayerNorm(WIDTH, 1e-12, bias=False)),
        (NormConfig("rms", 1e-6), nn.RMSNorm(WIDTH, 1e-6)),
        (NormConfig("rms", 0.3), nn.RMSNorm(WIDTH, 0.3)),
    ],
    ids=str,
)
def test_norms_are_torchs(config: NormConfig, theirs: nn.Module, kernels: bool) -> None:
    ours = make_norm(WIDTH, config)
    moved(ours, theirs)
    with switched(kernels):
        for x in (torch.randn(3, 5, WIDTH), torch.randn(7, WIDTH) * 1e-3 + 2, torch.zeros(2, WIDTH)):
            for got, expected in zip(results(ours, x), results(theirs, x), strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
            with torch.inference_mode():
                torch.testing.assert_close(ours(x), theirs(x))
