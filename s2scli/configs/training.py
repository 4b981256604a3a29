"""The settings of optimizers and objectives; fairseq's names where it has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2scli.errors import UsageError
from s2scli.schema import setting

_LR: dict[str, Any] = {
    "help": "learning rate, after the warm-up; with --lr-scheduler fixed also one for each epoch, as 0.1,0.05, the "
    "last of which stays",
    "above": 0,
    # More is no number in the precision of the weights.
    "at_most": 1e30,
}
_DECAY: dict[str, Any] = {"help": "weight decay, on weight matrices only", "at_least": 0}


# One for all epochs, or one for each.
Rates = float | tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Adam (Kingma and Ba 2015)."""

    name: str = setting("adam", "optimizer", choices=("adam",))
    lr: Rates = setting(0.001, **_LR)
    betas: tuple[float, float] = setting(
        (0.9, 0.98), "decay of the running mean and square", at_least=0, below=1
    )
    eps: float = setting(1e-8, "added to the denominator", at_least=1e-37)
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
    lr: Rates = setting(0.001, **_LR)
    alpha: float = setting(0.99, "decay of the running square", at_least=0, below=1)
    eps: float = setting(1e-8, "added to the denominator", at_least=1e-37)
    momentum: float = setting(0.0, "momentum", at_least=0, below=1)
    weight_decay: float = setting(0.0, **_DECAY)


@dataclass(frozen=True, kw_only=True)
class SGDConfig:
    """Stochastic gradient descent."""

    name: str = setting("sgd", "optimizer", choices=("sgd",))
    lr: Rates = setting(0.1, **_LR)
    momentum: float = setting(0.0, "momentum", at_least=0, below=1)
    nesterov: bool = setting(False, "Nesterov's momentum, which looks one step ahead")
    weight_decay: float = setting(0.0, **_DECAY)

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise UsageError("optimizer.nesterov needs a momentum above 0, such as --momentum 0.9")


@dataclass(frozen=True, kw_only=True)
class AdagradConfig:
    """Adagrad (Duchi et al. 2011)."""

    name: str = setting("adagrad", "optimizer", choices=("adagrad",))
    lr: Rates = setting(0.01, **_LR)
    initial_accumulator_value: float = setting(
        0.0, "what Adagrad's sum of squares starts from; 0.1 in pointer-generator networks", at_least=0
    )
    eps: float = setting(1e-10, "added to the denominator", at_least=1e-37)
    weight_decay: float = setting(0.0, **_DECAY)


@dataclass(frozen=True, kw_only=True)
class AdadeltaConfig:
    """Adadelta (Zeiler 2012), with the decay that he and Bahdanau et al. (2015) used."""

    name: str = setting("adadelta", "optimizer", choices=("adadelta",))
    lr: Rates = setting(1.0, **_LR)
    rho: float = setting(0.95, "decay of the running squares", at_least=0, below=1)
    eps: float = setting(1e-6, "added to both running squares", at_least=1e-37)
    weight_decay: float = setting(0.0, **_DECAY)


@dataclass(frozen=True, kw_only=True)
class AdafactorConfig:
    """Adafactor (Shazeer and Stern 2018); lr is the largest step relative to a weight's size."""

    name: str = setting("adafactor", "optimizer", choices=("adafactor",))
    lr: Rates = setting(0.01, **_LR)
    adafactor_eps: tuple[float, float] = setting(
        (1e-30, 1e-3),
        "Adafactor's least mean square of gradients and least root mean square of weights",
        at_least=1e-37,
    )
    clip_threshold: float = setting(
        1.0, "largest root mean square of a weight's update, before the rate", at_least=1
    )
    decay_rate: float = setting(-0.8, "the running squares decay by 1 - update^decay_rate", at_most=0)
    weight_decay: float = setting(0.0, **_DECAY)


@dataclass(frozen=True, kw_only=True)
class LionConfig:
    """Lion (Chen et al. 2023); its rate is 3 to 10 times smaller than Adam's, its weight decay as much larger."""

    name: str = setting("lion", "optimizer", choices=("lion",))
    lr: Rates = setting(0.0001, **_LR)
    betas: tuple[float, float] = setting(
        (0.9, 0.99), "share of the mean in the step, and decay of the mean", at_least=0, below=1
    )
    weight_decay: float = setting(0.0, **_DECAY)


OptimizerConfig = (
    AdamConfig
    | AdamWConfig
    | RMSpropConfig
    | SGDConfig
    | AdagradConfig
    | AdadeltaConfig
    | AdafactorConfig
    | LionConfig
)


@dataclass(frozen=True, kw_only=True)
class LabelSmoothedCrossEntropyConfig:
    """Cross-entropy with label smoothing (Szegedy et al. 2016), and what every objective can be combined with."""

    name: str = setting(
        "label_smoothed_cross_entropy", "objective", choices=("label_smoothed_cross_entropy",)
    )
    label_smoothing: float = setting(
        0.1, "probability mass spread over the vocabulary; 0 for none", at_least=0, below=1
    )
    encoder_loss: str = setting(
        "none",
        "what the encoder alone must tell too: each source token, or the target by CTC, where both sides run in "
        "parallel (pronunciation, transliteration) and the target is no longer than the source",
        choices=("none", "reconstruction", "ctc"),
    )
    encoder_loss_weight: float = setting(
        0.2,
        "share α of the encoder's loss, the decoder's having 1 - α",
        above=0,
        below=1,
        needs="encoder_loss",
    )
    scheduled_sampling: str = setting(
        "none",
        "let the decoder read its own predictions in place of some target tokens, more and more of them; how the "
        "share of target tokens falls",
        choices=("none", "linear", "exponential", "inverse_sigmoid"),
    )
    sampling_half_life: int = setting(
        10000,
        "with scheduled sampling: when half of the target tokens are read",
        unit="updates",
        at_least=1,
        needs="scheduled_sampling",
    )
    sampling_min_gold: float = setting(
        0.0,
        "with scheduled sampling: the least share of target tokens that is read",
        at_least=0,
        at_most=1,
        needs="scheduled_sampling",
    )
    sampling_feedback: str = setting(
        "argmax",
        "with scheduled sampling: the prediction read is the most probable word, or drawn from the model",
        choices=("argmax", "sample"),
        needs="scheduled_sampling",
    )

    coverage_loss_weight: float = setting(
        0.0,
        "for models that copy, how much the attention's coming back to the same source tokens counts, λ of See et al. "
        "2017; 1 is theirs",
        at_least=0,
    )


@dataclass(frozen=True, kw_only=True)
class RDropConfig(LabelSmoothedCrossEntropyConfig):
    """Regularized dropout (Liang et al. 2021)."""

    name: str = setting("r_drop", "objective", choices=("r_drop",))
    r_drop_alpha: float = setting(
        5.0, "weight of the divergence between two passes with different dropout", at_least=0
    )


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(LabelSmoothedCrossEntropyConfig):
    """Word-level knowledge distillation (Kim and Rush 2016)."""

    name: str = setting("distillation", "objective", choices=("distillation",))
    teacher: Path = setting(
        ..., "checkpoint or run folder of the model to learn from, with the same vocabularies"
    )
    distill_weight: float = setting(
        0.5,
        "share of the teacher's loss, the label-smoothed cross-entropy having the rest",
        at_least=0,
        at_most=1,
    )
    distill_temperature: float = setting(
        1.0,
        "what the scores of teacher and student are divided by before their softmax",
        above=0,
        at_least=0.001,
        at_most=1000,
    )


@dataclass(frozen=True, kw_only=True)
class MinimumRiskConfig(LabelSmoothedCrossEntropyConfig):
    """Minimum risk training (Shen et al. 2016), for a model that has been trained already."""

    name: str = setting("minimum_risk", "objective", choices=("minimum_risk",))
    risk_metric: str = setting(
        "bleu",
        "what sampled outputs should be good by, sentence by sentence; chrf for text without spaces",
        choices=("bleu", "chrf"),
    )
    risk_samples: int = setting(
        16, "outputs drawn for each source; a batch needs the memory of as many", at_least=1, at_most=1000
    )
    risk_alpha: float = setting(
        0.005,
        "how much more weight probable outputs have, the power α of their probability",
        above=0,
        at_most=1000,
    )
    risk_reference: bool = setting(True, "count the reference among the outputs drawn")
    risk_weight: float = setting(
        1.0,
        "share of the risk, at most 1 a sentence; the label-smoothed cross-entropy, nats of all tokens, has the rest",
        above=0,
        at_most=1,
    )


ObjectiveConfig = LabelSmoothedCrossEntropyConfig | RDropConfig | DistillationConfig | MinimumRiskConfig
