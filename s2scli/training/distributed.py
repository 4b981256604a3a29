"""Several processes that train one model, started by torchrun: who they are, and what they tell each other.

`ddp` keeps a replica of the model in each process, `fsdp` (FSDP2) a shard of every parameter. Nothing here
pickles: what is exchanged are tensors.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from typing import Any, TypeVar
from uuid import uuid4

import torch
from torch import Tensor, distributed, nn
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from s2scli.console import counted, silence
from s2scli.data.batch import Batch
from s2scli.errors import S2SError, UsageError
from s2scli.training.objectives.base import Loss, Objective

T = TypeVar("T")

_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them: `rank` of `size`; kind is `ddp` or `fsdp` where size > 1."""

    device: torch.device
    rank: int = 0
    size: int = 1
    kind: str = "none"

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of what is to be divided."""
        return items[self.rank :: self.size]

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes."""
        if self.size == 1:
            return list(values)
        return self.total(torch.tensor(values, dtype=self.precise, device=self.device)).tolist()

    def total(self, values: Tensor) -> Tensor:
        """Numbers that are on this process's device summed over the processes, in the widest form that it adds."""
        total = values.to(self.precise)
        if self.size > 1:
            distributed.all_reduce(total)
        return total

    @property
    def precise(self) -> torch.dtype:
        """The widest numbers that the device adds."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in one of the processes."""
        return flag if self.size == 1 else self.sum([float(flag)])[0] > 0

    def least(self, value: int) -> int:
        """The smallest of the processes' values."""
        if self.size == 1:
            return value
        found = torch.tensor(value, device=self.device)
        distributed.all_reduce(found, distributed.ReduceOp.MIN)
        return int(found)

    def gather(self, payload: bytes) -> list[bytes]:
        """The bytes of every process, in every process, by rank."""
        if self.size == 1:
            return [payload]
        length = torch.zeros(self.size, dtype=torch.int64, device=self.device)
        length[self.rank] = len(payload)
        distributed.all_reduce(length)
        padded = torch.zeros(int(length.max()), dtype=torch.uint8, device=self.device)
        padded[: len(payload)] = torch.frombuffer(bytearray(payload or b"\0"), dtype=torch.uint8)[
            : len(payload)
        ].to(self.device)
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(parts, padded)
        return [
            part[:count].cpu().numpy().tobytes() for part, count in zip(parts, length.tolist(), strict=True)
        ]

    def first_of(self, text: str) -> str:
        """The text of the first process that has one, in every process; nothing where none has."""
        return next((found.decode() for found in self.gather(text.encode()) if found), "")

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier()


def _number(variable: str, default: int | None = None) -> int:
    """What a variable of torchrun's says; UsageError where it is missing or no number."""
    value = os.environ.get(variable, "" if default is None else str(default))
    if not value.isdecimal():
        raise UsageError(
            f"the environment variable {variable} is {value or 'not set'!r}, beside WORLD_SIZE; start processes with "
            "torchrun, or unset WORLD_SIZE"
        )
    return int(value)


@contextmanager
def joined(device: torch.device, kind: str) -> Iterator[Processes]:
    """The processes that torchrun started with this one; alone if it did not."""
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        yield Processes(device)
        return
    rank = _number("RANK")
    if device.type == "cuda":
        local, there = _number("LOCAL_RANK"), torch.cuda.device_count()
        if local >= there:
            raise UsageError(
                f"this machine has {counted(there, 'GPU')}, and torchrun started a process for GPU {local}; start one "
                f"for each, --nproc-per-node {there}"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        store = fresh_store(next(rendezvous("env://"))[0], rank, size)
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=timedelta(minutes=30)
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise S2SError(
            f"cannot join the other {counted(size - 1, 'process')} ({reason}); start them with torchrun"
        ) from None
    try:
        with nullcontext() if rank == 0 else silence():
            yield Processes(device, rank, size, kind)
    except BaseException as error:
        # What has failed must not be kept alive by the traceback: a replica that outlives its group can hang.
        failure: BaseException | None = error
        while failure is not None:
            traceback.clear_frames(failure.__traceback__)
            failure = failure.__context__
        raise
    finally:
        distributed.destroy_process_group()


def fresh_store(store: Store, rank: int, size: int) -> Store:
    """A part of torchrun's store that is these processes' own.

    torchrun may keep its store when it starts workers again, and what those before them wrote there, such as
    addresses that nobody listens at any more. So the first process makes up a name for this start, and tells it to
    each of the others under a name that only those just started can have asked with.
    """
    if rank == 0:
        name = uuid4().hex
        missing = set(range(1, size))
        while missing:
            for other in list(missing):
                if store.check([f"s2s/joined/{name}/{other}"]):
                    missing.remove(other)
                elif store.check([f"s2s/asks/{other}"]):
                    store.set(f"s2s/answer/{store.get(f's2s/asks/{other}').decode()}", name)
            time.sleep(_POLL_SECONDS)
    else:
        mine = uuid4().hex
        store.set(f"s2s/asks/{rank}", mine)
        # Not a wait within the store, which no signal would end.
        while not store.check([f"s2s/answer/{mine}"]):
            time.sleep(_POLL_SECONDS)
        name = store.get(f"s2s/answer/{mine}").decode()
        store.set(f"s2s/joined/{name}/{rank}", "")
    return PrefixStore(f"s2s/{name}", store)


class Replica(nn.Module):
    """What DistributedDataParallel wraps: the objective, or with no batch a sum that touches every parameter.

    Gradients are summed over the processes while a backward pass runs through the wrapper. A process that has
    no batch left for that pass, or runs out of memory before it, uses the second kind: its gradients are zero.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, batch: Batch | None, update: int) -> Loss | Tensor:
        """The loss of a batch; without one, zero."""
        if batch is not None:
            loss: Loss = self.objective(batch, update)
            return loss
        touched = [item.flatten()[:1].sum() for item in self.parameters() if item.requires_grad]
        return torch.stack(touched).sum() * 0


def replicate(
    objective: Objective, processes: Processes, *, skips_layers: bool = False
) -> DistributedDataParallel:
    """The objective with gradients averaged over the processes; skips_layers: whether a pass may leave layers out."""
    devices = [processes.device] if processes.device.type == "cuda" else None
    # Buffers are tables that each process makes for itself. Newer releases of torch have another name for this.
    known = signature(DistributedDataParallel).parameters
    buffers: dict[str, Any] = {
        "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
    }
    return DistributedDataParallel(
        Replica(objective),
        device_ids=devices,
        gradient_as_bucket_view=True,
        find_unused_parameters=skips_layers,
        **buffers,
    )


def shard(objective: Objective, processes: Processes) -> None:
    """Shard every parameter over the processes, layer by layer, in place."""
    mesh = init_device_mesh(processes.device.type, (processes.size,))
    for block in objective.model.blocks():
        fully_shard(block, mesh=mesh)
        for name in ("prepare", "forward_with_weights"):
            if hasattr(block, name):
                register_fsdp_forward_method(block, name)
    fully_shard(objective, mesh=mesh)


def through(sharded: nn.Module, function: Callable[[Batch], Loss]) -> Callable[[Batch], Loss]:
    """A function that computes with a sharded module's parts, as the module's own forward pass would.

    FSDP gathers the parameters that are in no layer, and shares out their gradients, only around methods of the module
    that it was told of.
    """
    name = "_called_through"
    object.__setattr__(sharded, name, function)
    register_fsdp_forward_method(sharded, name)
    called: Callable[[Batch], Loss] = getattr(sharded, name)
    object.__delattr__(sharded, name)
    return called


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Every parameter of a module whole in every process, for calls that are not its own forward pass."""
    shards = [item for item in module.modules() if isinstance(item, FSDPModule)]
    for item in shards:
        item.set_reshard_after_forward(False, recurse=False)
        item.unshard()
    try:
        yield
    finally:
        for item in shards:
            item.reshard()
            # The objective's own parameters stay whole between its passes, as FSDP2 has it.
            item.set_reshard_after_forward(not isinstance(item, Objective), recurse=False)
