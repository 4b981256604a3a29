"""Dropout by its statistics."""

from __future__ import annotations

import math

import pytest
import torch

from s2scli.nn.dropout import Dropout

N = 400_000


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_keep_rate_mean_and_variance(p: float) -> None:
    torch.manual_seed(3)
    y = Dropout(p)(torch.ones(N))
    kept = (y != 0).double().mean().item()
    # The rate is a multiple of 1/256, so off by at most 1/512; five standard deviations of sampling on top.
    slack = 1 / 512 + 5 * math.sqrt(p * (1 - p) / N)
    assert abs(kept - (1 - p)) < slack
    values = y[y != 0].unique()
    assert len(values) == 1
    rate = 1 - 1 / values.item()
    assert abs(rate - p) <= 1 / 512 + 1e-6
    deviation = math.sqrt(rate / (1 - rate))
    assert abs(y.double().mean().item() - 1) < 5 * deviation / math.sqrt(N)
    assert y.double().std().item() == pytest.approx(deviation, rel=0.02)


def test_elements_are_dropped_independently() -> None:
    torch.manual_seed(4)
    kept = (Dropout(0.5)(torch.ones(N)) != 0).double() - 0.5
    for lag in (1, 2, 4, 7, 8, 16, 64):
        correlation = (kept[:-lag] * kept[lag:]).mean().item() / 0.25
        assert abs(correlation) < 5 / math.sqrt(N), lag


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 0, 4), (2, 3, 4, 5)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    torch.manual_seed(5)
    x = torch.randn(shape)
    y = Dropout(0.25)(x)
    assert y.shape == x.shape
    assert torch.all((y == 0) | torch.isclose(y, x / 0.75))


def test_the_gradient_uses_the_same_mask() -> None:
    torch.manual_seed(6)
    x = torch.randn(50, 40, requires_grad=True)
    weights = torch.randn(50, 40)
    y = Dropout(0.4)(x)
    (y * weights).sum().backward()
    assert x.grad is not None
    mask = (y != 0).float()
    scale = (y / x).max().item()
    assert 0.5 < mask.mean() < 0.7
    torch.testing.assert_close(x.grad, weights * mask * scale)


def test_a_strided_input_keeps_its_places() -> None:
    torch.manual_seed(7)
    x = torch.arange(1.0, 61.0).view(6, 10).T
    y = Dropout(0.5)(x)
    assert torch.all((y == 0) | torch.isclose(y, 2 * x))


def test_evaluation_is_the_identity() -> None:
    x = torch.randn(5)
    assert torch.equal(Dropout(0.9).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_the_seed_decides_the_mask() -> None:
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return Dropout(0.5)(torch.ones(1000))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    torch.manual_seed(1)
    first, second = Dropout(0.5)(torch.ones(1000)), Dropout(0.5)(torch.ones(1000))
    assert not torch.equal(first, second)
