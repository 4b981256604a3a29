"""The settings of noise in text of one language, from which a model learns to restore what was there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from s2scli.configs.component import ComponentConfig, called
from s2scli.configs.model import ModelConfig, is_for_sources
from s2scli.console import warn
from s2scli.errors import UsageError
from s2scli.schema import setting

MASK = "<mask>"
_KIND = "noise in text of one language, which the model learns to undo"
# As T5's vocabularies have them, and as many.
_SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))


@dataclass(frozen=True, kw_only=True)
class NoiseConfig(ComponentConfig):
    """What training makes of each line of text of one language, anew in each epoch.

    `builds` is called with the config and the `data.denoising.MaskedText` that knows the vocabulary; it gives a
    `data.transforms.Transform`, or None where lines stay as they are.

    symbols: those that stand for what is hidden, which the vocabulary must have. makes_target: whether the target is
    made of what is hidden, and is not the line itself.
    """

    symbols: ClassVar[tuple[str, ...]] = ()
    makes_target: ClassVar[bool] = False

    def check_beside(self, model: ModelConfig, arch: str, metrics: Sequence[str]) -> None:
        """UsageError where such a model, that of the preset `arch`, cannot learn from noise, or be scored by metrics.

        metrics: of translations of the validation data.
        """
        if not model.reads_source:
            raise UsageError(f"--noise {self.name}: {is_for_sources(arch)}")
        if model.copies:
            raise UsageError(
                f"--noise {self.name}: what is copied from a source with noise is not its text; leave it or --copy out"
            )
        if metrics:
            raise UsageError(
                f"--noise {self.name}: validation data has noise too, and no translations to score by "
                f"{', '.join(metrics)}; choose the best checkpoint by loss, and leave --eval-metrics out"
            )

    def check_text(self, data: Path, *, of_one_language: bool) -> None:
        """UsageError for a dataset whose examples are not a line each, for source and target."""
        if not of_one_language:
            raise UsageError(
                f"--noise {self.name}: {data} has pairs, and noise is for text of one language; make a dataset of that "
                f"with s2s preprocess --denoise {self.name}"
            )


@dataclass(frozen=True, kw_only=True)
class NoNoiseConfig(NoiseConfig):
    """Text as it is."""

    builds = "s2scli.data.denoising:no_noise"

    name: str = called("none", _KIND, common=False)

    def check_beside(self, model: ModelConfig, arch: str, metrics: Sequence[str]) -> None:
        """Every model learns from text as it is."""

    def check_text(self, data: Path, *, of_one_language: bool) -> None:
        """Warn where targets are the sources themselves."""
        if of_one_language:
            warn(
                f"{data}: has the same line as source and target, from which a model learns to copy; s2s train --noise "
                "makes it learn to restore"
            )


@dataclass(frozen=True, kw_only=True)
class BartNoiseConfig(NoiseConfig):
    """Text infilling and sentence permutation (Lewis et al. 2020, section 2.2): the target is the line."""

    builds = "s2scli.data.denoising:TextInfilling"
    symbols = (MASK,)

    name: str = called("bart", _KIND, common=False)
    mask: float = setting(
        0.3,
        "share of the words that is hidden",
        above=0,
        below=1,
    )
    poisson_lambda: float = setting(
        3.0,
        "spans of hidden words have lengths drawn from Poisson(λ), and each becomes one <mask>; one of no words puts a "
        "<mask> in",
        at_least=1,
        at_most=1000,
    )
    permute_sentences: float = setting(
        1.0, "share of a line's sentences that change places with each other", at_least=0, at_most=1
    )
    mask_whole_words: bool = setting(
        True, "hide whole words; not for text without spaces, whose words cannot be told"
    )


@dataclass(frozen=True, kw_only=True)
class T5NoiseConfig(NoiseConfig):
    """Span corruption (Raffel et al. 2020, section 3.1.4): the target says what each sentinel stands for."""

    builds = "s2scli.data.denoising:SpanCorruption"
    symbols = _SENTINELS
    makes_target = True

    name: str = called("t5", _KIND, common=False)
    mask: float = setting(0.15, "share of the tokens that is hidden", above=0, below=1)
    mean_noise_span_length: float = setting(
        3.0, "mean length of the spans that are hidden", unit="tokens", at_least=1, at_most=1000
    )


@dataclass(frozen=True, kw_only=True)
class MassNoiseConfig(NoiseConfig):
    """Masked sequence to sequence (Song et al. 2019, section 3.2): the target is the fragment that is hidden."""

    builds = "s2scli.data.denoising:MaskedFragment"
    symbols = (MASK,)
    makes_target = True

    name: str = called("mass", _KIND, common=False)
    mask: float = setting(0.5, "share of the words that is hidden", above=0, below=1)
    mask_whole_words: bool = setting(
        True, "hide whole words; not for text without spaces, whose words cannot be told"
    )
