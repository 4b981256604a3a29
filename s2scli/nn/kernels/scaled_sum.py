"""A multiple of one tensor and another, in one operator."""

from __future__ import annotations

import torch
from torch import Tensor

from s2scli.nn.kernels.switch import enabled


def scaled_sum(scale: float, x: Tensor, y: Tensor) -> Tensor:
    """Scale · x + y, rounded once on a CPU, where the formula rounds twice; x and y broadcast to one shape."""
    return torch.add(y, x, alpha=scale) if enabled() else scale * x + y
