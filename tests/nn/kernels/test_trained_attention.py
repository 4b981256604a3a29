"""Attention by its parts against the formula and its gradients by autograd, with the mask of dropout that was drawn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from s2scli.nn.kernels import random_masks, switched, trained_attention
from s2scli.nn.kernels.trained_attention import goes_by_parts
from s2scli.nn.multi_head import attention

SHAPES = [(2, 3, 5, 7, 4), (1, 2, 16, 16, 8), (3, 1, 1, 33, 5), (2, 4, 20, 20, 6)]
KINDS = ("none", "causal", "keys", "pairs", "bias")


def drawn(shape: tuple[int, ...], kind: str) -> tuple[list[Tensor], Tensor | None]:
    """Queries, keys and values in float64, laid out as projections leave them, and a mask of a kind."""
    batch, heads, num_queries, num_keys, width = shape
    torch.manual_seed(sum(shape))
    lengths = num_queries, num_keys, num_keys
    inputs = [
        torch.randn(batch, length, heads, width, dtype=torch.float64).transpose(1, 2) for length in lengths
    ]
    mask = None
    if kind == "keys":
        mask = torch.rand(batch, 1, 1, num_keys) < 0.5
        mask[..., 0] = True
    elif kind == "pairs":
        mask = torch.rand(batch, heads, num_queries, num_keys) < 0.5
        mask[..., 0] = True
    elif kind == "bias":
        mask = torch.randn(1, heads, num_queries, num_keys, dtype=torch.float64)
        mask[..., 1:] = mask[..., 1:].masked_fill(mask[..., 1:] > 1, float("-inf"))
    return inputs, mask


def given(inputs: list[Tensor], mask: Tensor | None, dropout: float, causal: bool) -> list[Tensor]:
    """The output, and the gradients of a function of it."""
    leaves = [item.detach().clone().requires_grad_() for item in inputs]
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.clone().requires_grad_()
        leaves.append(mask)
    output = attention(*leaves[:3], mask, dropout=dropout, causal=causal, scale=0.3)
    return [output, *torch.autograd.grad((output**2).sin().sum(), leaves)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_formula_and_its_gradients(shape: tuple[int, ...], kind: str) -> None:
    if kind == "causal" and shape[2] != shape[3]:
        return
    inputs, mask = drawn(shape, kind)
    found = given(inputs, mask, 0.0, kind == "causal")
    with switched(False):
        wanted = given(inputs, mask, 0.0, kind == "causal")
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["none", "keys"])
def test_dropped_weights(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The formula is given the mask that the kernel has drawn, a rate of 64/256 and a scale of 4/3."""
    masks: list[Tensor] = []

    def noted(shape: tuple[int, ...], threshold: int) -> Tensor:
        masks.append(random_masks.random_mask(shape, threshold))
        return masks[-1]

    monkeypatch.setattr(trained_attention, "random_mask", noted)
    shape = (2, 3, 9, 11, 4)
    inputs, mask = drawn(shape, kind)
    found = given(inputs, mask, 0.25, False)
    kept = masks[0].view(2, 3, 9, 16)[..., :11]
    leaves = [item.detach().clone().requires_grad_() for item in inputs]
    queries, keys, values = leaves
    scores = 0.3 * queries @ keys.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    output = (scores.softmax(-1) * kept * (4 / 3)) @ values
    wanted = [output, *torch.autograd.grad((output**2).sin().sum(), leaves)]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert 0 < int(kept.sum()) < kept.numel()


def test_the_mean_over_masks_is_attention_without_dropout() -> None:
    inputs, _ = drawn((1, 2, 3, 20, 4), "none")
    inputs[0].requires_grad_()
    plain = attention(*inputs)
    times = 3000
    mean = sum(attention(*inputs, dropout=0.2).detach() for _ in range(times)) / times
    torch.testing.assert_close(mean, plain.detach(), rtol=0, atol=0.03)


def test_in_bf16_long_rows_are_products_of_bf16_and_short_ones_of_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    seen: list[torch.dtype] = []
    plain = trained_attention._scaled

    def noted(a: Tensor, b: Tensor, scale: float) -> Tensor:
        seen.append(a.dtype)
        return plain(a, b, scale)

    monkeypatch.setattr(trained_attention, "_scaled", noted)
    for length, dtype in ((200, torch.bfloat16), (20, torch.float32)):
        seen.clear()
        inputs = [torch.randn(2, 2, length, 8).bfloat16().requires_grad_() for _ in range(3)]
        with torch.autocast("cpu", torch.bfloat16):
            output = attention(*inputs)
        assert {*seen} == {dtype}
        with switched(False):
            wanted = attention(*(item.float() for item in inputs))
        torch.testing.assert_close(output.float(), wanted, rtol=0.05, atol=0.02)
        gradients = torch.autograd.grad(output.float().sum(), inputs)
        for ours, theirs in zip(gradients, torch.autograd.grad(wanted.sum(), inputs), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)


def test_a_query_that_may_attend_to_nothing_has_finite_gradients() -> None:
    inputs = [torch.randn(1, 1, 2, 4, requires_grad=True) for _ in range(3)]
    mask = torch.tensor([[True, True], [False, False]])[None, None]
    output = attention(*inputs, mask)
    for item in (output, *torch.autograd.grad(output[:, :, 0].sum(), inputs)):
        assert bool(item.isfinite().all())


def test_what_is_left_to_the_fused_kernel() -> None:
    """What has no gradient, and long rows without dropout: in bf16 with a bias that autocast has made bf16, too."""
    queries = torch.randn(1, 1, 4, 2, requires_grad=True)
    assert goes_by_parts(queries, queries, 0.0)
    long = torch.randn(1, 1, 300, 2)
    assert not goes_by_parts(long, long, 0.0)
    assert goes_by_parts(long, long, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert goes_by_parts(long, long, 0.0)
    with torch.no_grad():
        assert not goes_by_parts(queries, queries, 0.1)
    with switched(False):
        assert not goes_by_parts(queries, queries, 0.1)
    longest = torch.randn(1, 1, 1100, 2).bfloat16().requires_grad_()
    bias = torch.zeros(1, 1, 1100, 1100, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert not goes_by_parts(longest, longest, 0.0)
        output = attention(longest, longest, longest, bias)
    output.sum().backward()
    assert bias.grad is not None
    assert math.isfinite(float(bias.grad.sum()))
