"""The chunked loss of the output layer against its formula over all rows at once."""

from __future__ import annotations

import pytest
import torch
from kernel_formulas import DEVICES, hold_equal, sizes
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn import kernels
from s2scli.nn.kernels import chunked
from s2scli.nn.kernels.smoothed_loss import label_smoothed_formula


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_loss_and_gradients_are_the_formulas(
    seed: int, epsilon: float, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(seed)
    rows, width, words = 5 * sizes(seed, 1)[0], *sizes(seed + 100, 2)
    words += 1
    monkeypatch.setattr(chunked, "_CHUNK_ELEMENTS", words)
    targets = torch.randint(words, (rows,), device=device)
    hidden, weight = (torch.randn(shape, device=device) for shape in ((rows, width), (words, width)))

    def loss(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        return kernels.label_smoothed_loss(hidden, weight, targets, epsilon)

    hold_equal(loss, hidden, weight)


def test_gradients_of_more_words_than_16_bits_hold_are_finite() -> None:
    """Of flat scores the sum over 80,000 words is 80,000, and the largest number of fp16 65,504."""
    hidden, weight = torch.randn(3, 4, requires_grad=True), torch.zeros(80_000, 4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16):
        loss, _ = kernels.label_smoothed_loss(hidden, weight, torch.tensor([1, 2, 3]), 0.1)
    loss.backward()
    for item in (hidden, weight):
        assert item.grad is not None
        assert item.grad.isfinite().all()


def test_the_product_is_in_autocasts_precision_in_both() -> None:
    torch.manual_seed(5)
    hidden, weight, targets = torch.randn(70, 8), torch.randn(9, 8), torch.randint(9, (70,))

    def loss(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return kernels.label_smoothed_loss(hidden, weight, targets, 0.1)

    hold_equal(loss, hidden, weight, rounding=0.01)
    exact = kernels.label_smoothed_loss(hidden, weight, targets, 0.1)[0]
    assert loss(hidden, weight)[0].item() != pytest.approx(exact.item(), rel=1e-6)


def test_the_formula_is_torchs() -> None:
    """torch spreads ε over all V words, this over the V - 1 others."""
    torch.manual_seed(6)
    hidden, weight, targets = torch.randn(20, 4).double(), torch.randn(7, 4).double(), torch.randint(7, (20,))
    loss, nll = label_smoothed_formula(hidden, weight, targets, 0.3)
    wanted = F.cross_entropy(hidden @ weight.T, targets, reduction="sum", label_smoothing=0.3 * 7 / 6)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-12)
    assert nll.item() == pytest.approx(F.cross_entropy(hidden @ weight.T, targets, reduction="sum").item())
