"""Our optimizers against torch's plain ones, set up by hand with the same figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from s2scli.configs.train import COMPONENTS
from s2scli.configs.training import OptimizerConfig
from s2scli.optim import OPTIMIZERS
from s2scli.optim.optimizers import build_optimizer
from s2scli.schema import build

Groups = list[dict[str, Any]]
PLAIN = {"foreach": False}

CASES: dict[str, tuple[dict[str, Any], Callable[[Groups], Optimizer]]] = {
    "adam": (
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
        lambda groups: torch.optim.AdamW(groups, lr=0.02, betas=(0.8, 0.95), eps=1e-6, **PLAIN),
    ),
    "adamw": (
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
        lambda groups: torch.optim.AdamW(groups, lr=0.02, betas=(0.8, 0.95), eps=1e-6, **PLAIN),
    ),
    "rmsprop": (
        {"lr": 0.02, "alpha": 0.9, "eps": 1e-6, "momentum": 0.5, "weight_decay": 0.1},
        lambda groups: torch.optim.RMSprop(groups, lr=0.02, alpha=0.9, eps=1e-6, momentum=0.5, **PLAIN),
    ),
    "sgd": (
        {"lr": 0.02, "momentum": 0.5, "weight_decay": 0.1},
        lambda groups: torch.optim.SGD(groups, lr=0.02, momentum=0.5, **PLAIN),
    ),
}


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))


def make(name: str, parameters: list[nn.Parameter], **settings: Any) -> Optimizer:
    config: OptimizerConfig = build(COMPONENTS["optimizer"][name], settings)
    return build_optimizer(config, parameters)


def loss_of(model: nn.Sequential, step: int) -> torch.Tensor:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
    loss: torch.Tensor = (model(x) - x[:, :2].sin()).square().mean()
    return loss


def test_every_optimizer_is_tested() -> None:
    assert set(CASES) == set(OPTIMIZERS) == set(COMPONENTS["optimizer"])


@pytest.mark.parametrize("name", CASES)
def test_it_steps_as_torchs(name: str) -> None:
    settings, reference = CASES[name]
    ours, theirs = network(), network()
    optimizer = make(name, list(ours.parameters()), **settings)
    matrices = [theirs[0].weight, theirs[2].weight]
    vectors = [theirs[0].bias, theirs[1].weight, theirs[1].bias, theirs[2].bias]
    expected = reference(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    )
    before = [parameter.detach().clone() for parameter in ours.parameters()]
    for step in range(20):
        for model, chosen in ((ours, optimizer), (theirs, expected)):
            for group in chosen.param_groups:
                group["lr"] = 0.02 / (1 + step)  # as the schedule sets it
            chosen.zero_grad()
            loss_of(model, step).backward()
            chosen.step()
    for parameter, other, first in zip(ours.parameters(), theirs.parameters(), before, strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(parameter, first, atol=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_weights_decay_but_norms_and_biases_do_not(name: str) -> None:
    """With no gradient at all only the decay is left."""
    model = network()
    optimizer = make(name, list(model.parameters()), lr=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    optimizer.step()
    for key, parameter in model.named_parameters():
        if parameter.dim() == 2:
            assert ((before[key] - parameter) * before[key] > 0).all(), key  # towards zero
        else:
            assert torch.equal(parameter, before[key]), key


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_first_step_of_adam_is_the_rate(name: str) -> None:
    """Bias correction makes the first step lr · sign(gradient)."""
    weight = nn.Parameter(torch.tensor([[1.0, -2.0, 3.0]]))
    optimizer = make(name, [weight], lr=0.25, weight_decay=0.0)
    weight.grad = torch.tensor([[0.1, -5.0, 1e-3]])
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([[0.75, -1.75, 2.75]]), rtol=0, atol=1e-4)


def test_a_model_without_vectors_or_matrices_is_fine() -> None:
    for shape in ((3,), (2, 3)):
        parameter = nn.Parameter(torch.ones(shape))
        optimizer = make("sgd", [parameter], lr=1.0)
        parameter.grad = torch.ones(shape)
        optimizer.step()
        assert torch.equal(parameter, torch.zeros(shape))
