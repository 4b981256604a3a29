"""How the time that something takes grows with what it is given, on whatever machine."""

from __future__ import annotations

import time
from collections.abc import Callable


def growth(work: Callable[[int], object], small: int, large: int) -> float:
    """How many times as long work(large) takes as work(small), in processor time, each at its best of three."""
    return _least(work, large) / _least(work, small)


def _least(work: Callable[[int], object], size: int) -> float:
    found = []
    for _ in range(3):
        start = time.process_time()
        work(size)
        found.append(time.process_time() - start)
    return min(found)
