"""The pointer-generator's likelihoods against those of its formula, which has the probabilities of all words."""

from __future__ import annotations

import pytest
import torch
from kernel_formulas import DEVICES, hold_equal, sizes
from torch import Tensor

from s2scli.nn import kernels


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("smoothed", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_likelihoods_are_the_formulas(seed: int, smoothed: bool, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(seed)
    rows, length, width, vocabulary = sizes(seed, 4, 20)
    vocabulary += 1
    words = torch.randint(vocabulary + 5, (rows, length))
    # Half of the targets are words of their source, which may be beyond the vocabulary.
    targets = torch.where(torch.arange(rows) % 2 == 0, words[:, 0], torch.randint(vocabulary, (rows,)))
    words, targets = words.to(device), targets.to(device)
    weight, hidden, gate, scores = (
        torch.randn(shape, dtype=dtype, device=device)
        for shape in ((vocabulary, width), (rows, width), (rows,), (rows, length))
    )

    def likelihoods(weight: Tensor, hidden: Tensor, gate: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        parts = [hidden, gate, scores.softmax(-1), words]
        found = kernels.copy_log_likelihoods(weight, parts, targets, smoothed=smoothed)
        return found if smoothed else found[:1]

    hold_equal(likelihoods, weight, hidden, gate, scores)


def test_a_target_that_is_in_no_source_is_finite_in_both() -> None:
    torch.manual_seed(7)
    words, targets = torch.tensor([[1, 2], [0, 3]]), torch.tensor([6, 1])  # of a vocabulary of four words

    def likelihoods(weight: Tensor, hidden: Tensor, gate: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        parts = [hidden, gate, scores.softmax(-1), words]
        return kernels.copy_log_likelihoods(weight, parts, targets, smoothed=True)

    for on in (True, False):
        with kernels.switched(on):
            of_target, of_others = likelihoods(
                *(torch.randn(shape) for shape in ((4, 3), (2, 3), (2,), (2, 2)))
            )
        assert torch.isfinite(of_target).all()
        assert torch.isfinite(of_others).all()
        assert of_target[0] < -80
