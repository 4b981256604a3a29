"""Muon, an optimizer that steps by a matrix whose singular values are all about one."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from s2scli.optim.stepping import Closure, loss_of, running_mean

# Of the polynomial a s + b s³ + c s⁵, which brings any s in (0, 1] near to 1 in so many steps (Jordan et al. 2024).
_A, _B, _C = 3.4445, -4.7750, 2.0315
_STEPS = 5
_EPSILON = 1e-7
# The root mean square of Adam's steps, in shares of its rate (Liu et al. 2025, section 2.2).
_RMS_OF_ADAM = 0.2


class Muon(Adam):
    """Muon for the matrices between layers (Jordan et al. 2024), Adam for embeddings, outputs, vectors and the rest.

        M ← μ M + (1 − μ) G
        O = orthogonal((1 − μ) G + μ M)
        W ← W − lr (0.2 √max(rows, columns) O + weight_decay · W)

    The factor makes a step as long as Adam's, so that one rate serves both (Liu et al. 2025, equation 4). Groups of
    parameters whose `blocks` is not 0 are such matrices, each made of so many of one shape, one below the other, and
    each of these is a matrix by itself; their state is M, "momentum_buffer", which starts at zero. `products` of such a
    group is the precision in which matrices in fp32 are multiplied: in bf16, gradients that differ in their last bits,
    as sums in another order do, give steps that differ in their second or third digit.
    """

    def __init__(
        self,
        params: list[dict[str, Any]],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        momentum: float = 0.95,
    ) -> None:
        for group in params:
            group.setdefault("blocks", 0)
            group.setdefault("products", torch.float32)
            group["momentum"] = momentum
        super().__init__(params, lr=lr, betas=betas, eps=eps, fused=True, decoupled_weight_decay=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Adam's own looks for what its earlier versions kept in the state of every parameter.
        Optimizer.__setstate__(self, state)

    @torch.no_grad()
    # torch's has an overload for each kind of closure.
    def step(self, closure: Closure | None = None) -> float | None:  # type: ignore[override]
        """Make one update; closure, if given, computes the loss and the gradients anew."""
        loss = loss_of(closure)
        groups = self.param_groups
        for group in groups:
            if group["blocks"]:
                self._step_matrices(group)
        self.param_groups = [group for group in groups if not group["blocks"]]
        try:
            super().step()
        finally:
            self.param_groups = groups
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        """Muon's step for a group; matrices of one shape are made orthogonal together."""
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape.setdefault(parameter.shape, []).append(parameter)
        rate, blocks, momentum = group["lr"], group["blocks"], group["momentum"]
        for shape, parameters in by_shape.items():
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            means = [running_mean(self, parameter, "momentum_buffer") for parameter in parameters]
            torch._foreach_lerp_(means, gradients, 1 - momentum)
            mixed = torch._foreach_lerp(gradients, means, momentum)
            matrices = torch.stack(mixed).unflatten(1, (blocks, -1)).flatten(0, 1)
            steps = orthogonal(matrices, group["products"] if matrices.dtype == torch.float32 else None)
            length = _RMS_OF_ADAM * sqrt(max(steps.shape[1:]))
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
            joined = steps.view(len(parameters), *shape)
            torch._foreach_add_(parameters, list(joined.unbind(0)), alpha=-rate * length)


def orthogonal(x: Tensor, products: torch.dtype | None = None) -> Tensor:
    """Bring the singular values of matrices near to 1, [N, R, C] of [N, R, C], and leave their singular vectors.

    With X = U S Vᵀ divided by its Frobenius norm, five times X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X, which turns each
    singular value s into a s + b s³ + c s⁵: they come to lie between 0.7 and 1.2. products: the precision of the
    products, if it is not that of x.
    """
    dtype = x.dtype
    x = x.to(products or dtype)
    is_tall = x.size(1) > x.size(2)
    if is_tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_EPSILON)
    for _ in range(_STEPS):
        square = torch.bmm(x, x.mT)
        factor = torch.baddbmm(square, square, square, beta=_B, alpha=_C)
        x = torch.baddbmm(x, factor, x, beta=_A)
    if is_tall:
        x = x.mT
    return x.to(dtype).contiguous()
