"""What the optimizers of our own have in common."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

Closure = Callable[[], float]


def loss_of(closure: Closure | None) -> float | None:
    """What a closure, if there is one, computes of the loss, with the gradients."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def running_mean(optimizer: Optimizer, parameter: Tensor, name: str) -> Tensor:
    """A parameter's running mean in an optimizer's state, which starts at zero."""
    state = optimizer.state[parameter]
    if name not in state:
        state[name] = torch.zeros_like(parameter)
    mean: Tensor = state[name]
    return mean
