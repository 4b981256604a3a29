"""`--max-tokens auto`: the largest batches that fit, found by trying."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from s2scli.console import notice
from s2scli.data.batch import Batch
from s2scli.data.batching import BatchPlan, Indices, load_batch
from s2scli.data.dataset import Split
from s2scli.errors import is_out_of_memory
from s2scli.nn.runtime import autocast
from s2scli.training.distributed import Processes
from s2scli.training.objectives.base import Objective

# Share of the memory that is free which a batch may fill: allocators waste some, and lengths vary.
_SHARE = {"cuda": 0.85, "cpu": 0.5}
# An epoch has at least so many updates: larger batches would leave too few to learn from.
_UPDATES_AN_EPOCH = 50
_STEP = 256


def largest_budget(
    objective: Objective,
    split: Split,
    processes: Processes,
    *,
    precision: str,
    batch_size: int,
    update_freq: int,
) -> int:
    """The largest --max-tokens whose worst batch trains within the memory that is free.

    Memory is about linear in the budget. So two small budgets are measured, by forward and backward passes over
    the batch with the most positions and the one with the longest sentence, and the line through them tells
    which to try next; what is returned has been tried. The weights are left as they are.
    """
    source, target = split.lengths("source") + 1, split.lengths("target") + 1
    longest = int(max(source.max(), target.max()))
    total = int(np.maximum(source, target).sum())
    ceiling = max(longest, total // (_UPDATES_AN_EPOCH * update_freq * processes.size))
    limit = int(_free_memory(processes.device) * _SHARE.get(processes.device.type, 0.5))
    # The optimizer's two moments and the gradients are not there yet.
    limit -= 3 * sum(item.numel() * item.element_size() for item in objective.parameters())

    def measure(budget: int) -> float:
        plan = BatchPlan(source, target, max_tokens=budget, batch_size=batch_size, seed=1)
        used = _peak(
            objective, [load_batch(split, rows) for rows in _worst(plan)], processes.device, precision
        )
        return processes.sum([used])[0] / processes.size if used < float("inf") else used

    good, low = longest, max(longest, min(1024, ceiling))
    budget, points = low, []
    for _ in range(12):
        used = measure(budget)
        fits = not processes.any(used > limit)
        points.append((budget, used))
        if fits:
            good = max(good, budget)
        else:
            ceiling = min(ceiling, budget - _STEP)
        budget = _next(points, limit, good, ceiling)
        if budget <= good:
            break
    found = processes.least(good)
    notice(
        f"--max-tokens auto: {found:,} tokens a batch (tried {len(points)} sizes; "
        f"{limit / 2**30:.1f} GiB may be used{'' if found < ceiling else ', an epoch keeps 50 updates'})"
    )
    return found


def _next(points: list[tuple[int, float]], limit: float, good: int, ceiling: int) -> int:
    """The budget to try after some that were measured: on their line if it can be drawn, else twice the largest."""
    measured = [(budget, used) for budget, used in points if used < float("inf")]
    guess = 2 * good
    if len(measured) >= 2 and measured[-1][1] > measured[0][1]:
        (x0, y0), (x1, y1) = measured[0], measured[-1]
        guess = int(x0 + (limit - y0) * (x1 - x0) / (y1 - y0))
    if len(points) > len(measured):
        guess = min(guess, (good + ceiling) // 2)
    return min(max(guess // _STEP * _STEP, good), ceiling)


def _worst(plan: BatchPlan) -> list[Indices]:
    """The batch with the most positions, and the one with the longest sentence."""
    batches = plan.in_order()
    slots = [plan.count([batch])[2] for batch in batches]
    lengths = [int(plan.lengths[:, batch].max()) for batch in batches]
    return [batches[number] for number in sorted({int(np.argmax(slots)), int(np.argmax(lengths))})]


def _peak(objective: Objective, batches: list[Batch], device: torch.device, precision: str) -> float:
    """Bytes that training on the batches takes at most; infinite where memory ran out."""
    _reset_peak(device)
    before = _used(device, "VmRSS")
    try:
        for batch in batches:
            torch.manual_seed(0)
            with autocast(precision, device):
                sums = objective(batch.to(device), 1)
            (sums.loss / sums.tokens).backward()
            objective.zero_grad(set_to_none=True)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        objective.zero_grad(set_to_none=True)
        return float("inf")
    return max(0, _used(device, "VmHWM") - before)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif (marks := Path("/proc/self/clear_refs")).exists():
        # Linux: "5" sets the process's high-water mark back to what it uses now.
        marks.write_text("5", encoding="ascii")


def _used(device: torch.device, field: str) -> int:
    """Memory in use, VmRSS, or the most that was, VmHWM; in bytes."""
    if device.type == "cuda":
        used = torch.cuda.memory_allocated if field == "VmRSS" else torch.cuda.max_memory_allocated
        return used(device)
    return _proc_bytes(Path("/proc/self/status"), field)


def _free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; for the CPU those that are available, within the container's limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    available = _proc_bytes(Path("/proc/meminfo"), "MemAvailable")
    available = available or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return available
    return min(available, max(0, limit - used))


def _proc_bytes(path: Path, field: str) -> int:
    """A field of a Linux status file, in bytes; 0 where there is none."""
    if not path.exists():
        return 0
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return 0
