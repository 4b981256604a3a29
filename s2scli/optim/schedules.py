"""Learning-rate schedules: the rate as a function of the update, and of validations where it says so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from s2scli import document
from s2scli.configs.schedules import InverseSqrtConfig, ReduceOnPlateauConfig, ScheduleConfig
from s2scli.schema import by_epoch, setting


class Schedule:
    """A linear warm-up from warmup_init_lr to lr, then `after_warmup`; here the constant rate.

    lr: one rate, or of the constant rate one for each epoch, the last of which stays.
    """

    def __init__(self, config: ScheduleConfig, lr: float | tuple[float, ...]) -> None:
        self.config = config
        self.rates = lr if isinstance(lr, tuple) else ()
        self.lr = lr[0] if isinstance(lr, tuple) else lr

    def rate(self, update: int, epoch: int = 1) -> float:
        """The rate of an update in an epoch, both counted from 1."""
        if self.rates:
            self.lr = by_epoch(self.rates, epoch)
        warmup = self.config.warmup_updates
        if update <= warmup:
            start = self.config.warmup_init_lr
            return start + (self.lr - start) * update / warmup
        return self.after_warmup(update)

    def after_warmup(self, update: int) -> float:
        """The rate of an update after the warm-up."""
        del update
        return self.lr

    def validated(self, score: float, *, higher_is_better: bool) -> None:
        """Take note of a validation's figure."""

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs, as JSON values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""


class InverseSqrt(Schedule):
    """lr · √(warmup_updates / update) after the warm-up (Vaswani et al. 2017, section 5.3)."""

    config: InverseSqrtConfig

    def after_warmup(self, update: int) -> float:
        """The rate of an update after the warm-up."""
        return self.lr * math.sqrt(self.config.warmup_updates / update)


@dataclass(frozen=True, kw_only=True)
class PlateauState:
    """What a schedule that waits for validations has to remember."""

    lr: float
    best: float | None
    without_improvement: int = setting(..., "validations", at_least=0)


class ReduceOnPlateau(Schedule):
    """The rate shrinks by lr_shrink when lr_patience validations in a row brought no improvement."""

    config: ReduceOnPlateauConfig

    def __init__(self, config: ReduceOnPlateauConfig, lr: float | tuple[float, ...]) -> None:
        super().__init__(config, lr)
        self.best: float | None = None
        self.without_improvement = 0

    def validated(self, score: float, *, higher_is_better: bool) -> None:
        """Shrink the rate if the figure has not improved for too long."""
        score = -score if higher_is_better else score
        if (
            self.best is None
            or not math.isfinite(self.best)
            or score < self.best - self.config.lr_threshold * abs(self.best)
        ):
            self.best, self.without_improvement = score, 0
            return
        self.without_improvement += 1
        if self.without_improvement > self.config.lr_patience:
            self.lr *= self.config.lr_shrink
            self.without_improvement = 0

    def state_dict(self) -> dict[str, Any]:
        """The current rate, the best figure and the count of validations without improvement."""
        return {"lr": self.lr, "best": self.best, "without_improvement": self.without_improvement}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; DataError where it is none."""
        document.check(state, PlateauState, "schedule")
        self.lr, self.best, self.without_improvement = (
            state["lr"],
            state["best"],
            state["without_improvement"],
        )


def build_schedule(config: ScheduleConfig, lr: float | tuple[float, ...]) -> Schedule:
    """The chosen schedule of the learning rate lr, or rates; UsageError if it lacks its length."""
    # TrainConfig.resolve has filled the length in; a config that was made without it has only its own.
    schedule: Schedule = config.builder(config.settled(0), lr)
    return schedule
