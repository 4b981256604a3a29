"""Choosing a device."""

from __future__ import annotations

import pytest
import torch

from s2scli.errors import UsageError
from s2scli.nn.runtime import prepare


def test_auto_takes_what_is_there() -> None:
    assert prepare("auto", 0).type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert prepare("cpu", 0) == torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda:63", "gpu", "meta:x", ""])
def test_a_device_that_is_not_there_is_one_clear_line(device: str) -> None:
    with pytest.raises(UsageError, match=r"^--device .* allowed: auto, cpu, cuda") as raised:
        prepare(device, 0)
    assert "\n" not in str(raised.value)


def test_threads() -> None:
    before = torch.get_num_threads()
    try:
        prepare("cpu", 3)
        assert torch.get_num_threads() == 3
        prepare("cpu", 0)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
