"""Choosing a device, and the memory of the process."""

from __future__ import annotations

import platform
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from s2scli.errors import UsageError
from s2scli.nn.runtime import give_back_freed_memory, keep_freed_memory, prepare


def test_auto_takes_what_is_there() -> None:
    assert prepare("auto", 0).type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert prepare("cpu", 0) == torch.device("cpu")


@pytest.mark.parametrize(
    "device", ["cuda:63", "gpu", "meta:x", "", *([] if torch.backends.mps.is_available() else ["mps"])]
)
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


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def kept_megabytes() -> tuple[float, float, float]:
    """What a process keeps of 400 MB that it frees: at first, after it has given it back, and of 800 MB after that.

    These are in one piece: what is small enough for a hole in the heap may be put there, and is kept.
    """
    keep_freed_memory()
    before = resident_megabytes()
    tensors = [torch.ones(2**20) for _ in range(100)]
    del tensors
    kept = resident_megabytes() - before
    give_back_freed_memory(torch.device("cpu"))
    given_back = resident_megabytes() - before
    tensor = torch.ones(200 * 2**20)
    del tensor
    return kept, given_back, resident_megabytes() - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or sys.platform != "linux", reason="of glibc on Linux")
def test_freed_memory_is_kept_until_memory_is_short() -> None:
    # What other tests have left in a heap could be in the way.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as another:
        kept, given_back, later = another.submit(kept_megabytes).result()
    assert kept > 350
    assert given_back < 100
    assert later < 100
