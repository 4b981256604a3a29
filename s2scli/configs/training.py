"""The settings of optimizers, learning-rate schedules and objectives; fairseq's names where it has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from s2scli.schema import setting

_LR: dict[str, Any] = {"help": "learning rate, after the warm-up", "above": 0}
_DECAY: dict[str, Any] = {"help": "weight decay, on weight matrices only", "at_least": 0}


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Adam (Kingma and Ba 2015)."""

    name: str = setting("adam", "optimizer", choices=("adam",))
    lr: float = setting(0.001, **_LR)
    betas: tuple[float, float] = setting(
        (0.9, 0.98), "decay of the running mean and square", at_least=0, below=1
    )
    eps: float = setting(1e-8, "added to the denominator", above=0)
    weight_decay: float = setting(0.0, **_DECAY)


@dataclass(frozen=True, kw_only=True)
class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: str = setting("adamw", "optimizer", choices=("adamw",))
    weight_decay: float = setting(0.01, **_DECAY)


@dataclass(frozen=True, kw_only=True)
class RMSpropConfig:
    """RMSprop (Tieleman and Hinton 2012)."""

    name: str = setting("rmsprop", "optimizer", choices=("rmsprop",))
    lr: float = setting(0.001, **_LR)
    alpha: float = setting(0.99, "decay of the running square", at_least=0, below=1)
    eps: float = setting(1e-8, "added to the denominator", above=0)
    momentum: float = setting(0.0, "momentum", at_least=0, below=1)
    weight_decay: float = setting(0.0, **_DECAY)


@dataclass(frozen=True, kw_only=True)
class SGDConfig:
    """Stochastic gradient descent."""

    name: str = setting("sgd", "optimizer", choices=("sgd",))
    lr: float = setting(0.1, **_LR)
    momentum: float = setting(0.0, "momentum", at_least=0, below=1)
    weight_decay: float = setting(0.0, **_DECAY)


OptimizerConfig = AdamConfig | AdamWConfig | RMSpropConfig | SGDConfig


@dataclass(frozen=True, kw_only=True)
class FixedConfig:
    """A constant rate after a linear warm-up."""

    name: str = setting("fixed", "learning-rate schedule", choices=("fixed",))
    warmup_updates: int = setting(0, "linear warm-up", unit="updates", at_least=0)
    warmup_init_lr: float = setting(0.0, "rate at the start of the warm-up", at_least=0)


@dataclass(frozen=True, kw_only=True)
class InverseSqrtConfig(FixedConfig):
    """A linear warm-up, then decay with the inverse square root of the update (Vaswani et al. 2017)."""

    name: str = setting("inverse_sqrt", "learning-rate schedule", choices=("inverse_sqrt",))
    warmup_updates: int = setting(4000, "linear warm-up", unit="updates", at_least=1)


@dataclass(frozen=True, kw_only=True)
class ReduceOnPlateauConfig(FixedConfig):
    """A rate that is multiplied by lr_shrink when the validation metric stops improving."""

    name: str = setting("reduce_on_plateau", "learning-rate schedule", choices=("reduce_on_plateau",))
    lr_shrink: float = setting(0.5, "factor at each reduction", above=0, below=1)
    lr_patience: int = setting(0, "validations without improvement before a reduction", at_least=0)
    lr_threshold: float = setting(1e-4, "relative change that counts as an improvement", at_least=0)


ScheduleConfig = FixedConfig | InverseSqrtConfig | ReduceOnPlateauConfig


@dataclass(frozen=True, kw_only=True)
class LabelSmoothedCrossEntropyConfig:
    """Cross-entropy with label smoothing (Szegedy et al. 2016)."""

    name: str = setting(
        "label_smoothed_cross_entropy", "objective", choices=("label_smoothed_cross_entropy",)
    )
    label_smoothing: float = setting(
        0.1, "probability mass spread over the vocabulary; 0 for none", at_least=0, below=1
    )


ObjectiveConfig = LabelSmoothedCrossEntropyConfig
