"""The methods of `s2s explain`, and the settings that they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from s2scli.components import ATTRIBUTIONS
from s2scli.configs.component import ComponentConfig, called
from s2scli.errors import UsageError
from s2scli.schema import setting

_METHOD = "Method"


@dataclass(frozen=True, kw_only=True)
class AttributionConfig(ComponentConfig):
    """A method that tells what output tokens come from; all have the same settings, `AttributionSettings`.

    `builds` names a class of attribution/base.py's `AttributionMethod`, which is made of these settings.
    contrasts: whether it can tell why a token and not another; differentiates: whether it needs gradients.
    """

    contrasts: ClassVar[bool] = True
    differentiates: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class AttentionAttributionConfig(AttributionConfig):
    """How much of the decoder's attention each source token has."""

    builds = "s2scli.attribution.attended:AttentionAttribution"
    contrasts = False

    name: str = called("attention", "method")


@dataclass(frozen=True, kw_only=True)
class GradientNormConfig(AttributionConfig):
    """How long the gradient at each vector that is read is."""

    builds = "s2scli.attribution.gradients:GradientNorm"
    differentiates = True

    name: str = called("gradient_norm", "method")


@dataclass(frozen=True, kw_only=True)
class InputXGradientConfig(AttributionConfig):
    """Each vector that is read times the gradient there."""

    builds = "s2scli.attribution.gradients:InputXGradient"
    differentiates = True

    name: str = called("input_x_gradient", "method")


@dataclass(frozen=True, kw_only=True)
class IntegratedGradientsConfig(AttributionConfig):
    """Gradients along a line from vectors of padding (Sundararajan et al. 2017)."""

    builds = "s2scli.attribution.integrated:IntegratedGradients"
    differentiates = True

    name: str = called("integrated_gradients", "method")


@dataclass(frozen=True, kw_only=True)
class ErasureConfig(AttributionConfig):
    """What is lost when a token is left out."""

    builds = "s2scli.attribution.erasure:Erasure"

    name: str = called("erasure", "method")


@dataclass(frozen=True, kw_only=True)
class AttributionSettings:
    """By which method output tokens are traced back, and of what."""

    method: str = setting(
        "erasure",
        "how to tell what a token comes from: what leaving a token out costs, what it attends to, gradients integrated "
        "from padding, vectors times gradients, or how long gradients are",
        choices=ATTRIBUTIONS,
        needs="!trace",
        panel=_METHOD,
        common=True,
    )
    contrast: str = setting(
        "",
        "tell why each token and not this one: a word that is one token of the model, or a piece as the output has it",
        needs=("!trace", "method!=attention"),
        panel=_METHOD,
        common=True,
    )
    completeness: float = setting(
        0.01,
        "of integrated gradients, how far their sum may be from what they add up to, as a share of it; as many steps "
        "are made as that takes",
        above=0,
        at_most=1,
        needs=("!trace", "method=integrated_gradients"),
        panel=_METHOD,
    )

    @property
    def attribution(self) -> AttributionConfig:
        """The method that is named."""
        named: AttributionConfig = ATTRIBUTIONS[self.method]()
        return named

    def check_attribution(self, precision: str) -> None:
        """UsageError where the method cannot do what is asked of it; precision: in what the model computes."""
        method = self.attribution
        if self.contrast and not method.contrasts:
            others = [name for name in ATTRIBUTIONS if ATTRIBUTIONS[name].contrasts]
            raise UsageError(
                f"--contrast {self.contrast}: --method {self.method} is about no token but the one that was written; "
                f"give --method {' or '.join(others)}"
            )
        if method.differentiates and precision != "fp32":
            raise UsageError(
                f"--precision {precision}: --method {self.method} needs gradients, which are computed in fp32; leave "
                "it out"
            )
