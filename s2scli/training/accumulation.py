"""The gradient of an update, added up over its micro-batches and processes, in as much memory as there is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from s2scli.console import warn
from s2scli.data.batch import Batch
from s2scli.errors import S2SError, is_out_of_memory
from s2scli.nn.runtime import autocast, give_back_freed_memory
from s2scli.training.distributed import Processes
from s2scli.training.micro_batch import MicroBatch
from s2scli.training.objectives.base import Loss, Objective


@dataclass(kw_only=True)
class Accumulator:
    """Adds up the gradients of micro-batches, one forward and backward pass for each piece of them.

    replica: the objective's DistributedDataParallel wrapper; None with one process or with FSDP.
    """

    objective: Objective
    processes: Processes
    replica: DistributedDataParallel | None
    precision: str
    seed: int
    # The most positions, and the longest sentence, of batches that have gone through.
    _proven: tuple[int, int] = (0, 0)
    # The pass under way, and whether other processes wait within it.
    _running: MicroBatch = field(init=False)
    _awaited: bool = False

    def accumulate(self, update: int, batches: Sequence[MicroBatch], factor: float) -> dict[str, Tensor]:
        """Add up the gradients of `factor` times the losses, in the parameters' `grad`.

        Returns this process's sums, on its device: the loss, its unsmoothed part, and the objective's other figures. A
        batch that does not fit into memory is split, and all begun again. Raises S2SError where a single sentence does
        not fit, and torch's OutOfMemoryError where other processes wait inside the pass that failed.
        """
        batches = self._cut(batches)
        while True:
            try:
                return self._add_up(update, batches, factor)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                batches = self._split(update, batches, error)
            # Outside of the handler, where the failed pass's tensors are no longer held by its traceback.
            self.objective.zero_grad(set_to_none=True)
            give_back_freed_memory(self.processes.device)

    def _cut(self, batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        """The pieces of the batches, equally many in all processes where each pass needs all of them."""
        pieces = [piece for item in batches for piece in item.pieces(self.processes.device)]
        if self.processes.kind == "fsdp" and self.processes.device.type == "cpu":
            # Shards are gathered in every pass, which all processes must make: who has fewer adds some that do not
            # count.
            most = -self.processes.least(-len(pieces))
            pieces += [replace(pieces[0], counts=False)] * (most - len(pieces))
        return pieces

    def _add_up(self, update: int, batches: Sequence[MicroBatch], factor: float) -> dict[str, Tensor]:
        """Make the passes, the gradients of which are summed over the processes in the last one that may be."""
        names = ("loss", "nll", *self.objective.figures)
        found = dict.fromkeys(names, torch.zeros((), device=self.processes.device))
        synchronized = False
        for position, item in enumerate(batches):
            last = position == len(batches) - 1
            synchronize = last and (self.replica is None or self._is_proven(item.batch))
            sums = self._pass(update, item, factor, synchronize=synchronize)
            if item.counts:
                each = {"loss": sums.loss, "nll": sums.nll, **sums.figures}
                found = {name: found[name] + each[name].detach() for name in names}
            synchronized = synchronized or synchronize
        if self.replica is not None and not synchronized:
            self.replica(None, update).backward()
        return found

    def _pass(self, update: int, item: MicroBatch, factor: float, *, synchronize: bool) -> Loss:
        """One forward and backward pass; synchronize: whether it sums the gradients over the processes."""
        self._running = item
        self._awaited = self.processes.size > 1 and self.replica is None
        torch.manual_seed(item.seed(self.seed, update))
        with self._synchronizing(synchronize):
            with autocast(self.precision, self.processes.device):
                sums: Loss = (self.replica or self.objective)(item.batch, update)
            self._awaited = synchronize and self.processes.size > 1
            (sums.loss * (factor if item.counts else 0.0)).backward()
        self._prove(item.batch)
        return sums

    def _synchronizing(self, now: bool) -> AbstractContextManager[None]:
        """Whether a backward pass sums its gradients over the processes, or leaves that to a later one."""
        if self.replica is None:
            # Sharded gradients are summed in every pass: there is no memory for whole ones in between.
            return nullcontext()
        context: AbstractContextManager[None] = nullcontext() if now else self.replica.no_sync()
        return context

    def _is_proven(self, batch: Batch) -> bool:
        """Whether a batch of this size has gone through before.

        Only then may other processes wait for its gradients: were it to run out of memory in the backward
        pass, the sums that have begun could not be taken back.
        """
        positions, longest = batch.size()
        return positions <= self._proven[0] and longest <= self._proven[1]

    def _prove(self, batch: Batch) -> None:
        positions, longest = batch.size()
        self._proven = max(positions, self._proven[0]), max(longest, self._proven[1])

    def _split(
        self, update: int, batches: Sequence[MicroBatch], error: RuntimeError | MemoryError
    ) -> list[MicroBatch]:
        """The batches with the one that did not fit in two halves."""
        failed = self._running
        if self._awaited:
            raise error
        if len(failed.batch) == 1:
            raise S2SError(
                f"update {update}: out of memory with a single sentence pair, of up to {failed.batch.size()[1]} tokens "
                f"a side ({str(error).partition('. ')[0]}); train a smaller model, or leave long pairs out: "
                "s2s preprocess --max-source-length and --max-target-length"
            ) from error
        warn(
            f"update {update}: out of memory with {len(failed.batch)} sentences; trying again in two halves "
            "(a smaller --max-tokens avoids this)"
        )
        return [part for item in batches for part in (item.halves() if item is failed else [item])]
