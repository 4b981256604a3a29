"""The settings of training objectives; fairseq's names where it has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2scli.components import METRICS
from s2scli.configs.component import ComponentConfig, called
from s2scli.configs.model import ModelConfig, is_for_sources
from s2scli.errors import UsageError
from s2scli.registry import Names
from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(ComponentConfig):
    """Settings of a training objective.

    `builds` is called with the config and the model; it gives a `training.objectives.base.Objective`.
    """

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads over the encoder's states that the model is to have beside its decoder, as "ctc"."""
        return ()

    def check_beside(self, model: ModelConfig, arch: str) -> None:
        """UsageError where the objective cannot train such a model, that of the preset `arch`."""
        del model, arch


@dataclass(frozen=True, kw_only=True)
class LabelSmoothedCrossEntropyConfig(ObjectiveConfig):
    """Cross-entropy with label smoothing (Szegedy et al. 2016), and what every objective can be combined with."""

    builds = "s2scli.training.objectives.cross_entropy:LabelSmoothedCrossEntropy"

    name: str = called("label_smoothed_cross_entropy", "objective")
    label_smoothing: float = setting(
        0.1, "probability mass spread over the vocabulary; 0 for none", at_least=0, below=1, common=True
    )
    encoder_loss: str = setting(
        "none",
        "what the encoder alone must tell too: each source token",
        choices=("none", "reconstruction"),
    )
    encoder_loss_weight: float = setting(
        0.2,
        "share α of the encoder's loss, the decoder's having 1 - α",
        above=0,
        below=1,
        needs="encoder_loss",
    )
    ctc_weight: float = setting(
        0.0,
        "share of the loss of a CTC head, which must tell the target from the encoder's states alone, all else having "
        "the rest; for speech, and where both sides run in parallel (pronunciation, transliteration) and the target "
        "is no longer than the encoded source; the head stays in the checkpoint, for s2s generate --ctc-weight",
        at_least=0,
        below=1,
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

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads over the encoder's states that the model is to have beside its decoder, as "ctc"."""
        return ("ctc",) if self.ctc_weight else ()

    def check_beside(self, model: ModelConfig, arch: str) -> None:
        """UsageError for a coverage loss of a model that copies nothing, or an encoder loss of one without encoder."""
        if not model.copies and self.coverage_loss_weight:
            raise UsageError(
                f"--coverage-loss-weight {self.coverage_loss_weight:g}: is for models that copy words of the "
                "source; give --copy too, or leave it out"
            )
        if not model.reads_source and self.encoder_loss != "none":
            raise UsageError(f"--encoder-loss {self.encoder_loss}: {is_for_sources(arch)}")
        if not model.reads_source and self.ctc_weight:
            raise UsageError(f"--ctc-weight {self.ctc_weight:g}: {is_for_sources(arch)}")


def of_today(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """An objective's settings as they are called today: CTC was a kind of encoder loss, whose head was not kept."""
    if settings.get("encoder_loss") != "ctc":
        return settings
    others = {key: value for key, value in settings.items() if not key.startswith("encoder_loss")}
    weight = settings.get("encoder_loss_weight", LabelSmoothedCrossEntropyConfig.encoder_loss_weight)
    return {"ctc_weight": weight, **others}


@dataclass(frozen=True, kw_only=True)
class RDropConfig(LabelSmoothedCrossEntropyConfig):
    """Regularized dropout (Liang et al. 2021)."""

    builds = "s2scli.training.objectives.r_drop:RDrop"

    name: str = called("r_drop", "objective")
    r_drop_alpha: float = setting(
        5.0, "weight of the divergence between two passes with different dropout", at_least=0
    )


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(LabelSmoothedCrossEntropyConfig):
    """Word-level knowledge distillation (Kim and Rush 2016)."""

    builds = "s2scli.training.objectives.distillation:Distillation"

    name: str = called("distillation", "objective")
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

    builds = "s2scli.training.objectives.minimum_risk:MinimumRisk"

    name: str = called("minimum_risk", "objective")
    risk_metric: str = setting(
        "bleu",
        "what sampled outputs should be good by, sentence by sentence; chrf for text without spaces",
        choices=Names(METRICS),
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
