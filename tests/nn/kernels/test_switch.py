"""The switch between kernels and plain formulas: what the variable may say, and what it switches."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from s2scli.nn import kernels
from s2scli.nn.kernels import switch


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, requires_grad=True)


def summed(shared: object, rows: object) -> Tensor:
    return (shared[0].sum() * rows[0]).sum()  # type: ignore[index]


DOORS: dict[str, Callable[[], Tensor]] = {
    "linear": lambda: kernels.linear(draw(2, 3), draw(4, 3)),
    "a loop's linear": lambda: kernels.Loop(1, torch.float32).linear(draw(2, 3), draw(4, 3)),
    "additive_scores": lambda: kernels.additive_scores(draw(1, 2, 3), draw(1, 4, 3), draw(3)),
    "additive_scores with coverage": lambda: kernels.additive_scores(
        draw(1, 2, 3), draw(1, 4, 3), draw(3), draw(1, 2, 4), draw(3)
    ),
    "lstm_cell": lambda: kernels.lstm_cell(draw(2, 8), draw(2, 8), draw(2, 2))[0],
    "gru_cell": lambda: kernels.gru_cell(draw(2, 6), draw(2, 6), draw(2, 2)),
    "dropout": lambda: kernels.dropout(draw(3), 0.5),
    "label_smoothed_loss": lambda: kernels.label_smoothed_loss(
        draw(2, 3), draw(4, 3), torch.tensor([1, 0]), 0.1
    )[0],
    "chunked_sum": lambda: kernels.chunked_sum(summed, [draw(2, 3)], [draw(5)], 2),
    "scale_gradient": lambda: kernels.scale_gradient(draw(3), 0.5),
}


def functions_of(y: Tensor) -> set[str]:
    """The names of what a gradient goes through that is differentiated by hand."""
    found, waiting = set(), [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            waiting += [before for before, _ in node.next_functions]
            if isinstance(node, torch.autograd.function.BackwardCFunction):
                found.add(type(node).__name__)
    return found


@pytest.mark.parametrize("door", DOORS)
def test_a_kernel_has_a_gradient_of_its_own_and_its_formula_has_torchs(door: str) -> None:
    with switch.switched(on=True):
        assert functions_of(DOORS[door]())
    with switch.switched(on=False):
        assert not functions_of(DOORS[door]())


def test_a_switch_holds_in_its_block_alone() -> None:
    before = switch.enabled()
    with switch.switched(on=not before):
        assert switch.enabled() is not before
    assert switch.enabled() is before


@pytest.mark.parametrize(("value", "answer"), [(None, True), ("", True), ("on", True), ("off", False)])
def test_the_variable_decides(monkeypatch: pytest.MonkeyPatch, value: str | None, answer: bool) -> None:
    """When the module is imported, which is done here under another name."""
    monkeypatch.delenv(switch.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(switch.VARIABLE, value)
    assert runpy.run_path(switch.__file__)["enabled"]() is answer


def test_any_other_value_is_refused_in_one_line() -> None:
    command = [sys.executable, "-m", "s2scli", "generate", "--path", "nowhere.s2s"]
    done = subprocess.run(
        command,
        env=os.environ | {switch.VARIABLE: "no"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert len(done.stderr.strip().splitlines()) == 1
