"""Steps of recurrent cells against their formulas; torch's own cells say the same of these."""

from __future__ import annotations

import pytest
import torch
from kernel_formulas import DEVICES, hold_equal, sizes
from torch import Tensor, nn

from s2scli.nn import kernels
from s2scli.nn.kernels import cells
from s2scli.nn.kernels.switch import switched


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(4))
def test_a_step_is_the_formulas(seed: int, dtype: torch.dtype, device: str) -> None:
    torch.manual_seed(seed)
    rows, size = sizes(seed, 2)
    for cell, gates in ((kernels.lstm_cell, 4), (kernels.gru_cell, 3)):
        shapes = [(rows, gates * size), (rows, gates * size), (rows, size)]
        hold_equal(cell, *(2 * torch.randn(shape, dtype=dtype, device=device) for shape in shapes))


def test_products_in_half_precision_enter_a_state_in_float32() -> None:
    torch.manual_seed(1)
    entering, recurrent, state = torch.randn(3, 12), torch.randn(3, 12), torch.randn(3, 4)

    def gru(entering: Tensor, recurrent: Tensor, state: Tensor) -> Tensor:
        return kernels.gru_cell(entering.bfloat16(), recurrent.bfloat16(), state)

    def lstm(entering: Tensor, recurrent: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return kernels.lstm_cell(entering.bfloat16(), recurrent.bfloat16(), state)

    assert gru(entering, recurrent, state).dtype == torch.float32
    hold_equal(gru, entering, recurrent, state, rounding=0.02)
    hold_equal(lstm, entering, recurrent, torch.randn(3, 3), rounding=0.02)


def test_the_formulas_are_torchs_cells() -> None:
    torch.manual_seed(2)
    x, h, c = torch.randn(5, 3), torch.randn(5, 4), torch.randn(5, 4)
    lstm, gru = nn.LSTMCell(3, 4), nn.GRUCell(3, 4)

    def shares(cell: nn.RNNCellBase) -> tuple[Tensor, Tensor]:
        return x @ cell.weight_ih.T + cell.bias_ih, h @ cell.weight_hh.T + cell.bias_hh

    for one, other in zip(cells.lstm_formula(*shares(lstm), c), lstm(x, (h, c)), strict=True):
        torch.testing.assert_close(one, other)
    with switched(on=False):
        torch.testing.assert_close(kernels.gru_cell(*shares(gru), h), gru(x, h))
