"""One update: the gradients of some batches, normalized over all target tokens, and the optimizer's step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from s2scli.data.batch import Batch
from s2scli.models.base import Model
from s2scli.nn.runtime import autocast
from s2scli.training.objectives.base import Objective


@dataclass(frozen=True)
class UpdateResult:
    """Sums over an update's batches, in nats, and the gradient's norm before clipping."""

    loss: float
    nll: float
    gradient_norm: float


def seed_for(seed: int, update: int, micro_batch: int) -> int:
    """The seed of all that is drawn for a micro-batch, as a function of its place in the run (splitmix64)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + update * 0xD1B54A32D192ED03 + micro_batch) % 2**64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
    return (mixed ^ (mixed >> 31)) % 2**63


def train_update(
    model: Model,
    objective: Objective,
    optimizer: Optimizer,
    batches: Sequence[Batch],
    *,
    rate: float,
    clip_norm: float,
    precision: str,
    seed: int,
    update: int,
) -> UpdateResult:
    """Make update number `update` (from 1) with learning rate `rate`; clip_norm 0 clips nothing."""
    tokens = sum(int(batch.target.lengths.sum()) for batch in batches if batch.target)
    loss = nll = 0.0
    for number, batch in enumerate(batches):
        torch.manual_seed(seed_for(seed, update, number))
        with autocast(precision, batch.source.ids.device):
            sums = objective(model, batch)
        (sums.loss / tokens).backward()
        loss += float(sums.loss.detach())
        nll += float(sums.nll.detach())
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm or float("inf"), foreach=True)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return UpdateResult(loss, nll, float(norm))
