"""Running means that are kept in bf16, against its neighbouring numbers, and optimizers that keep all in fp32."""

from __future__ import annotations

import struct
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from s2scli.components import OPTIMIZERS
from s2scli.optim.optimizers import build_optimizer
from s2scli.optim.rounded_state import round_at_random, step_rounded
from s2scli.schema import build


def of_bits(upper: int) -> float:
    """The number whose upper 16 bits in float32 are these, the lower being zero."""
    value: float = struct.unpack("<f", struct.pack("<I", upper << 16))[0]
    return value


def rounded(x: Tensor, seed: int = 1) -> Tensor:
    return round_at_random(x, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("number", [0.3, -0.3, 3.7e-20, -8.1e30, 1 + 2**-9, 1e-40, 255.9])
def test_each_of_the_two_numbers_beside_it_comes_as_often_as_it_is_near(number: float) -> None:
    (bits,) = struct.unpack("<I", struct.pack("<f", number))
    low, high = of_bits(bits >> 16), of_bits((bits >> 16) + 1)
    found = rounded(torch.full((100_000,), number)).double()
    assert {*found.tolist()} == {low, high}
    share = ((found == high).double()).mean().item()
    # What is stored is the float32 number nearest to it. Four standard deviations.
    (exact,) = struct.unpack("<f", struct.pack("<f", number))
    assert share == pytest.approx((exact - low) / (high - low), abs=4 * 0.5 / 100_000**0.5)


def test_numbers_that_bf16_has_stay() -> None:
    numbers = torch.tensor([0.0, -0.0, 1.0, -2.5, 2.0**-126, 3.0e38, float("inf"), float("-inf")]).bfloat16()
    for seed in range(20):
        found = rounded(numbers.float(), seed)
        assert torch.equal(found, numbers)
        assert torch.equal(found.signbit(), numbers.signbit())


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))


def make(name: str, model: nn.Module, **settings: Any) -> Optimizer:
    return build_optimizer(build(OPTIMIZERS[name], settings), list(model.parameters()))


def backward(model: nn.Sequential, step: int) -> None:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
    (model(x) - x[:, :2].sin()).square().mean().backward()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_step_itself_is_made_in_float32(name: str) -> None:
    """Nothing is remembered before the first, so that it is the same, bit for bit."""
    plain, kept = network(), network()
    backward(plain, 1)
    make(name, plain).step()
    optimizer = make(name, kept)
    backward(kept, 1)
    step_rounded(optimizer, 1)
    for own, other in zip(kept.parameters(), plain.parameters(), strict=True):
        assert torch.equal(own, other)
        assert own.grad is None
        for value in optimizer.state[own].values():
            assert value.dtype == (torch.bfloat16 if value.shape == own.shape else torch.float32)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_stays_near_what_is_kept_in_float32(name: str) -> None:
    plain, kept, still = network(), network(), network()
    whole, optimizer = make(name, plain), make(name, kept)
    for step in range(50):
        backward(plain, step)
        whole.step()
        whole.zero_grad()
        backward(kept, step)
        step_rounded(optimizer, step)
    moved = torch.cat(
        [(a - b).flatten() for a, b in zip(plain.parameters(), still.parameters(), strict=True)]
    )
    apart = torch.cat([(a - b).flatten() for a, b in zip(plain.parameters(), kept.parameters(), strict=True)])
    assert apart.norm() < 0.05 * moved.norm()


def test_a_mean_that_moves_slowly_arrives() -> None:
    """Rounded to the nearest number, a running square with a decay of 0.999 stops on its way."""
    parameter = nn.Parameter(torch.zeros(1000))
    config = build(OPTIMIZERS["adam"], {"betas": (0.9, 0.999)})
    optimizer = build_optimizer(config, [parameter])
    nearest = torch.zeros(1000, dtype=torch.bfloat16)
    for step in range(5000):
        parameter.grad = torch.ones(1000)
        step_rounded(optimizer, step)
        nearest = torch.lerp(nearest.float(), torch.ones(1000), 0.001).bfloat16()
    wanted = 1 - 0.999**5000
    assert optimizer.state[parameter]["exp_avg_sq"].double().mean().item() == pytest.approx(wanted, rel=0.01)
    assert nearest.double().mean().item() < 0.6 * wanted


def test_weights_without_gradient_are_left_alone() -> None:
    model = network()
    optimizer = make("adam", model)
    backward(model, 1)
    first = next(model.parameters())
    first.grad = None
    before = first.detach().clone()
    step_rounded(optimizer, 1)
    assert torch.equal(first, before)
    assert not optimizer.state[first]
