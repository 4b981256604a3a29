"""Lion, an optimizer that steps by the sign of a mean gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from s2scli.optim.stepping import Closure, loss_of, running_mean


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
    # torch's has an overload for each kind of closure.
    def step(self, closure: Closure | None = None) -> float | None:  # type: ignore[override]
        """Make one update; closure, if given, computes the loss and the gradients anew."""
        loss = loss_of(closure)
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            gradients = [parameter.grad for parameter in parameters]
            means = [running_mean(self, parameter, "exp_avg") for parameter in parameters]
            beta1, beta2 = group["betas"]
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            steps = torch._foreach_lerp(means, gradients, 1 - beta1)
            torch._foreach_sign_(steps)
            torch._foreach_add_(parameters, steps, alpha=-group["lr"])
            torch._foreach_lerp_(means, gradients, 1 - beta2)
        return loss
