"""The settings of components from outside the package."""

from __future__ import annotations

from dataclasses import dataclass

from s2scli.configs.attention import AttentionScoreConfig
from s2scli.configs.component import called
from s2scli.configs.model import ModelConfig
from s2scli.configs.noise import NoiseConfig
from s2scli.configs.objectives import ObjectiveConfig
from s2scli.configs.optimizers import OptimizerConfig
from s2scli.configs.schedules import ScheduleConfig
from s2scli.configs.search import SearchMethodConfig
from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class BagOfWordsConfig(ModelConfig):
    """A model that knows which words a source has, not in which order."""

    builds = "outside.models:BagOfWordsModel"

    name: str = called("bag_of_words", "model family")
    bag_width: int = setting(8, "width of everything", at_least=1, at_most=1000)


@dataclass(frozen=True, kw_only=True)
class DistanceScoreConfig(AttentionScoreConfig):
    """The nearer an encoder state, the more attention it gets."""

    builds = "outside.models:DistanceScore"
    needs_one_size = True

    name: str = called("distance", "attention score")


@dataclass(frozen=True, kw_only=True)
class SignSGDConfig(OptimizerConfig):
    """Steps by the sign of the gradient."""

    builds = "outside.training:sign_sgd"

    name: str = called("sign_sgd", "optimizer")


@dataclass(frozen=True, kw_only=True)
class SawtoothConfig(ScheduleConfig):
    """A rate that falls in a line and jumps up again."""

    builds = "outside.training:Sawtooth"

    name: str = called("sawtooth", "learning-rate schedule")
    saw_updates: int = setting(2, "length of a tooth", unit="updates", at_least=1)


@dataclass(frozen=True, kw_only=True)
class LikelihoodConfig(ObjectiveConfig):
    """The likelihood of the targets, and nothing else."""

    builds = "outside.training:Likelihood"

    name: str = called("likelihood", "objective")


@dataclass(frozen=True, kw_only=True)
class BackwardsConfig(NoiseConfig):
    """Lines from their last token to their first."""

    builds = "outside.text:Backwards"

    name: str = called("backwards", "noise")
    every_second: bool = setting(False, "every second line only, as is drawn")


@dataclass(frozen=True, kw_only=True)
class OneWordSearchConfig(SearchMethodConfig):
    """Outputs of one word, the most probable one."""

    builds = "outside.searches:OneWordSearch"

    name: str = called("one_word", "search")
