"""Products in bf16 and int8 against their definitions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from s2scli.errors import UsageError
from s2scli.nn.kernels import quantized
from s2scli.nn.kernels.products import QuantizedWeight, linear
from s2scli.nn.kernels.quantized import FloatWeight, Int8Weight
from s2scli.nn.kernels.switch import switched
from s2scli.nn.linear import Linear
from s2scli.nn.quantized import quantize


def rounded(row: torch.Tensor) -> tuple[list[int], float]:
    """A row as whole numbers up to 127, and the step between them."""
    step = max(row.abs().max().item() / 127, 1e-38)
    return [round(value / step) for value in row.tolist()], step


@pytest.mark.parametrize("bias", [None, [0.5, -2.0, 0.25]])
def test_int8_is_as_defined(bias: list[float] | None) -> None:
    torch.manual_seed(3)
    weight, x = torch.randn(3, 5), torch.randn(2, 4, 5) * torch.tensor([0.01, 1, 30, 0])[:, None]
    product = Int8Weight.of(weight, None if bias is None else torch.tensor(bias))
    y = product(x)
    assert y.shape == (2, 4, 3)
    for place in ((i, j) for i in range(2) for j in range(4)):
        whole, step = rounded(x[place])
        for n in range(3):
            other, other_step = rounded(weight[n])
            total = sum(a * b for a, b in zip(whole, other, strict=True)) * step * other_step
            expected = total + (bias[n] if bias else 0)
            # A tie may be rounded either way, as one more or less of 127 steps.
            assert y[(*place, n)].item() == pytest.approx(expected, rel=1e-5, abs=step * other_step * 127)


def test_a_row_depends_on_nothing_but_itself() -> None:
    torch.manual_seed(5)
    product = Int8Weight.of(torch.randn(3000, 24), torch.randn(3000))
    x = torch.randn(400, 24) * torch.rand(400, 1) * 100
    together = product(x)
    assert torch.equal(together[7:8], product(x[7:8]))
    assert torch.equal(together[200:203], product(x[200:203]))
    assert product(x[:0]).shape == (0, 3000)


@pytest.mark.parametrize("rows", [5, 20_000])
def test_bf16_is_the_product_of_rounded_numbers(rows: int) -> None:
    torch.manual_seed(6)
    weight, bias, x = torch.randn(7, 16), torch.randn(7), torch.randn(rows, 16)
    wanted = x.bfloat16().double() @ weight.bfloat16().double().T + bias.bfloat16().double()
    y = FloatWeight.bf16(weight, bias)(x)
    assert y.dtype == torch.float32
    # The result is rounded to 8 bits too.
    assert torch.equal(y, y.bfloat16().float())
    assert torch.allclose(y.double(), wanted, rtol=2**-7, atol=2**-7)
    part = FloatWeight.bf16(weight, bias).of_rows(torch.arange(7).flip(0))
    assert torch.allclose(part(x).double(), wanted.flip(1), rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize(("precision", "close"), [("bf16", 0.02), ("int8", 0.02)])
def test_a_layer_is_close_to_its_own_in_full_precision(precision: str, close: float) -> None:
    torch.manual_seed(7)
    layer = Linear(64, 96)
    x = torch.randn(200, 64)  # no short product
    with torch.inference_mode():
        full = layer(x)
        quantize(layer, precision)
        error = (layer(x) - full).norm() / full.norm()
    assert 0 < error < close


def test_fp16_is_for_a_gpu() -> None:
    with pytest.raises(UsageError, match="--precision fp16 is for a GPU; on a CPU take bf16 or int8"):
        quantize(Linear(4, 4), "fp16")


@pytest.mark.parametrize("rows", [1, 7, 700])
def test_large_weights_are_packed(rows: int) -> None:
    torch.manual_seed(8)
    weight, bias, x = torch.randn(1024, 300), torch.randn(1024), torch.randn(rows, 300)
    wanted = x.double() @ weight.double().T + bias.double()
    with torch.inference_mode():
        assert torch.allclose(FloatWeight(weight, bias)(x).double(), wanted, atol=1e-4)
        assert torch.allclose(FloatWeight.bf16(weight, bias)(x).double(), wanted, rtol=0.05, atol=1)
        some = torch.tensor([3, 900, 4])
        assert torch.allclose(FloatWeight(weight, bias).of_rows(some)(x).double(), wanted[:, some], atol=1e-4)


def test_a_layer_needs_its_weight_no_more() -> None:
    layer = Linear(512, 600)
    x = torch.randn(3, 512)
    with torch.inference_mode():
        before = layer(x)
        quantize(layer, "fp32")
        assert layer.weight is None
        assert torch.allclose(layer(x), before, atol=1e-5)


@pytest.mark.parametrize("make", [FloatWeight, FloatWeight.bf16, Int8Weight.of])
@pytest.mark.parametrize(
    "shape", [(5, 7, 3), (300, 600, 64), (2, 900, 301), (1, 900, 301), (70, 900, 301), (0, 600, 64)]
)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("library", ["onednn", "torch"])
def test_a_weight_multiplies_as_its_formula(
    make: Callable[[Tensor, Tensor | None], QuantizedWeight],
    shape: tuple[int, int, int],
    biased: bool,
    library: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantized, "resolve_library", lambda *_: library)
    torch.manual_seed(9)
    rows, outputs, inputs = shape
    weight, bias, x = torch.randn(outputs, inputs), torch.randn(outputs), torch.randn(rows, inputs)
    made = make(weight, bias if biased else None)
    some = torch.randperm(outputs)[:3]
    for one in (made, made.of_rows(some)):
        with switched(on=True):
            fast = linear(x, one)
        with switched(on=False):
            plain = linear(x, one)
        # Sums in bf16 that are as near to one number as to the next are rounded either way.
        rounding = 2**-7 if make == FloatWeight.bf16 else 1e-5
        torch.testing.assert_close(fast, plain, rtol=rounding, atol=rounding * inputs**0.5)


@pytest.mark.parametrize("rows", [1, 3, 3000])
def test_a_packed_weight_in_full_precision_has_a_gradient(rows: int) -> None:
    """dx = dy W, of short products and of those that oneDNN computes."""
    weight, bias = torch.randn(600, 500), torch.randn(600)
    x, dy = torch.randn(rows, 500, requires_grad=True), torch.randn(rows, 600)
    y = linear(x, FloatWeight(weight, bias))
    torch.testing.assert_close(y, x @ weight.T + bias, rtol=1e-4, atol=1e-4)
    (dx,) = torch.autograd.grad(y, x, dy)
    torch.testing.assert_close(dx, dy @ weight, rtol=1e-4, atol=1e-3)
