"""An optimizer, a schedule and an objective from outside the package."""

# ruff: noqa: ARG002 (a contract gives more than each has a use for)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from outside.configs import LikelihoodConfig, SawtoothConfig, SignSGDConfig
from s2scli.data.batch import Batch
from s2scli.models.base import Model
from s2scli.optim.schedules import Schedule
from s2scli.schema import by_epoch
from s2scli.training.objectives.base import Loss, Objective


class SignSGD(Optimizer):
    """θ ← θ − lr · sign(g)."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter -= group["lr"] * parameter.grad.sign()


def sign_sgd(groups: list[dict[str, Any]], config: SignSGDConfig) -> Optimizer:
    return SignSGD(groups, {"lr": by_epoch(config.lr, 1)})


class Sawtooth(Schedule):
    """lr · (1 − what is done of a tooth)."""

    config: SawtoothConfig

    def after_warmup(self, update: int) -> float:
        length = self.config.saw_updates
        return self.lr * (1 - (update - 1) % length / length)


class Likelihood(Objective):
    """−log p of every target token."""

    def __init__(self, config: LikelihoodConfig, model: Model) -> None:
        super().__init__(model)

    def forward(self, batch: Batch, update: int) -> Loss:
        assert batch.target is not None
        mask = batch.target.mask
        targets = batch.target.ids[mask]
        loss, nll = self.model.output.loss(self.model(batch)[mask], targets, 0.0)
        return Loss(loss, nll, len(targets))
