"""Learning-rate schedules that lower the rate after the warm-up, as functions of the update alone."""

from __future__ import annotations

import math

from s2scli.configs.schedules import (
    CosineConfig,
    ExponentialConfig,
    LinearConfig,
    PolynomialDecayConfig,
    StepConfig,
    TriStageConfig,
)
from s2scli.errors import UsageError
from s2scli.optim.schedules import Schedule


class StepDecay(Schedule):
    """lr · lr_shrink^n, with n = 0 until start_decay_at and ⌈(update − start_decay_at) / decay_every⌉ after it.

    Luong et al. (2015, section 4.1) train for 5 epochs and then halve the rate at the start of every epoch.
    """

    config: StepConfig

    def after_warmup(self, update: int) -> float:
        """The rate of an update after the warm-up."""
        beyond = max(0, update - self.config.start_decay_at)
        reductions = -(-beyond // self.config.decay_every)  # rounded up
        return self.lr * self.config.lr_shrink**reductions


class Exponential(Schedule):
    """lr · gamma^((update − warmup_updates) / decay_every)."""

    config: ExponentialConfig

    def after_warmup(self, update: int) -> float:
        """The rate of an update after the warm-up."""
        config = self.config
        exponent = (update - config.warmup_updates) / config.decay_every
        return float(self.lr * config.gamma**exponent)


class LinearDecay(Schedule):
    """end + (lr − end) · r, where r is what is left of the decay: 1 at warmup_updates, 0 from total_updates on."""

    config: LinearConfig

    def __init__(self, config: LinearConfig, lr: float) -> None:
        super().__init__(config, lr)
        _check_lowest("--end-learning-rate", config.end_learning_rate, lr)

    def after_warmup(self, update: int) -> float:
        """The rate of an update after the warm-up."""
        end = self.config.end_learning_rate
        return end + (self.lr - end) * self.remaining(update)

    def remaining(self, update: int) -> float:
        """How much of the decay is left, from 1 to 0."""
        total = self.config.total_updates
        return max(0, total - update) / (total - self.config.warmup_updates)


class PolynomialDecay(LinearDecay):
    """end + (lr − end) · r^power, with r as in LinearDecay; fairseq's and TensorFlow's polynomial decay."""

    config: PolynomialDecayConfig

    def remaining(self, update: int) -> float:
        """How much of the decay is left, from 1 to 0."""
        return float(super().remaining(update) ** self.config.power)


class Cosine(Schedule):
    """min_lr + ½ (lr − min_lr)(1 + cos(π T_cur / T_i)) (SGDR, Loshchilov and Hutter 2017, equation 5).

    T_cur counts the updates of the present period from 1, so that its last update, number T_i, has the rate min_lr
    and the next one restarts. The i-th period, from 0, has T_i = lr_period_updates · t_mult^i updates and both rates
    times lr_shrink^i, as in fairseq. Without lr_period_updates there is one period, which ends at total_updates.
    """

    config: CosineConfig

    def __init__(self, config: CosineConfig, lr: float) -> None:
        super().__init__(config, lr)
        _check_lowest("--min-lr", config.min_lr, lr)

    def after_warmup(self, update: int) -> float:
        """The rate of an update after the warm-up."""
        config = self.config
        done = update - config.warmup_updates
        if config.lr_period_updates:
            period, share = self._place(done)
        else:
            period, share = 0, min(1.0, done / (config.total_updates - config.warmup_updates))
        rate = config.min_lr + 0.5 * (self.lr - config.min_lr) * (1 + math.cos(math.pi * share))
        return rate * config.lr_shrink**period

    def _place(self, done: int) -> tuple[int, float]:
        """The number of the present period, from 0, and the share of it that is done, above 0 and up to 1."""
        length, factor = self.config.lr_period_updates, self.config.t_mult
        if factor == 1:
            period = (done - 1) // length
            return period, done / length - period
        # Lengths grow as powers, so the periods are few; a logarithm would err at their borders.
        period, left, size = 0, float(done), float(length)
        while left > size:
            period, left, size = period + 1, left - size, size * factor
        return period, left / size


class TriStage(Schedule):
    """lr for hold_updates, then lr · final_lr_scale^s, where s goes from 0 to 1 and stays there.

    The schedule of SpecAugment (Park et al. 2019, section 4.2): a ramp, a constant, an exponential decay.
    """

    config: TriStageConfig

    def after_warmup(self, update: int) -> float:
        """The rate of an update after the warm-up."""
        config = self.config
        begin = config.decay_start
        length = config.decay_updates or config.total_updates - begin
        share = min(1.0, max(0, update - begin) / length)
        return float(self.lr * config.final_lr_scale**share)


def _check_lowest(flag: str, lowest: float, lr: float) -> None:
    """A decay that would rise is a slip of the pen."""
    if lowest > lr:
        raise UsageError(f"{flag} {lowest:g} is above the learning rate, --lr {lr:g}; lower it")
