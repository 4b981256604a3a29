"""A module that is called directly gives what the module gives, from the same parameters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from s2scli.nn.dropout import Dropout
from s2scli.nn.kernels import switched
from s2scli.nn.kernels.direct_calls import direct


@pytest.fixture(autouse=True)
def _kernels() -> Iterator[None]:
    with switched(True):
        yield


class Doubled(nn.Module):
    """A module with a parameter, a buffer, submodules of torch's and ours, and an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.factor, self.missing = 2.0, None
        self.bias = nn.Parameter(torch.tensor([1.0, -1.0]))
        self.shift: Tensor
        self.register_buffer("shift", torch.tensor([0.5, 0.25]))
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        self.dropout = Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.dropout(self.inner(x)) + self.bias + self.shift


def test_it_gives_what_the_module_gives() -> None:
    module, x = Doubled().eval(), torch.randn(3, 2)
    twin = direct(module)
    assert isinstance(twin, Doubled)
    assert twin is not module
    torch.testing.assert_close(twin(x), module(x), rtol=0, atol=0)
    with torch.no_grad():
        module.bias += 1  # the parameters are the same
        module.inner[0].weight *= 2
    torch.testing.assert_close(twin(x), module(x), rtol=0, atol=0)


def test_it_drops_out_as_the_module_did_when_it_was_made() -> None:
    module, x = Doubled().train(), torch.randn(500, 2)
    twin, still = direct(module), direct(Doubled().eval())
    module.eval()
    assert len((twin(x) - twin.bias - twin.shift).eq(0).any(1).nonzero()) > 300
    torch.testing.assert_close(still(x), still(x), rtol=0, atol=0)


def test_hooks_do_not_run_but_of_the_module_itself() -> None:
    module, seen = Doubled().eval(), []
    module.register_forward_hook(lambda *_: seen.append("module"))
    module.inner.register_forward_hook(lambda *_: seen.append("inner"))
    direct(module)(torch.randn(1, 2))
    assert not seen
    with switched(False):
        direct(module)(torch.randn(1, 2))
    assert seen == ["inner", "module"]
