"""Muon against its formula on singular values, against torch's, and Adam for what is no matrix between layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from s2scli.components import OPTIMIZERS
from s2scli.configs.optimizers import OptimizerConfig
from s2scli.errors import UsageError
from s2scli.optim.muon import Muon, orthogonal
from s2scli.optim.optimizers import build_optimizer
from s2scli.schema import build

SHAPES = [(6, 6), (4, 9), (9, 4), (1, 5)]


def by_singular_values(x: Tensor) -> Tensor:
    """U f(S / ‖S‖) Vᵀ with f the polynomial five times: what the products come to, number by number."""
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    s = s / s.norm()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ torch.diag(s) @ v


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_come_near_to_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    x = torch.randn(3, *shape, dtype=torch.float64)
    found = orthogonal(x)
    for one, given in zip(found, x, strict=True):
        torch.testing.assert_close(one, by_singular_values(given), rtol=1e-8, atol=1e-8)
    assert float(torch.linalg.svdvals(orthogonal(torch.randn(1, 30, 40))).max()) < 1.25
    assert bool((orthogonal(torch.zeros(1, *shape)) == 0).all())


def learned(config: OptimizerConfig, matrices: dict[nn.Parameter, int], named: list[nn.Parameter]) -> None:
    """Five updates with gradients drawn from one seed."""
    optimizer = build_optimizer(config, named, matrices)
    draw = torch.Generator().manual_seed(5)
    for _ in range(5):
        for parameter in named:
            parameter.grad = torch.randn(parameter.shape, generator=draw, dtype=torch.float64).to(
                parameter.dtype
            )
        optimizer.step()


def test_a_step_is_the_formulas() -> None:
    """A matrix of two blocks, each made orthogonal by itself, with weight decay."""
    torch.manual_seed(2)
    weight = nn.Parameter(torch.randn(8, 3, dtype=torch.float64))
    expected, mean = weight.detach().clone(), torch.zeros(8, 3, dtype=torch.float64)
    settings = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    learned(build(OPTIMIZERS["muon"], settings), {weight: 2}, [weight])
    draw = torch.Generator().manual_seed(5)
    for _ in range(5):
        gradient = torch.randn(8, 3, generator=draw, dtype=torch.float64)
        mean = 0.9 * mean + 0.1 * gradient
        mixed = 0.1 * gradient + 0.9 * mean
        step = torch.cat([by_singular_values(block) for block in mixed.chunk(2)])
        expected -= 0.02 * (0.2 * 2 * step + 0.1 * expected)  # max(4, 3) is 4
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-8, atol=1e-8)


def test_it_steps_as_torchs_but_for_its_rounding() -> None:
    """torch's multiplies in bf16."""
    torch.manual_seed(3)
    ours = nn.Parameter(torch.randn(24, 16))
    theirs = nn.Parameter(ours.detach().clone())
    first = ours.detach().clone()
    learned(build(OPTIMIZERS["muon"], {"lr": 0.01, "weight_decay": 0.1}), {ours: 1}, [ours])
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    draw = torch.Generator().manual_seed(5)
    for _ in range(5):
        theirs.grad = torch.randn(24, 16, generator=draw, dtype=torch.float64).float()
        reference.step()
    moved, wanted = ours.detach() - first, theirs.detach() - first
    assert float((moved - wanted).norm() / wanted.norm()) < 0.03


def test_the_rest_is_adams() -> None:
    """Embeddings and vectors step as with --optimizer adam, and one update moves a matrix as far as it."""
    torch.manual_seed(4)
    rests = [[nn.Parameter(torch.ones(5, 3)), nn.Parameter(torch.ones(7))] for _ in range(2)]
    weight = nn.Parameter(torch.randn(40, 40))
    settings = {"lr": 0.01, "weight_decay": 0.2}
    before = weight.detach().clone()
    learned(build(OPTIMIZERS["muon"], settings), {weight: 1}, [*rests[0], weight])
    # The same numbers are drawn: the matrix comes last in each update, and takes some.
    learned(build(OPTIMIZERS["adam"], settings), {}, [*rests[1], nn.Parameter(before.clone())])
    for one, other in zip(*rests, strict=True):
        assert torch.equal(one, other)
    size = float((weight.detach() - before).square().mean().sqrt())
    assert 0.2 < size / (5 * 0.01 * 0.2) < 1.2


def test_a_closure_computes_the_gradients() -> None:
    weight = nn.Parameter(torch.eye(2))
    optimizer = Muon([{"params": [weight], "blocks": 1, "weight_decay": 0.0}], lr=0.5)

    def closure() -> float:
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 2.0
    assert float(weight.detach().trace()) < 2


def test_it_refuses_matrices_that_are_cut_up() -> None:
    with pytest.raises(UsageError, match="--optimizer muon works on whole matrices"):
        build(OPTIMIZERS["muon"], {}).check_sharded()
