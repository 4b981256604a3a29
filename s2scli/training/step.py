"""One update: the gradients of some batches, normalized over all target tokens, and the optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from s2scli.console import warn
from s2scli.data.batch import Batch
from s2scli.errors import S2SError, is_out_of_memory
from s2scli.nn.runtime import autocast, give_back_freed_memory
from s2scli.nn.sharded import whole
from s2scli.training.distributed import Processes
from s2scli.training.objectives.base import Loss, Objective
from s2scli.training.precision import LossScale

# Pieces of a batch draw from seeds this far apart.
_PIECE_SEEDS = 1 << 32
# So many positions of both sides go through the model at once on a CPU. All of a batch at once is a tenth faster, and
# takes nearly twice the memory.
_POSITIONS_ON_CPU = 2048


@dataclass(frozen=True)
class MicroBatch:
    """A batch, its number among all of the update's, and which piece of it this is if it had to be split.

    Where `counts` is false it is there for the company of other processes' batches, and its loss is not counted.
    """

    number: int
    batch: Batch
    piece: int = 1
    counts: bool = True

    def to(self, device: torch.device) -> MicroBatch:
        """The same on another device."""
        return replace(self, batch=self.batch.to(device))

    def halves(self) -> list[MicroBatch]:
        """Two pieces of half the sentences each."""
        middle = (len(self.batch) + 1) // 2
        parts = self.batch.rows(slice(0, middle)), self.batch.rows(slice(middle, None))
        return [
            MicroBatch(self.number, part, 2 * self.piece + side, self.counts)
            for side, part in enumerate(parts)
        ]

    def pieces(self, device: torch.device) -> list[MicroBatch]:
        """The batch as it goes through the model: on a CPU in pieces, which are pairs at the least."""
        if device.type != "cpu" or len(self.batch) == 1 or self.batch.size()[0] <= _POSITIONS_ON_CPU:
            return [self]
        return [piece for half in self.halves() for piece in half.pieces(device)]


@dataclass(frozen=True)
class UpdateResult:
    """Sums over an update's batches in all processes, in nats, and the gradient's norm before clipping.

    finite: whether the update was made; where the loss or the gradient was not finite, the weights are as before.
    norms: the gradient's norm by layer, where it was asked for or not finite. figures: the objective's others.
    """

    loss: float
    nll: float
    gradient_norm: float
    finite: bool = True
    norms: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


def seed_for(seed: int, update: int, micro_batch: int) -> int:
    """The seed of all that is drawn for a micro-batch, as a function of its place in the run (splitmix64)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + update * 0xD1B54A32D192ED03 + micro_batch) % 2**64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
    return (mixed ^ (mixed >> 31)) % 2**63


@dataclass(kw_only=True)
class Updater:
    """Makes updates of an objective's parameters.

    replica: what wraps the objective where each of several processes has all of it. parameters: name → those
    that are trained. clip_norm 0 clips nothing. skips_layers: whether a pass may leave layers out (LayerDrop).
    """

    objective: Objective
    optimizer: Optimizer
    parameters: Mapping[str, nn.Parameter]
    processes: Processes
    replica: DistributedDataParallel | None = None
    precision: str = "fp32"
    clip_norm: float = 0.0
    skips_layers: bool = False
    seed: int = 1
    scale: LossScale = field(default_factory=LossScale)
    # The largest batch that has gone through; the one under way, and whether other processes wait within its pass.
    _proven: tuple[int, int] = (0, 0)
    _running: MicroBatch = field(init=False)
    _awaited: bool = False

    def update(
        self,
        update: int,
        batches: Sequence[MicroBatch],
        *,
        tokens: int,
        rate: float,
        log_norms: bool = False,
    ) -> UpdateResult:
        """Make update number `update` (from 1) with learning rate `rate`.

        batches: this process's. tokens: the target tokens of all processes' batches, by which the gradient is divided.
        A batch that does not fit into memory is split, and the update begun again. Raises S2SError where a single
        sentence does not fit, and torch's OutOfMemoryError where other processes wait inside the pass that failed.
        """
        batches = self._cut(batches)
        while True:
            try:
                sums = self._gradients(update, batches, tokens)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                batches = self._split(update, batches, error)
            # Outside of the handler, where the failed pass's tensors are no longer held by its traceback.
            self._forget()
        loss, nll, *figures = self.processes.sum([*sums.values()])
        named = dict(zip(self.objective.figures, figures, strict=True))
        return self._step(loss, nll, rate, log_norms, named)

    def _cut(self, batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        """The pieces of the batches, equally many in all processes where each pass needs all of them."""
        pieces = [piece for item in batches for piece in item.pieces(self.processes.device)]
        if self.processes.kind == "fsdp" and self.processes.device.type == "cpu":
            # Shards are gathered in every pass, which all processes must make: for company, pieces that do not count.
            most = -self.processes.least(-len(pieces))
            pieces += [replace(pieces[0], counts=False)] * (most - len(pieces))
        return pieces

    def _gradients(self, update: int, batches: Sequence[MicroBatch], tokens: int) -> dict[str, float]:
        """Add up the gradients; returns this process's sums: the loss, its unsmoothed part, and other figures."""
        names = ("loss", "nll", *self.objective.figures)
        found = dict.fromkeys(names, torch.zeros((), device=self.processes.device))
        # Wrappers average over processes; the sum is wanted.
        factor = self.processes.size * self.scale.value / tokens
        synchronized = False
        for position, item in enumerate(batches):
            self._running = item
            self._awaited = self.processes.size > 1 and self.replica is None
            last = position == len(batches) - 1
            synchronize = last and (self.replica is None or self._is_proven(item.batch))
            torch.manual_seed(seed_for(self.seed, update, item.number + (item.piece - 1) * _PIECE_SEEDS))
            with self._synchronizing(synchronize):
                with autocast(self.precision, self.processes.device):
                    sums: Loss = (self.replica or self.objective)(item.batch, update)
                self._awaited = synchronize and self.processes.size > 1
                (sums.loss * (factor if item.counts else 0.0)).backward()
            if item.counts:
                each = {"loss": sums.loss, "nll": sums.nll, **sums.figures}
                found = {name: found[name] + each[name].detach() for name in names}
            self._prove(item.batch)
            synchronized = synchronized or synchronize
        if self.replica is not None and not synchronized:
            self.replica(None, update).backward()
        return {name: float(value) for name, value in found.items()}

    def _synchronizing(self, now: bool) -> AbstractContextManager[None]:
        """Whether a backward pass sums its gradients over the processes, or leaves that to a later one."""
        if self.replica is None:
            # Sharded gradients are summed in every pass: there is no room for whole ones in between.
            return nullcontext()
        context: AbstractContextManager[None] = nullcontext() if now else self.replica.no_sync()
        return context

    def _is_proven(self, batch: Batch) -> bool:
        """Whether a batch of this size has gone through before.

        Only then may other processes wait for its gradients: were it to run out of memory in the backward
        pass, the sums that have begun could not be taken back.
        """
        size = batch.size()
        return size[0] <= self._proven[0] and size[1] <= self._proven[1]

    def _prove(self, batch: Batch) -> None:
        slots, longest = batch.size()
        self._proven = max(slots, self._proven[0]), max(longest, self._proven[1])

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

    def _forget(self) -> None:
        """Drop what a failed pass has left."""
        self.optimizer.zero_grad(set_to_none=True)
        give_back_freed_memory(self.processes.device)

    def _step(
        self, loss: float, nll: float, rate: float, log_norms: bool, figures: Mapping[str, float]
    ) -> UpdateResult:
        if self.skips_layers:
            # The gradient of a layer that every batch has skipped is zero, however many processes there are.
            for item in self.parameters.values():
                item.grad = torch.zeros_like(item) if item.grad is None else item.grad
        gradients = [item.grad for item in self.parameters.values() if item.grad is not None]
        total = whole(get_total_norm(gradients, foreach=True))
        norm = float(total) / self.scale.value
        finite = math.isfinite(norm) and math.isfinite(loss)
        norms = self._norms() if log_norms or not finite else {}
        if finite:
            if self.scale.value != 1:
                torch._foreach_mul_(gradients, 1 / self.scale.value)
            if self.clip_norm:
                clip_grads_with_norm_(
                    list(self.parameters.values()), self.clip_norm, total / self.scale.value, foreach=True
                )
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return UpdateResult(loss, nll, norm, finite, norms, figures)

    def _norms(self) -> dict[str, float]:
        """The gradient's norm by layer: "encoder_layers.0.self_attention" and the like."""
        squares: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                layer = ".".join(name.split(".")[:-1][:3]) or name
                square = whole(parameter.grad.detach().float().square().sum())
                squares[layer] = squares.get(layer, torch.zeros_like(square)) + square
        return {layer: math.sqrt(float(square)) / self.scale.value for layer, square in squares.items()}
