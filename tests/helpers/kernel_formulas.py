"""Holding a kernel equal to its plain formula: values and gradients, on every device and in several precisions."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import torch
from torch import Tensor

from s2scli.nn.kernels.switch import switched

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
# Of rounding alone, relative to the largest number there is.
ROUNDING = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 0.03}
Outputs = Tensor | tuple[Tensor, ...]


def sizes(seed: int, number: int, largest: int = 40) -> list[int]:
    """So many random sizes."""
    return [Random(f"{seed} {index}").randint(1, largest) for index in range(number)]


def values_and_gradients(function: Callable[..., Outputs], *inputs: Tensor) -> list[Tensor]:
    """What a function gives, and what its inputs get back for one and the same gradient of that."""
    leaves = [item.detach().clone().requires_grad_(item.is_floating_point()) for item in inputs]
    outputs = function(*leaves)
    outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
    generator = torch.Generator().manual_seed(1)
    differentiable = [item for item in outputs if item.requires_grad]
    gradients = [
        torch.randn(item.shape, generator=generator, dtype=torch.float64).to(item) for item in differentiable
    ]
    wanted = [item for item in leaves if item.requires_grad]
    return [*(item.detach() for item in outputs), *torch.autograd.grad(differentiable, wanted, gradients)]


def hold_equal(function: Callable[..., Outputs], *inputs: Tensor, rounding: float | None = None) -> None:
    """A function of kernels gives, and gives back, the same with kernels and without, but for rounding."""
    rounding = ROUNDING[inputs[0].dtype] if rounding is None else rounding
    with switched(on=True):
        fast = values_and_gradients(function, *inputs)
    with switched(on=False):
        plain = values_and_gradients(function, *inputs)
    for one, other in zip(fast, plain, strict=True):
        assert one.shape == other.shape
        largest = max(1.0, other.abs().max().item()) if other.numel() else 1.0
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=rounding * largest)
