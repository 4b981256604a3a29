"""Lion, an optimizer that steps by the sign of a mean gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lion(Optimizer):
    """Evolved sign momentum (Chen et al. 2023, algorithm 2), with decoupled weight decay.

        θ ← θ − lr (sign(β₁ m + (1 − β₁) g) + weight_decay · θ)
        m ← β₂ m + (1 − β₂) g

    Its state is m, "exp_avg", which starts at zero.
    """

    def __init__(
        self,
        params: list[dict[str, Any]],
        lr: float = 0.0001,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make one update; closure, if given, computes the loss and the gradients anew."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            gradients = [parameter.grad for parameter in parameters]
            means = [self._mean(parameter) for parameter in parameters]
            beta1, beta2 = group["betas"]
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            steps = torch._foreach_lerp(means, gradients, 1 - beta1)
            torch._foreach_sign_(steps)
            torch._foreach_add_(parameters, steps, alpha=-group["lr"])
            torch._foreach_lerp_(means, gradients, 1 - beta2)
        return loss

    def _mean(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(parameter)
        mean: Tensor = state["exp_avg"]
        return mean
