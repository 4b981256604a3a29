"""Lion against its paper's algorithm, written out for one number at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from s2scli.components import OPTIMIZERS
from s2scli.optim.lion import Lion
from s2scli.optim.optimizers import build_optimizer
from s2scli.schema import build


def paper(weight: float, gradients: list[float], **settings: Any) -> float:
    """Algorithm 2 of Chen et al. (2023); settings: beta1, beta2, rates (one an update), decay."""
    mean = 0.0
    for gradient, rate in zip(gradients, settings["rates"], strict=True):
        mixed = settings["beta1"] * mean + (1 - settings["beta1"]) * gradient
        weight -= rate * (math.copysign(1.0, mixed) + settings["decay"] * weight)
        mean = settings["beta2"] * mean + (1 - settings["beta2"]) * gradient
    return weight


def test_it_is_the_papers_algorithm() -> None:
    torch.manual_seed(1)
    shapes, rates = [(3, 4), (5,), (2, 2)], [0.1 / step for step in range(1, 31)]
    parameters = [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in shapes]
    before = [parameter.detach().clone() for parameter in parameters]
    gradients = [[torch.randn(shape, dtype=torch.float64) for _ in rates] for shape in shapes]
    config = build(OPTIMIZERS["lion"], {"betas": (0.8, 0.95), "weight_decay": 0.3})
    optimizer = build_optimizer(config, parameters)
    for step, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for parameter, its in zip(parameters, gradients, strict=True):
            parameter.grad = its[step]
        optimizer.step()
    for parameter, first, its in zip(parameters, before, gradients, strict=True):
        decay = 0.3 if parameter.dim() == 2 else 0.0
        expected = [
            paper(
                value,
                [float(gradient.flatten()[place]) for gradient in its],
                beta1=0.8,
                beta2=0.95,
                rates=rates,
                decay=decay,
            )
            for place, value in enumerate(first.flatten().tolist())
        ]
        assert parameter.detach().flatten().tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)
        assert len({round(value, 6) for value in (parameter - first).flatten().tolist()}) > 1


def test_the_two_betas_do_two_things() -> None:
    """A step mixes little of the old mean in (β₁), the mean keeps much of it (β₂)."""
    weight = nn.Parameter(torch.zeros(1))
    optimizer = Lion([{"params": [weight]}], lr=1.0, betas=(0.5, 0.9))
    steps = []
    for gradient in (1.0, -0.05, -0.2):
        before = weight.item()
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        steps.append(weight.item() - before)
    # Means 0, 0.1, 0.085; mixed with the gradients 0.5, 0.025, -0.0575.
    assert steps == [-1.0, -1.0, 1.0]
    assert optimizer.state[weight]["exp_avg"].item() == pytest.approx(0.0565)


def test_a_closure_computes_the_gradients() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = Lion([{"params": [weight]}], lr=0.5)

    def closure() -> float:
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert weight.item() == 1.5
