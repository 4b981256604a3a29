"""One update: the gradients of some batches, normalized over all target tokens, and the optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from s2scli.nn.sharded import whole
from s2scli.optim.rounded_state import step_rounded
from s2scli.training.accumulation import Accumulator
from s2scli.training.consolidation import Consolidation
from s2scli.training.distributed import Processes
from s2scli.training.micro_batch import MicroBatch, seed_for
from s2scli.training.objectives.base import Objective
from s2scli.training.precision import LossScale

# In place of a micro-batch's number, for what is drawn in the optimizer's step: no update has so many.
_OF_STEP = (1 << 64) - 1


@dataclass(frozen=True)
class UpdateResult:
    """Sums over an update's batches in all processes, in nats, and the gradient's norm before clipping.

    finite: whether the update was made; where the loss or the gradient was not finite, the weights are as before.
    norms: the gradient's norm by layer, where it was asked for or not finite. figures: further sums that the objective
    reports, each in its own unit.
    """

    loss: float
    nll: float
    gradient_norm: float
    finite: bool = True
    norms: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class Updater:
    """Makes updates of an objective's parameters.

    replica: the objective's DistributedDataParallel wrapper; None with one process or with FSDP. parameters: name →
    those that are trained. state_precision: fp32 or bf16, of the optimizer's running means. clip_norm 0 clips nothing.
    skips_layers: whether a pass may leave layers out (LayerDrop). consolidation: what holds weights to what they were;
    None: nothing does.
    """

    objective: Objective
    optimizer: Optimizer
    parameters: Mapping[str, nn.Parameter]
    processes: Processes
    replica: DistributedDataParallel | None = None
    precision: str = "fp32"
    state_precision: str = "fp32"
    clip_norm: float = 0.0
    skips_layers: bool = False
    seed: int = 1
    scale: LossScale = field(default_factory=LossScale)
    consolidation: Consolidation | None = None

    def __post_init__(self) -> None:
        self._accumulator = Accumulator(
            objective=self.objective,
            processes=self.processes,
            replica=self.replica,
            precision=self.precision,
            seed=self.seed,
        )

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
        log_norms: whether to tell the gradient's norm by layer. Raises S2SError where a single sentence does not fit
        into memory, and the out-of-memory error itself where other processes already wait inside the pass that failed,
        which then cannot be repeated.
        """
        # DDP and FSDP average gradients over the processes; multiplying by their number makes it the sum.
        factor = self.processes.size * self.scale.value / tokens
        sums = self._accumulator.accumulate(update, batches, factor)
        total = self.processes.total(torch.stack([*sums.values()]))
        penalties = [] if self.consolidation is None else [self.consolidation.add_gradient(self.scale.value)]
        gradients = self._gradients()
        scaled_norm = whole(get_total_norm(gradients, foreach=True))
        # The one time in an update that the device is waited for: what is not finite must change nothing.
        alone = torch.stack([scaled_norm, *penalties])
        norm, *rest = torch.cat([alone.to(total.dtype), total]).tolist()
        penalty, (loss, nll, *figures) = rest[: len(penalties)], rest[len(penalties) :]
        named = dict(zip(self.objective.figures, figures, strict=True))
        if penalty:
            # A mean over target tokens, as the loss will be.
            named["ewc"] = penalty[0] * tokens
        norm /= self.scale.value
        finite = math.isfinite(norm) and math.isfinite(loss)
        norms = self._norms() if log_norms or not finite else {}
        if finite:
            self._step(update, gradients, scaled_norm / self.scale.value, rate)
        self.optimizer.zero_grad(set_to_none=True)
        return UpdateResult(loss, nll, norm, finite, norms, named)

    def _gradients(self) -> list[Tensor]:
        """The gradients of the parameters that have one, still scaled."""
        if self.skips_layers:
            # The gradient of a layer that every batch has skipped is zero, however many processes there are.
            for item in self.parameters.values():
                item.grad = torch.zeros_like(item) if item.grad is None else item.grad
        return [item.grad for item in self.parameters.values() if item.grad is not None]

    def _step(self, update: int, gradients: list[Tensor], norm: Tensor, rate: float) -> None:
        """Unscale and clip the gradients, whose unscaled norm is given, and make the optimizer's step."""
        if self.scale.value != 1:
            torch._foreach_mul_(gradients, 1 / self.scale.value)
        if self.clip_norm:
            clip_grads_with_norm_(list(self.parameters.values()), self.clip_norm, norm, foreach=True)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.state_precision == "fp32":
            self.optimizer.step()
        else:
            step_rounded(self.optimizer, seed_for(self.seed, update, _OF_STEP))

    def _norms(self) -> dict[str, float]:
        """The gradient's norm by layer: "encoder_layers.0.self_attention" and the like."""
        squares: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                layer = ".".join(name.split(".")[:-1][:3]) or name
                square = whole(parameter.grad.detach().float().square().sum())
                squares[layer] = squares.get(layer, torch.zeros_like(square)) + square
        values = torch.stack([*squares.values()]).tolist() if squares else []
        return {
            layer: math.sqrt(square) / self.scale.value for layer, square in zip(squares, values, strict=True)
        }
