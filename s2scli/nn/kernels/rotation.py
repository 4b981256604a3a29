"""Rotations of pairs of numbers, as multiplications of complex ones."""

from __future__ import annotations

import torch
from torch import Tensor

from s2scli.nn.kernels.switch import enabled


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """Rotate the pairs of x [..., width], elements 2i and 2i + 1, as in Su et al. 2021, equation 15.

    In complex numbers, (x_2i + j x_(2i+1)) · (cos + j sin); rotations [..., width/2, 2]: the cosines and sines, in
    float32. The products are in at least float32, and what is given is in the precision of x.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    pairs, rotations = x.to(wide).unflatten(-1, (-1, 2)), rotations.to(wide)
    if not enabled() or torch.compiler.is_compiling():
        return rotated_formula(pairs, rotations).flatten(-2).to(x.dtype)
    turned = torch.view_as_complex(pairs) * torch.view_as_complex(rotations)
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)


def rotated_formula(pairs: Tensor, rotations: Tensor) -> Tensor:
    """Pairs [..., 2] rotated, in real numbers."""
    (real, imaginary), (cosines, sines) = pairs.unbind(-1), rotations.unbind(-1)
    return torch.stack([real * cosines - imaginary * sines, imaginary * cosines + real * sines], dim=-1)
