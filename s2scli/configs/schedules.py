"""The settings of learning-rate schedules; fairseq's names where it has them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from s2scli.configs.component import ComponentConfig, called
from s2scli.errors import UsageError
from s2scli.schema import setting

_KIND = "learning-rate schedule"


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(ComponentConfig):
    """Settings of a learning-rate schedule, which all begin with a warm-up.

    `builds` is called with the config and the rate, or rates; it gives an `optim.schedules.Schedule`.

    takes_rates: whether there may be a rate for each epoch: where the schedule does not change the rate by itself.
    reads_figures: whether the rate follows from the figures of validations.
    """

    takes_rates: ClassVar[bool] = False
    reads_figures: ClassVar[bool] = False

    warmup_updates: int = setting(0, "linear warm-up", unit="updates", at_least=0, common=True)
    warmup_init_lr: float = setting(
        0.0, "rate at the start of the warm-up", at_least=0, needs="warmup_updates!=0"
    )

    @property
    def length(self) -> int:
        """The update at which the rate comes to its end, counted from the schedule's beginning; 0: it has none."""
        return 0

    def settled(self, max_update: int) -> Self:
        """The same settings with the schedule's length filled in, where it is left to the run's."""
        del max_update
        return self

    def check_beside(self, lr: float | tuple[float, ...], *, validates: bool) -> None:
        """UsageError for rates that the schedule cannot take, and where it would wait for validations in vain."""
        if self.reads_figures and not validates:
            raise UsageError(
                f"--lr-scheduler {self.name}: goes by the figures of validations, which "
                "--disable-validation leaves out; give one of them"
            )
        if isinstance(lr, tuple) and not self.takes_rates:
            rates = ",".join(f"{rate:g}" for rate in lr)
            raise UsageError(
                f"--lr {rates}: a rate for each epoch is for --lr-scheduler fixed, not {self.name}; "
                "choose that, or give one rate"
            )


@dataclass(frozen=True, kw_only=True)
class FixedConfig(ScheduleConfig):
    """A constant rate after a linear warm-up."""

    builds = "s2scli.optim.schedules:Schedule"
    takes_rates = True

    name: str = called("fixed", _KIND)


@dataclass(frozen=True, kw_only=True)
class InverseSqrtConfig(ScheduleConfig):
    """A linear warm-up, then decay with the inverse square root of the update (Vaswani et al. 2017)."""

    builds = "s2scli.optim.schedules:InverseSqrt"

    name: str = called("inverse_sqrt", _KIND)
    warmup_updates: int = setting(4000, "linear warm-up", unit="updates", at_least=1, common=True)


@dataclass(frozen=True, kw_only=True)
class ReduceOnPlateauConfig(ScheduleConfig):
    """A rate that is multiplied by lr_shrink when the validation metric stops improving."""

    builds = "s2scli.optim.schedules:ReduceOnPlateau"
    reads_figures = True

    name: str = called("reduce_on_plateau", _KIND)
    lr_shrink: float = setting(0.5, "factor at each reduction", above=0, below=1)
    lr_patience: int = setting(0, "validations without improvement before a reduction", at_least=0)
    lr_threshold: float = setting(1e-4, "relative change that counts as an improvement", at_least=0)


@dataclass(frozen=True, kw_only=True)
class StepConfig(ScheduleConfig):
    """A constant rate, then lr_shrink times it after every so many updates (Luong et al. 2015)."""

    builds = "s2scli.optim.decays:StepDecay"

    name: str = called("step", _KIND)
    start_decay_at: int = setting(50_000, "last update at the full rate", unit="updates", at_least=0)
    decay_every: int = setting(10_000, "updates that one decay of the rate takes", unit="updates", at_least=1)
    lr_shrink: float = setting(0.5, "factor at each reduction", above=0, below=1)


@dataclass(frozen=True, kw_only=True)
class ExponentialConfig(ScheduleConfig):
    """A rate that falls by the factor gamma, smoothly, in every decay_every updates."""

    builds = "s2scli.optim.decays:Exponential"

    name: str = called("exponential", _KIND)
    gamma: float = setting(0.5, "factor by which the rate falls in decay_every updates", above=0, below=1)
    decay_every: int = setting(10_000, "updates that one decay of the rate takes", unit="updates", at_least=1)


@dataclass(frozen=True, kw_only=True)
class TotalConfig(ScheduleConfig):
    """What the schedules share that end at an update, the run's last unless they are told another."""

    total_updates: int = setting(
        0, "update at which the decay ends; 0: the run's --max-update", unit="updates", at_least=0
    )

    def __post_init__(self) -> None:
        if self.total_updates and self.total_updates <= self.decay_start:
            raise UsageError(
                f"lr_scheduler.total_updates = {self.total_updates} leaves no time to decay after "
                f"{self.decay_start} updates; raise --total-num-update or --max-update, or lower --warmup-updates"
            )

    @property
    def decay_start(self) -> int:
        """The last update before the decay."""
        return self.warmup_updates

    @property
    def needs_total(self) -> bool:
        """Whether no other setting says when the decay ends."""
        return True

    @property
    def length(self) -> int:
        """total_updates, where no other setting says when the decay ends."""
        return self.total_updates if self.needs_total else 0

    def settled(self, max_update: int) -> Self:
        """The same settings with total_updates filled in; UsageError if there is nothing to fill it with."""
        if self.total_updates or not self.needs_total:
            return self
        if not max_update:
            raise UsageError(
                f"lr_scheduler {self.name!r} needs its length: give --max-update or --total-num-update"
            )
        return replace(self, total_updates=max_update)

    def _only_one_length(self, name: str, flag: str) -> None:
        """The decay has one length: total_updates, or the setting `name`, whose flag is `flag`."""
        if self.total_updates and getattr(self, name):
            raise UsageError(
                f"lr_scheduler.{name} = {getattr(self, name)} and total_updates = {self.total_updates} both say "
                f"how long the decay takes; give {flag} or --total-num-update, and 0 for the other"
            )


@dataclass(frozen=True, kw_only=True)
class LinearConfig(TotalConfig):
    """A warm-up, then a line down to end_learning_rate."""

    builds = "s2scli.optim.decays:LinearDecay"

    name: str = called("linear", _KIND)
    end_learning_rate: float = setting(0.0, "rate at the end of the decay", at_least=0)


@dataclass(frozen=True, kw_only=True)
class PolynomialDecayConfig(LinearConfig):
    """A warm-up, then a power of the line down to end_learning_rate."""

    builds = "s2scli.optim.decays:PolynomialDecay"

    name: str = called("polynomial_decay", _KIND)
    power: float = setting(1.0, "power of what is left of the decay; 1: a line", above=0)


@dataclass(frozen=True, kw_only=True)
class CosineConfig(TotalConfig):
    """A warm-up, then half a cosine down to min_lr, with warm restarts (SGDR, Loshchilov and Hutter 2017)."""

    builds = "s2scli.optim.decays:Cosine"

    name: str = called("cosine", _KIND)
    min_lr: float = setting(0.0, "rate at the end of each period of the cosine", at_least=0)
    lr_period_updates: int = setting(
        0, "first period of the cosine; 0: one period, no restarts", unit="updates", at_least=0
    )
    t_mult: float = setting(
        1.0,
        "factor by which each period is longer than the one before",
        at_least=1,
        needs="lr_period_updates",
    )
    lr_shrink: float = setting(1.0, "factor at each restart", above=0, at_most=1, needs="lr_period_updates")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._only_one_length("lr_period_updates", "--lr-period-updates")

    @property
    def needs_total(self) -> bool:
        """Whether no other setting says when the decay ends."""
        return not self.lr_period_updates


@dataclass(frozen=True, kw_only=True)
class TriStageConfig(TotalConfig):
    """A warm-up, a constant rate, then exponential decay (Park et al. 2019, SpecAugment)."""

    builds = "s2scli.optim.decays:TriStage"

    name: str = called("tri_stage", _KIND)
    hold_updates: int = setting(0, "constant rate between warm-up and decay", unit="updates", at_least=0)
    decay_updates: int = setting(
        0, "length of the decay; 0: until --total-num-update", unit="updates", at_least=0
    )
    final_lr_scale: float = setting(0.01, "rate at the end of the decay, relative to lr", above=0, at_most=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._only_one_length("decay_updates", "--decay-steps")

    @property
    def decay_start(self) -> int:
        """The last update before the decay."""
        return self.warmup_updates + self.hold_updates

    @property
    def needs_total(self) -> bool:
        """Whether no other setting says when the decay ends."""
        return not self.decay_updates
