"""Products with weights: their values, and the gradients that a loop computes for all its steps at once."""

from __future__ import annotations

import pytest
import torch
from kernel_formulas import DEVICES, hold_equal, sizes
from torch import Tensor

from s2scli.nn.kernels import products
from s2scli.nn.kernels.products import Loop, linear, product, resolve_library, trained_by

ROWS, IN, OUT, STEPS = 3, 4, 4, 5


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_product_is_torchs(dtype: torch.dtype) -> None:
    """Of a whole matrix, of some of its columns, and transposed; of two dimensions and of three."""
    x, matrix, bias = torch.randn(2, 70, 40), torch.randn(60, 100), torch.randn(60)
    for weight in (matrix[:, :40].contiguous(), matrix[:, 30:70], matrix[:40].T[:60], matrix.T[:60, 5:45]):
        for rows in (x, x[0], x.transpose(0, 1)):
            got = product(rows.to(dtype), weight.to(dtype), bias.to(dtype)).float()
            rough = 0.05 if dtype == torch.bfloat16 else 1e-4
            torch.testing.assert_close(got, rows @ weight.T + bias, rtol=rough, atol=rough * 6)


@pytest.mark.parametrize("biased", [False, True])
def test_the_gradient_of_a_product(biased: bool) -> None:
    inputs = (draw(2, ROWS, IN), draw(OUT, IN), draw(OUT) if biased else None)
    assert torch.autograd.gradcheck(linear, inputs)


@pytest.mark.parametrize("rows", [1, 127, 128, 129, 300])
def test_any_number_of_rows(rows: int) -> None:
    """Of values and of gradients none but those of the rows that are there."""
    x, weight, bias = (draw(*shape, dtype=torch.float32) for shape in ((rows, 40), (60, 40), (60,)))
    dy = torch.randn(rows, 60)
    expected = torch.nn.functional.linear(x, weight, bias)
    found = linear(x, weight, bias)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        *(torch.autograd.grad(y, (x, weight, bias), dy) for y in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("library", ["onednn", "torch"])
def test_either_library_gives_the_products_and_gradients_of_the_formula(library: str) -> None:
    """In float64, written out, and with kernels that are large enough for both."""
    x, weight, bias = (draw(*shape, dtype=torch.float32) for shape in ((5, 70, 160), (96, 160), (96,)))
    dy = torch.randn(5, 70, 96)
    with trained_by(library):
        found = linear(x, weight, bias)
        gradients = torch.autograd.grad(found, (x, weight, bias), dy)
    double, rows = dy.double(), x.double().flatten(0, 1)
    wanted = x.double() @ weight.double().T + bias.double()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-4)
    expected = double @ weight.double(), double.flatten(0, 1).T @ rows, double.sum((0, 1))
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-4)


def test_the_library_is_chosen_by_the_chip_and_for_a_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    plain = products._trained
    monkeypatch.setattr(products, "_trained", lambda *tensors: used.append(1) or plain(*tensors))
    inputs = (draw(ROWS, IN, dtype=torch.float32), draw(OUT, IN, dtype=torch.float32))
    for library, times in (("torch", 0), ("onednn", 1), ("torch", 1)):
        with trained_by(library):
            linear(*inputs)
        assert len(used) == times
    linear(*inputs)
    assert len(used) == 2
    chips = {"torch": {"avx2": True, "avx512_f": False}, "onednn": {"avx2": True, "avx512_f": True}}
    for library, capabilities in chips.items():
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert resolve_library("auto", torch.device("cpu")) == library
        assert resolve_library("auto", torch.device("cuda")) == "torch"
        assert resolve_library("onednn", torch.device("cpu")) == "onednn"


@pytest.mark.parametrize("batched", [False, True])
def test_the_gradient_of_a_loop(batched: bool) -> None:
    """Each step's input comes from the step before."""
    shape = (ROWS, 2) if batched else (ROWS,)
    bias = None if batched else draw(OUT)

    def function(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        loop = Loop(STEPS, torch.float64)
        for _ in range(STEPS):
            x = torch.tanh(loop.linear(x, weight, bias))
        return x

    weight = draw(ROWS, OUT, IN) if batched else draw(OUT, IN)
    assert torch.autograd.gradcheck(function, (draw(*shape, IN), weight, bias))


def test_a_loops_gradients_in_float32_are_autograds() -> None:
    x, bias = draw(ROWS, IN, dtype=torch.float32), draw(OUT, dtype=torch.float32)
    matrix = draw(OUT, 3 * IN, dtype=torch.float32)
    loop = Loop(STEPS, torch.float32)
    got = expected = x
    for _ in range(STEPS):
        weight = matrix[:, IN : 2 * IN]  # cut out anew in each step, and yet the same
        got, expected = torch.tanh(loop.linear(got, weight, bias)), torch.tanh(expected @ weight.T + bias)
    torch.testing.assert_close(got, expected)
    for one, other in zip(
        torch.autograd.grad(got.sin().sum(), (x, matrix, bias)),
        torch.autograd.grad(expected.sin().sum(), (x, matrix, bias)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_autocast_narrows_products() -> None:
    x, weight, bias = (draw(*shape, dtype=torch.float32) for shape in ((ROWS, IN), (OUT, IN), (OUT,)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = linear(x, weight, bias)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert all(item.grad is not None and item.grad.dtype == torch.float32 for item in (x, weight, bias))
    with torch.no_grad():
        assert Loop(1, torch.bfloat16).linear(x, weight, bias).dtype == torch.bfloat16


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", range(4))
def test_a_product_is_the_formulas(seed: int, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(seed)
    batch, rows, inputs, outputs = sizes(seed, 4, 60)
    x, weight, bias = (
        torch.randn(shape, dtype=dtype, device=device)
        for shape in ((batch, rows, inputs), (outputs, inputs), (outputs,))
    )
    hold_equal(linear, x, weight, bias)
    hold_equal(linear, x, weight)
    hold_equal(linear, x, torch.randn(batch, outputs, inputs, dtype=dtype, device=device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(4))
def test_a_loop_is_the_formulas(seed: int, dtype: torch.dtype, device: str) -> None:
    """With two weights, of which one is the left half of the other, and one for each row of the batch."""
    torch.manual_seed(seed)
    batch, rows, size = sizes(seed, 3, 12)

    def loop(x: Tensor, weight: Tensor, bias: Tensor, own: Tensor) -> Tensor:
        times = Loop(STEPS, dtype).linear
        for _ in range(STEPS):
            left = times(x, weight[:, :size], bias)
            x = torch.tanh(times(torch.cat([left, x], -1), weight) + times(x, own))
        return x

    shapes = [(batch, rows, size), (size, 2 * size), (size,), (batch, size, size)]
    hold_equal(loop, *(torch.randn(shape, dtype=dtype, device=device) for shape in shapes))


def test_products_in_half_precision_are_the_formulas() -> None:
    torch.manual_seed(7)
    x, weight, bias = torch.randn(300, 40), torch.randn(20, 40), torch.randn(20)

    def halved(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        loop = Loop(1, torch.bfloat16)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return linear(x, weight, bias), loop.linear(x, weight, bias)

    hold_equal(halved, x, weight, bias, rounding=0.02)
