"""The memory that training takes on a device, measured by trying, and how much of it there is."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path

import numpy as np
import torch

from s2scli.data.batch import Batch
from s2scli.data.batching import BatchPlan, load_batch
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
# The control groups, and which of them this process is in.
_GROUPS, _MEMBER = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
STATUS = Path("/proc/self/status")


class TrainingMemory:
    """What training an objective on batches of a split takes, and what a batch may take.

    free: bytes that are free, in the process that has the fewest, once the optimizer is there, and with holds_weights
    what elastic weight consolidation keeps. limit: bytes that a batch may take of them, gradients among them. Raises
    UsageError where memory cannot be measured.
    """

    def __init__(
        self,
        objective: Objective,
        split: Split,
        processes: Processes,
        *,
        precision: str,
        holds_weights: bool = False,
    ) -> None:
        self._objective, self._split, self._processes, self._precision = (
            objective,
            split,
            processes,
            precision,
        )
        self._memory = DeviceMemory(processes.device)
        # The optimizer's two moments are not there yet, nor Fisher's information and the weights that it is of.
        trained = [item for item in objective.parameters() if item.requires_grad]
        extra = (4 if holds_weights else 2) * sum(item.numel() * item.element_size() for item in trained)
        self.free = processes.least(self._memory.free() - extra)
        self.limit = self.free * _SHARE[processes.device.type]

    def used(self, plan: BatchPlan) -> float:
        """Bytes that training on the plan's batches takes at most, in the mean of the processes.

        Tried are the batch with the most positions and the one with the longest sentence; the weights are left as they
        are. Infinite where memory ran out.
        """
        batches = [load_batch(self._split, rows) for rows in _worst(plan)]
        used = training_peak(self._objective, batches, self._memory, self._precision)
        return self._processes.sum([used])[0] / self._processes.size


def _worst(plan: BatchPlan) -> list[Indices]:
    """The batch with the most positions, and the one with the longest sentence."""
    batches = plan.in_order()
    slots = [plan.count([batch])[2] for batch in batches]
    lengths = [int(plan.lengths(batch).max()) for batch in batches]
    return [batches[number] for number in sorted({int(np.argmax(slots)), int(np.argmax(lengths))})]


def training_peak(
    objective: Objective, batches: Sequence[Batch], memory: DeviceMemory, precision: str
) -> float:
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


class DeviceMemory:
    """A device's memory, or the host's for a CPU: what may be used of it, and the most that was used since `begin`.

    Both are counted from what was in use at first.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._trim()
        self._before = torch.cuda.memory_allocated(device) if device.type == "cuda" else proc_bytes("VmRSS")
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
        return free_host_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

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
        is_cuda = self.device.type == "cuda"
        most = torch.cuda.max_memory_allocated(self.device) if is_cuda else proc_bytes("VmHWM")
        return max(0, most - self._before)

    def _trim(self) -> None:
        """Give the memory back that glibc keeps for later (see runtime.keep_freed_memory)."""
        if self.device.type == "cpu" and platform.libc_ver()[0] == "glibc":
            ctypes.CDLL(None).malloc_trim(0)


def free_host_memory() -> int:
    """Bytes of the host's memory that this process may still take: what is there, within all limits on it."""
    return max(0, min(proc_bytes("MemAvailable", Path("/proc/meminfo")), *_process_limits(), *group_limits()))


def _process_limits() -> Iterator[int]:
    """What is left of the limits on this process, as `ulimit -v` and `ulimit -d` set them."""
    for kind, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit - proc_bytes(used)


def group_limits(root: Path = _GROUPS, member: Path = _MEMBER) -> Iterator[int]:
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


def proc_bytes(field: str, path: Path = STATUS) -> int:
    """A field of a Linux status file, in bytes; 0 where there is none."""
    if not path.exists():
        return 0
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return 0
