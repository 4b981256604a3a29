"""The additive score's kernel against its formula."""

from __future__ import annotations

import pytest
import torch
from kernel_formulas import DEVICES, hold_equal, sizes
from torch import Tensor

from s2scli.nn import kernels
from s2scli.nn.kernels import scores


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("covered", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_the_formulas(seed: int, covered: bool, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(seed)
    rows, queries, length, width = sizes(seed, 4, 24)
    queries = 1 if seed == 0 else queries  # a step of a decoder
    shapes = [(rows, queries, width), (rows, length, width), (width,)]
    shapes += [(rows, queries, length), (width,)] if covered else []
    inputs = [torch.randn(shape, dtype=dtype, device=device) for shape in shapes]
    hold_equal(kernels.additive_scores, *inputs)


@pytest.mark.parametrize("covered", [False, True])
def test_some_sentences_at_a_time_give_what_all_at_once_give(
    covered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "_BLOCK_ELEMENTS", 2 * 3 * 5 * 4)
    shapes = [(7, 3, 4), (7, 5, 4), (4,), *([(7, 3, 5), (4,)] if covered else [])]
    torch.manual_seed(1)
    hold_equal(kernels.additive_scores, *(torch.randn(shape, dtype=torch.float64) for shape in shapes))


def test_under_autocast_scores_are_in_the_precision_of_v() -> None:
    torch.manual_seed(2)
    query, keys, v = torch.randn(2, 3, 4).bfloat16(), torch.randn(2, 5, 4), torch.randn(4)

    def narrowed(query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return kernels.additive_scores(query.bfloat16(), keys, v)

    assert narrowed(query, keys, v).dtype == torch.float32
    hold_equal(narrowed, query.float(), keys, v, rounding=0.01)  # the query's gradient goes through bf16
