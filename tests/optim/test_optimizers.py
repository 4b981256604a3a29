"""Our optimizers against torch's plain ones, set up by hand with the same figures, or against the paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from s2scli.components import OPTIMIZERS
from s2scli.configs.optimizers import OptimizerConfig
from s2scli.errors import UsageError
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
    "sgd with Nesterov's momentum": (
        {"lr": 0.02, "momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
        lambda groups: torch.optim.SGD(groups, lr=0.02, momentum=0.5, nesterov=True, **PLAIN),
    ),
    "adagrad": (
        {"lr": 0.02, "initial_accumulator_value": 0.1, "eps": 1e-6, "weight_decay": 0.1},
        lambda groups: torch.optim.Adagrad(groups, lr=0.02, initial_accumulator_value=0.1, eps=1e-6, **PLAIN),
    ),
    "adadelta": (
        {"lr": 1.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1},
        lambda groups: torch.optim.Adadelta(groups, lr=1.5, rho=0.8, eps=1e-4, **PLAIN),
    ),
    "adafactor": (
        {
            "lr": 0.1,
            "adafactor_eps": (1e-12, 0.01),
            "clip_threshold": 1.5,
            "decay_rate": -0.7,
            "weight_decay": 0.1,
        },
        lambda groups: torch.optim.Adafactor(
            groups, lr=0.1, eps=(1e-6, 0.01), d=1.5, beta2_decay=-0.7, foreach=True
        ),
    ),
}


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))


def make(name: str, parameters: list[nn.Parameter], **settings: Any) -> Optimizer:
    config: OptimizerConfig = build(OPTIMIZERS[name], settings)
    return build_optimizer(config, parameters)


def loss_of(model: nn.Sequential, step: int) -> torch.Tensor:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
    loss: torch.Tensor = (model(x) - x[:, :2].sin()).square().mean()
    return loss


def test_every_optimizer_is_tested() -> None:
    tested = {name.split()[0] for name in CASES}
    assert tested | {"lion", "muon"} == set(OPTIMIZERS)  # these have files of their own


@pytest.mark.parametrize("name", CASES)
def test_it_steps_as_torchs(name: str) -> None:
    settings, reference = CASES[name]
    ours, theirs = network(), network()
    optimizer = make(name.split()[0], list(ours.parameters()), **settings)
    matrices = [theirs[0].weight, theirs[2].weight]
    vectors = [theirs[0].bias, theirs[1].weight, theirs[1].bias, theirs[2].bias]
    expected = reference(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    )
    before = [parameter.detach().clone() for parameter in ours.parameters()]
    for step in range(20):
        for model, chosen in ((ours, optimizer), (theirs, expected)):
            for group in chosen.param_groups:
                group["lr"] = settings["lr"] / (1 + step)  # as the schedule sets it
            chosen.zero_grad()
            loss_of(model, step).backward()
            chosen.step()
    for parameter, other, first in zip(ours.parameters(), theirs.parameters(), before, strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(parameter, first, atol=1e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
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


def test_nesterov_looks_ahead() -> None:
    """As torch has it, in terms of the point one step ahead: m = μ m + g, w = w - lr (g + μ m)."""
    weight = nn.Parameter(torch.tensor([[2.0]], dtype=torch.float64))
    optimizer = make("sgd", [weight], lr=0.1, momentum=0.9, nesterov=True)
    expected, mean = 2.0, 0.0
    for _ in range(20):
        weight.grad = 3 * weight.detach()
        optimizer.step()
        gradient = 3 * expected
        mean = 0.9 * mean + gradient
        expected -= 0.1 * (gradient + 0.9 * mean)
        assert weight.item() == pytest.approx(expected, rel=1e-12)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(UsageError, match=r"nesterov needs a momentum above 0, such as --momentum 0.9"):
        build(OPTIMIZERS["sgd"], {"nesterov": True})


def paper_adafactor(weight: torch.Tensor, gradients: list[torch.Tensor]) -> torch.Tensor:
    """Algorithms 4 and 5 of Shazeer and Stern (2018), with the hyperparameters of algorithm 6."""

    def root_mean_square(values: torch.Tensor) -> float:
        return float(values.square().mean().sqrt())

    weight = weight.clone()
    first, second, threshold = 1e-30, 1e-3, 1.0
    rows, columns, whole = 0.0, 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        alpha = max(second, root_mean_square(weight)) * min(1e-2, step**-0.5)
        decay = 1 - step**-0.8
        square = gradient.square() + first
        if weight.dim() == 2:
            rows = decay * rows + (1 - decay) * square.sum(1)
            columns = decay * columns + (1 - decay) * square.sum(0)
            moment = torch.outer(rows, columns) / rows.sum()
        else:
            whole = decay * whole + (1 - decay) * square
            moment = whole
        update = gradient / moment.sqrt()
        weight -= alpha * update / max(1.0, root_mean_square(update) / threshold)
    return weight


@pytest.mark.parametrize("shape", [(5,), (5, 3)])
@pytest.mark.parametrize("scale", [1e-4, 1.0])
def test_adafactor_as_the_paper_has_it(shape: tuple[int, ...], scale: float) -> None:
    """Small gradients too, which torch's own default of ε₁ would hold to be nothing."""
    torch.manual_seed(1)
    weight = nn.Parameter(torch.randn(shape))
    gradients = [scale * torch.randn(shape) / step for step in range(1, 151)]
    expected = paper_adafactor(weight.detach().double(), [gradient.double() for gradient in gradients])
    before = weight.detach().clone()
    optimizer = make("adafactor", [weight])
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
    torch.testing.assert_close(weight.detach().double(), expected, rtol=0, atol=1e-5)
    assert (weight - before).abs().max() > 0.02


def test_a_row_without_gradient_does_not_upset_adafactor() -> None:
    """As the embeddings of words that a batch does not have."""
    weight = nn.Parameter(torch.ones(3, 2))
    optimizer = make("adafactor", [weight])
    for _ in range(3):
        weight.grad = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 1.0]])
        optimizer.step()
    assert torch.equal(weight[0], torch.ones(2))
    assert (weight[1] < 1).all()


def test_adafactor_takes_no_eps_that_float32_lacks() -> None:
    with pytest.raises(UsageError, match=r"adafactor_eps = .1e-50, 1e-3. is not allowed; allowed: ≥ 1e-37"):
        build(OPTIMIZERS["adafactor"], {"adafactor_eps": "1e-50, 1e-3"})


def test_adagrad_starts_from_the_initial_value() -> None:
    """The first step is lr · g / √(initial value + g²)."""
    weight = nn.Parameter(torch.tensor([[1.0, 1.0]]))
    optimizer = make("adagrad", [weight], lr=0.5, initial_accumulator_value=9.0)
    weight.grad = torch.tensor([[4.0, -4.0]])
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([[0.6, 1.4]]))
