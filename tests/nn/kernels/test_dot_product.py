"""Kernels of dot-product attention against the formula, with kernels switched off, over random shapes."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from s2scli.nn.kernels import switched
from s2scli.nn.kernels.dot_product import (
    CachedKeys,
    attend_cached,
    bias_of,
    contiguous_for_steps,
    padded_for_steps,
    rounded_length,
)
from s2scli.nn.multi_head import attention


def shapes(number: int) -> list[tuple[int, ...]]:
    """Sentences, heads, queries, keys and the width of a head."""
    draw = random.Random(7)
    return [tuple(draw.randint(1, most) for most in (4, 5, 6, 40, 9)) for _ in range(number)]


def drawn(shape: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys and values, and a mask [B, S] with at least one true in each row."""
    batch, heads, num_queries, num_keys, width = shape
    torch.manual_seed(seed)
    queries = torch.randn(batch, heads, num_queries, width)
    keys, values = torch.randn(2, batch, heads, num_keys, width)
    mask = torch.rand(batch, num_keys) < 0.6
    mask[:, 0] = True
    return queries, keys, values, mask


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_whole_sequences(seed: int, dtype: torch.dtype) -> None:
    """In bf16 as autocast has it, where the formula rounds more often than the kernel; gradients too."""
    rough = 0.05 if dtype == torch.bfloat16 else 1e-5
    for shape in shapes(6):
        queries, keys, values, mask = drawn(shape, seed)
        found = []
        for on in (True, False):
            inputs = [item.clone().requires_grad_() for item in (queries, keys, values)]
            with switched(on), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                output = attention(*inputs, mask[:, None, None])
            gradients = torch.autograd.grad(output.float().sin().sum(), inputs)
            found.append([output.float(), *gradients])
        for kernel, formula in zip(*found, strict=True):
            torch.testing.assert_close(kernel, formula, rtol=rough, atol=rough)


@pytest.mark.parametrize("seed", range(3))
def test_cached_keys(seed: int) -> None:
    for shape in shapes(12):
        queries, keys, values, mask = drawn(shape, seed)
        heads, width = shape[1], shape[4]
        found = []
        for on in (True, False):
            with switched(on), torch.inference_mode():
                padded = [padded_for_steps(item, 2).flatten(0, 1) for item in (keys, values)]
                bias = bias_of(padded_for_steps(mask, 1), heads, keys.dtype)
                assert padded[0].size(1) == rounded_length(keys.size(2))
                cached = CachedKeys(padded[0], padded[1], bias)
                found.append(attend_cached(queries.flatten(0, 1), cached, scale=width**-0.5, heads=heads))
            torch.testing.assert_close(
                found[-1].view_as(queries), attention(queries, keys, values, mask[:, None, None])
            )
        torch.testing.assert_close(*found)


def test_what_is_read_in_each_step_is_laid_out_for_it_but_not_in_training() -> None:
    x = torch.ones(2, 21, 3).transpose(0, 2)  # [3, 21, 2]
    assert padded_for_steps(x, 1).shape == contiguous_for_steps(x).shape == (3, 21, 2)
    with torch.no_grad(), switched(True):
        padded = padded_for_steps(x, 1)
        assert padded.shape == (3, 32, 2)
        assert padded[:, :21].eq(1).all()
        assert padded[:, 21:].eq(0).all()
        assert padded_for_steps(x[:, :16], 1).shape == (3, 16, 2)
        assert not x.is_contiguous()
        assert contiguous_for_steps(x).is_contiguous()
        with switched(False):
            assert padded_for_steps(x, 1).shape == (3, 21, 2)
