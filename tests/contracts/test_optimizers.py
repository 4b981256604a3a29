"""Laws that hold for every optimizer: it resumes bit for bit, goes downhill, and obeys the rate that is set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from s2scli.components import OPTIMIZERS
from s2scli.optim.optimizers import build_optimizer
from s2scli.schema import build
from s2scli.training.state import optimizer_tensors, restore_optimizer

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
# Every optimizer as it is by default, and with the settings that change what it remembers.
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {} for name in OPTIMIZERS},
    "rmsprop momentum": {"momentum": 0.5},
    "sgd momentum": {"momentum": 0.5},
    "sgd nesterov": {"momentum": 0.5, "nesterov": True},
    "adagrad initial": {"initial_accumulator_value": 0.1},
}
Named = dict[str, nn.Parameter]


def make(variant: str, parameters: Iterable[nn.Parameter], **settings: Any) -> Optimizer:
    name = variant.split()[0]
    config = build(OPTIMIZERS[name], VARIANTS[variant] | settings)
    parameters = list(parameters)
    return build_optimizer(config, parameters, {item: 1 for item in parameters if item.dim() == 2})


def parameters_of(device: str = "cpu") -> Named:
    """A matrix, a vector, a stack of matrices, and a number, as models have them."""
    shapes = {"matrix": (4, 3), "vector": (5,), "filters": (2, 3, 2), "scale": ()}
    draw = torch.Generator().manual_seed(1)
    return {
        name: nn.Parameter(torch.randn(shape, generator=draw).to(device)) for name, shape in shapes.items()
    }


def learn(optimizer: Optimizer, named: Named, steps: Iterable[int], rate: float = 0.01) -> None:
    """Updates with gradients that depend on the step and the weights, and rates as a schedule sets them."""
    for step in steps:
        for number, parameter in enumerate(named.values()):
            draw = torch.Generator().manual_seed(100 * step + number)
            noise = torch.randn(parameter.shape, generator=draw).to(parameter.device)
            parameter.grad = 0.1 * parameter.detach() + noise
        for group in optimizer.param_groups:
            group["lr"] = rate / (1 + step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def values(named: Named) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in named.items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_every_optimizer_is_here() -> None:
    assert {variant.split()[0] for variant in VARIANTS} == set(OPTIMIZERS)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_resumes_bit_for_bit(variant: str, device: str) -> None:
    whole, parts = parameters_of(device), parameters_of(device)
    optimizer = make(variant, whole.values(), weight_decay=0.1)
    learn(optimizer, whole, range(10))
    first = make(variant, parts.values(), weight_decay=0.1)
    learn(first, parts, range(5))
    # On the CPU in between, as in a file.
    saved = {name: tensor.to("cpu", copy=True) for name, tensor in optimizer_tensors(first, parts).items()}
    before = values(parts)
    fresh = make(variant, parts.values(), weight_decay=0.1)
    restore_optimizer(fresh, parts, saved)
    learn(fresh, parts, range(5, 10))
    assert equal(values(parts), values(whole))
    tensors = optimizer_tensors(optimizer, whole), optimizer_tensors(fresh, parts)
    assert equal(*tensors)
    assert all(tensors[0][name].dtype == tensors[1][name].dtype for name in tensors[0])
    if not saved:  # plain SGD remembers nothing
        return
    restored = values(parts)
    for name, parameter in parts.items():
        parameter.data.copy_(before[name])
    learn(make(variant, parts.values(), weight_decay=0.1), parts, range(5, 10))
    assert not equal(values(parts), restored), "what it remembers made no difference"


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_it_remembers_are_tensors(variant: str) -> None:
    """Else a checkpoint, which holds optimizer.state's tensors, would not be all of it."""
    named = parameters_of()
    optimizer = make(variant, named.values(), weight_decay=0.1)

    def settings() -> list[dict[str, Any]]:
        return [
            {key: item for key, item in group.items() if key not in ("params", "lr")}
            for group in optimizer.param_groups
        ]

    own, groups = set(vars(optimizer)), settings()
    learn(optimizer, named, range(5))
    assert settings() == groups
    assert set(vars(optimizer)) == own
    for state in optimizer.state.values():
        assert all(isinstance(item, Tensor) for item in state.values()), state
        assert not any("." in key for key in state)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_goes_downhill(variant: str) -> None:
    """A convex quadratic whose curvature differs by ten, with a rate that falls to zero."""
    torch.manual_seed(1)
    named = {"matrix": nn.Parameter(torch.randn(4, 3)), "vector": nn.Parameter(torch.randn(4))}
    curvature = {name: torch.rand(item.shape) * 0.9 + 0.1 for name, item in named.items()}

    def loss() -> Tensor:
        return torch.stack([(curvature[name] * item.square()).sum() for name, item in named.items()]).sum()

    rate = {"sgd": 0.3, "adagrad": 0.5, "adadelta": 20.0, "adafactor": 0.3, "muon": 0.5}.get(
        variant.split()[0], 0.1
    )
    optimizer = make(variant, named.values())
    first = loss().item()
    for step in range(100):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / 100)
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.02 * first


@pytest.mark.parametrize("variant", VARIANTS)
def test_weight_decay_leaves_vectors_alone(variant: str) -> None:
    """With gradients of zero, vectors and numbers stay as they are and matrices shrink."""
    named = parameters_of()
    before = values(named)
    optimizer = make(variant, named.values(), lr=0.01, weight_decay=0.5)
    for _ in range(2):
        for parameter in named.values():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    for name, parameter in named.items():
        if parameter.dim() < 2:
            assert torch.equal(parameter, before[name]), name
        else:
            assert (parameter.abs() < before[name].abs()).all(), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_parameter_without_gradient_is_left_alone(variant: str) -> None:
    """And it learns as if it were new once it has one."""
    named = parameters_of()
    idle = nn.Parameter(torch.ones(3, 2))
    optimizer = make(variant, [*named.values(), idle], weight_decay=0.5)
    learn(optimizer, named, range(3))
    assert torch.equal(idle, torch.ones(3, 2))
    learn(optimizer, {**named, "idle": idle}, range(3, 6), rate=1.0)
    assert not (idle == 1).any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_the_rate_that_is_set_counts(variant: str) -> None:
    """Training sets group["lr"] at each update; what the optimizer was made with is forgotten."""
    one, other, still = parameters_of(), parameters_of(), parameters_of()
    learn(make(variant, one.values(), lr=123.0, weight_decay=0.1), one, range(5))
    learn(make(variant, other.values(), lr=0.01, weight_decay=0.1), other, range(5))
    assert equal(values(one), values(other))
    learn(make(variant, still.values(), lr=0.01, weight_decay=0.1), still, range(5), rate=0.0)
    assert equal(values(still), values(parameters_of()))
    assert not equal(values(one), values(still))
