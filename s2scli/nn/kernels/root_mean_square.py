"""Root mean square normalization, in training as fast as layer normalization."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from s2scli.nn.kernels.switch import enabled


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Give x / √(mean of x² + ε) · weight, over the last dimension of x [..., D] (Zhang and Sennrich 2019, equation 4).

    The plain formula is torch's, which a CPU computes, and differentiates, operator by operator.
    """
    is_trained = torch.is_grad_enabled() and x.dtype == weight.dtype == torch.float32
    if not enabled() or not is_trained or x.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.rms_norm(x, weight.shape, weight, eps)
    return _DividedByRootMeanSquare.apply(x, weight, eps)  # type: ignore[no-any-return, no-untyped-call]


def rms_norm_in_steps(weight: Tensor, eps: float) -> Callable[[Tensor], Tensor]:
    """What `rms_norm` gives with a weight [D], without a gradient, as a function of x [..., D].

    On a CPU it is x / √(‖x‖² + D ε) · √D weight, in fewer operators.
    """
    weight, width = weight.detach(), len(weight)
    if not enabled() or weight.device.type != "cpu":
        return partial(torch.rms_norm, normalized_shape=weight.shape, weight=weight, eps=eps)
    added, scaled = weight.new_tensor(width * eps), weight * sqrt(width)

    def normalized(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, 2, -1, True)
        return torch.addcmul(added, norm, norm).rsqrt_() * x * scaled

    return normalized


class _DividedByRootMeanSquare(torch.autograd.Function):
    """y = r x ⊙ w with r = 1/√(mean of x² + ε).

    With the gradient d of y and e = d ⊙ w, dw = Σ d ⊙ r x and dx = r (e - r x · mean of e ⊙ r x). The gradient of layer
    normalization, where x has the mean 0, is this one but for r · mean of e, which is subtracted in dx.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.size(-1)).add_(eps).rsqrt_()  # [..., 1]
        ctx.save_for_backward(x, weight, scale)
        return torch.mul(x, scale).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        d_x, d_weight, _ = torch.ops.aten.native_layer_norm_backward(
            gradients[0], x, [x.size(-1)], torch.zeros_like(scale), scale, weight, None, [True, True, False]
        )
        mean = (gradients[0] @ weight).div_(x.size(-1))[..., None]
        return d_x.addcmul_(mean, scale), d_weight, None
