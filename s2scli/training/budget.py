"""`--max-tokens auto`: the largest batches that fit, found by trying."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from typing import Protocol

import numpy as np

from s2scli.console import counted, notice, warn
from s2scli.data.batching import PART_SIZE, BatchPlan, side_lengths
from s2scli.data.split import Split
from s2scli.training.distributed import Processes

# An epoch has at least so many updates: larger batches would leave too few to learn from.
_UPDATES_AN_EPOCH = 50
# The first budget to try, how much larger the next may be, and what it is a multiple of.
_FIRST, _GROWTH, _STEP = 1024, 4, 256
# The share of the limit that is aimed at, and the one that is near enough.
_AIM, _ENOUGH = 0.98, 0.95
_MOST_TRIALS = 12


class MemoryGauge(Protocol):
    """What tells how much memory batches take and may take, as TrainingMemory does."""

    free: int
    limit: float

    def used(self, plan: BatchPlan) -> float:
        """Bytes that the plan's batches take at most; infinite where memory ran out."""
        ...


def largest_budget(
    memory: MemoryGauge, split: Split, processes: Processes, *, batch_size: int, update_freq: int
) -> int:
    """The largest --max-tokens whose worst batch trains within the memory that may be used.

    Memory is about linear in the budget. So small budgets are measured, and the line through them tells which to try
    next, up to a few times the last; what is returned has been tried.
    """
    sides = side_lengths(split)
    longest = max(int(side.max()) for side in sides.values())
    # Of a very large corpus, some of the data tells.
    sample = np.arange(min(len(split), PART_SIZE))
    sampled = {name: side[sample] for name, side in sides.items()}
    total = int(np.max([*sampled.values()], axis=0).sum()) * len(split) // len(sample)
    cap = max(longest, total // (_UPDATES_AN_EPOCH * update_freq * processes.size))
    points: dict[int, float] = {}
    budget = max(longest, min(_FIRST, cap))
    while budget not in points and len(points) < _MOST_TRIALS:
        plan = BatchPlan(sampled, max_tokens=budget, batch_size=batch_size, seed=1)
        points[budget] = memory.used(plan)
        budget = _next(points, memory.limit, longest, cap)
    found = max((budget for budget, used in points.items() if used <= memory.limit), default=longest)
    allowed = f"a batch may take {_in_words(memory.limit)} of the {_in_words(memory.free)} that are free"
    if points.get(found, inf) > memory.limit:
        warn(
            f"--max-tokens auto: {counted(found, 'token')} a batch, as the longest sentence needs; {allowed}, "
            f"this takes more"
        )
        return found
    reason = f", with more an epoch has fewer than {_UPDATES_AN_EPOCH} updates" if found == cap else ""
    tried = f"tried {len(points)} size{'s' if len(points) > 1 else ''}"
    notice(f"--max-tokens auto: {counted(found, 'token')} a batch ({tried}; {allowed}{reason})")
    return found


def _in_words(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{max(0.0, size) / 2**20:.0f} MiB"


def _next(points: Mapping[int, float], limit: float, longest: int, cap: int) -> int:
    """The budget to try after some that were measured, at most cap; one of those where that is enough.

    It is on the line through two of them: the largest that fits and the smallest that does not, or the smallest and
    the largest that fit.
    """
    fitting = sorted(budget for budget, used in points.items() if used <= limit)
    failing = sorted(budget for budget, used in points.items() if used > limit)
    if not fitting:
        return longest
    good = fitting[-1]
    # Memory that runs out below the limit is looked for by halves, but not to the last token.
    if points[good] >= _ENOUGH * limit or (failing and failing[0] - good <= max(_STEP, good // 16)):
        return good
    low, high = (good, failing[0]) if failing else (fitting[0], good)
    rise = points[high] - points[low]
    if isfinite(rise) and rise > 0:
        guess = low + int((_AIM * limit - points[low]) * (high - low) / rise)
    else:
        guess = (good + failing[0]) // 2 if failing else 2 * good
    guess = min(guess, failing[0] - _STEP if failing else _GROWTH * good)
    return cap if guess >= cap else max(good, guess // _STEP * _STEP)
