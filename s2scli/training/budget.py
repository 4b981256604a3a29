"""`--max-tokens auto`: the largest batches that fit, found by trying."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import inf, isfinite
from pathlib import Path

import numpy as np
import torch

from s2scli.console import counted, notice, warn
from s2scli.data.batch import Batch
from s2scli.data.batching import PART_SIZE, BatchPlan, load_batch, side_lengths
from s2scli.data.column import Indices
from s2scli.data.split import Split
from s2scli.errors import UsageError, is_out_of_memory
from s2scli.nn.runtime import autocast
from s2scli.training.distributed import Processes
from s2scli.training.micro_batch import MicroBatch
from s2scli.training.objectives.base import Objective

# The share of the free memory that a batch may fill. Lengths vary, and allocators waste some: a CPU's heap keeps holes
# between what batches of other shapes took, and kernels.
_SHARE = {"cuda": 0.85, "cpu": 0.3}
# An epoch has at least so many updates: larger batches would leave too few to learn from.
_UPDATES_AN_EPOCH = 50
# The first budget to try, how much larger the next may be, and what it is a multiple of.
_FIRST, _GROWTH, _STEP = 1024, 4, 256
# The share of the limit that is aimed at, and the one that is near enough.
_AIM, _ENOUGH = 0.98, 0.95
_MOST_TRIALS = 12
_STATUS = Path("/proc/self/status")
# The control groups, and which of them this process is in.
_GROUPS, _MEMBER = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def largest_budget(
    objective: Objective,
    split: Split,
    processes: Processes,
    *,
    precision: str,
    batch_size: int,
    update_freq: int,
) -> int:
    """The largest --max-tokens whose worst batch trains within the memory that may be used.

    Memory is about linear in the budget. So small budgets are measured, by forward and backward passes over the
    batch with the most positions and the one with the longest sentence, and the line through them tells which to
    try next, up to a few times the last; what is returned has been tried. The weights are left as they are.
    """
    sides = side_lengths(split)
    longest = max(int(side.max()) for side in sides.values())
    # Of a very large corpus, some of the data tells.
    sample = np.arange(min(len(split), PART_SIZE))
    sampled = {name: side[sample] for name, side in sides.items()}
    total = int(np.max([*sampled.values()], axis=0).sum()) * len(split) // len(sample)
    cap = max(longest, total // (_UPDATES_AN_EPOCH * update_freq * processes.size))
    memory = _DeviceMemory(processes.device)
    # The optimizer's two moments and the gradients are not there yet.
    extra = 3 * sum(item.numel() * item.element_size() for item in objective.parameters())
    free = processes.least(memory.free() - extra)
    limit = free * _SHARE[processes.device.type]

    def measure(budget: int) -> float:
        plan = BatchPlan(sampled, max_tokens=budget, batch_size=batch_size, seed=1)
        used = _peak(objective, [load_batch(split, rows) for rows in _worst(plan)], memory, precision)
        return processes.sum([used])[0] / processes.size

    points: dict[int, float] = {}
    budget = max(longest, min(_FIRST, cap))
    while budget not in points and len(points) < _MOST_TRIALS:
        points[budget] = measure(budget)
        budget = _next(points, limit, longest, cap)
    found = max((budget for budget, used in points.items() if used <= limit), default=longest)
    allowed = f"a batch may take {_in_words(limit)} of the {_in_words(free)} that are free"
    if points.get(found, inf) > limit:
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


def _worst(plan: BatchPlan) -> list[Indices]:
    """The batch with the most positions, and the one with the longest sentence."""
    batches = plan.in_order()
    slots = [plan.count([batch])[2] for batch in batches]
    lengths = [int(plan.lengths(batch).max()) for batch in batches]
    return [batches[number] for number in sorted({int(np.argmax(slots)), int(np.argmax(lengths))})]


def _peak(objective: Objective, batches: list[Batch], memory: _DeviceMemory, precision: str) -> float:
    """Bytes that training on the batches takes at most; infinite where memory ran out."""
    memory.begin()
    try:
        for piece in [piece for batch in batches for piece in MicroBatch(0, batch).pieces(memory.device)]:
            torch.manual_seed(0)
            with autocast(precision, memory.device):
                sums = objective(piece.batch.to(memory.device), 1)
            (sums.loss / sums.tokens).backward()
            objective.zero_grad(set_to_none=True)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        objective.zero_grad(set_to_none=True)
        return inf
    return memory.peak()


class _DeviceMemory:
    """A device's memory, or the host's for a CPU: what may be used of it, and the most that was used since `begin`.

    Both are counted from what was in use at first.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._trim()
        self._before = (
            torch.cuda.memory_allocated(device) if device.type == "cuda" else _proc_bytes(_STATUS, "VmRSS")
        )
        if device.type != "cuda" and not self._before:
            raise UsageError(
                f"--max-tokens auto cannot measure memory here, on {device.type} under {platform.system()}; "
                "give a number, as --max-tokens 4096"
            )

    def free(self) -> int:
        """Bytes that are free for this process."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        # The processes of one machine have its memory in common.
        return _free_host_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

    def begin(self) -> None:
        """Forget earlier peaks."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        self._trim()
        # Linux: "5" sets the process's high-water mark back to what it uses now. Where that is forbidden, the mark
        # is that of the largest batch so far, which is this one or one that was larger.
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def peak(self) -> int:
        """The most bytes that were in use since `begin`."""
        if self.device.type == "cuda":
            most = torch.cuda.max_memory_allocated(self.device)
        else:
            most = _proc_bytes(_STATUS, "VmHWM")
        return max(0, most - self._before)

    def _trim(self) -> None:
        """Give the memory back that glibc keeps for later (see runtime.keep_freed_memory)."""
        if self.device.type == "cpu" and platform.libc_ver()[0] == "glibc":
            ctypes.CDLL(None).malloc_trim(0)


def _free_host_memory() -> int:
    """Bytes of the host's memory that this process may still take: what is there, within all limits on it."""
    return max(
        0, min(_proc_bytes(Path("/proc/meminfo"), "MemAvailable"), *_process_limits(), *_group_limits())
    )


def _process_limits() -> Iterator[int]:
    """What is left of the limits on this process, as `ulimit -v` and `ulimit -d` set them."""
    for kind, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit - _proc_bytes(_STATUS, used)


def _group_limits(root: Path = _GROUPS, member: Path = _MEMBER) -> Iterator[int]:
    """What is left of the limits of the control groups that this process is in: a container's, a job's, a service's.

    The file `member` says which group it is, of version 2 (0::PATH) or 1 (4:memory:PATH); those above it count too.
    """
    try:
        lines = member.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for number, _, rest in (line.partition(":") for line in lines):
        kinds, _, path = rest.partition(":")
        if number == "0" and not kinds:
            folder, names = root, ("memory.max", "memory.current")
        elif "memory" in kinds.split(","):
            folder, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        # In a container the folder may be that of the group itself, whatever it is called outside.
        own = folder / path.lstrip("/")
        for group in {folder, *(each for each in (own, *own.parents) if each.is_relative_to(folder))}:
            limit, used = (_number(group / name) for name in names)
            if limit is not None and used is not None:
                # Pages of files that were read count as used, but make way.
                yield limit - used + _stat(group / "memory.stat", "inactive_file")


def _number(path: Path) -> int | None:
    """The number in a file; None where there is none, as in "max"."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _stat(path: Path, field: str) -> int:
    """A field of a control group's statistics, or 0."""
    with suppress(OSError, ValueError):
        for line in path.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == field:
                return int(value)
    return 0


def _proc_bytes(path: Path, field: str) -> int:
    """A field of a Linux status file, in bytes; 0 where there is none."""
    if not path.exists():
        return 0
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return 0
